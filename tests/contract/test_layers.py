"""Images taken apart, here and in files."""

from pathlib import Path

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, InvalidInput, NotFound
from engine.model.layer import ADDED, CHANGED, GONE, SYMLINK


@pytest.fixture
def file(tmp_path: Path, archive: bytes) -> str:
    path = tmp_path / "image.tar"
    path.write_bytes(archive)
    return str(path)


def test_an_image_is_taken_apart(engine: Engine, image: str) -> None:
    found = engine.layers.analyze(image)
    view = engine.layers.open(image)
    assert (found.reference, found.image_id) == (image, view.image_id)
    assert (found.size_bytes, found.waste_bytes) == (view.size_bytes, view.waste_bytes)
    assert found.live_bytes + found.waste_bytes == found.size_bytes
    assert sum(loss.size_bytes for loss in found.losses) == found.waste_bytes == 5004
    assert [(loss.brought, loss.hidden, loss.cause) for loss in found.losses] == [
        (0, 1, "deleted"), (0, 1, "overwritten"),
    ]  # fmt: skip
    assert [row.path for row in found.waste] == ["usr/junk", "etc/motd"]
    assert [(file.times, file.size_bytes, file.path) for file in found.dive.files] == [
        (2, 5000, "/usr/junk"), (2, 10, "/etc/motd"),
    ]  # fmt: skip
    view.close()


def test_a_file_has_the_same_numbers(engine: Engine, image: str, file: str) -> None:
    there, here = engine.layers.analyze(file), engine.layers.analyze(image)
    assert there.image_id
    assert there.losses == here.losses
    assert there.waste == here.waste
    assert there.dive == here.dive
    assert [layer.size_bytes for layer in there.layers] == [
        layer.size_bytes for layer in here.layers
    ]


def test_what_is_nowhere_is_told(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing:1"):
        engine.layers.analyze("nothing:1")
    with pytest.raises(NotFound, match="no such file"):
        engine.layers.analyze(f"{tmp_path}/none.tar")


def test_work_on_a_file_can_be_cancelled(engine: Engine, file: str) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.layers.analyze(file, cancel=cancel)


def test_advice_adds_up(engine: Engine, image: str, file: str) -> None:
    found = engine.layers.analyze(image, advice=True)
    dead = [each for each in found.findings if each.safety == "S0" and each.raw_bytes]
    assert {each.rule: (each.raw_bytes, each.paths) for each in dead} == {
        "L01": (5000, ("usr/junk",)), "L04": (4, ("etc/motd",)),
    }  # fmt: skip
    assert [(each.rule, each.raw_bytes) for each in found.findings] == [
        (each.rule, each.raw_bytes) for each in engine.layers.analyze(file, advice=True).findings
    ]
    assert engine.layers.analyze(image).findings == ()


def test_an_image_is_judged(engine: Engine, image: str, file: str) -> None:
    verdict = engine.layers.check(image)
    assert {check.rule: check.outcome for check in verdict.checks} == {
        "highestUserWastedPercent": "fail", "highestWastedBytes": "skip",
        "lowestEfficiency": "pass",
    }  # fmt: skip
    assert verdict.analysis.waste_bytes == 5004
    config = "[rules]\nmax_growth = 0\nforbid_paths = ['usr/*']\nforbid_findings = ['L01']\n"
    verdict = engine.layers.check(image, config=config, config_name="a.toml", against=file)
    assert [(check.rule, check.outcome, check.path) for check in verdict.checks] == [
        ("forbid_findings", "fail", "/usr/junk"), ("forbid_paths", "fail", "/usr/junk"),
        ("forbid_paths", "fail", "/usr/new"), ("max_growth", "pass", ""),
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="unknown rule"):
        engine.layers.check(image, config="[rules]\nx = 1", config_name="a.toml")


def test_two_images_are_compared(engine: Engine, image: str, file: str) -> None:
    found = engine.layers.compare(image, file)
    assert (found.added, found.changed, found.gone, found.files) == (0, 0, 0, ())
    assert found.shared_bytes == found.before.size_bytes == found.after.size_bytes


def test_who_hid_whose_bytes(engine: Engine, image: str) -> None:
    view = engine.layers.open(image)
    assert [tuple(loss) for loss in view.losses()] == [
        (0, 1, "deleted", 5000), (0, 1, "overwritten", 4),
    ]  # fmt: skip
    view.close()


def test_the_life_of_a_path(engine: Engine, image: str) -> None:
    view = engine.layers.open(image)

    def life(path: str) -> list[tuple[int, int, bool, int]]:
        return [
            (step.layer, step.change, step.content, step.size_bytes) for step in view.life(path)
        ]

    assert life("usr/junk") == [(0, ADDED, True, 5000), (1, GONE, False, 5000)]
    assert life("/etc/motd") == [(0, ADDED, True, 4), (1, CHANGED, True, 6)]
    assert life("usr/new") == [(1, ADDED, True, 70)]
    assert life("none") == []
    (step,) = view.life("bin/sh")
    assert (step.kind, step.link) == (SYMLINK, "busybox")
    view.close()


def test_a_file_is_read_as_a_layer_wrote_it(engine: Engine, image: str, file: str) -> None:
    for ref in (image, file):
        view = engine.layers.open(ref)
        assert view.read(0, "etc/motd") == b"old\n"
        assert view.read(1, "/etc/motd") == b"newer\n"
        assert view.read(0, "usr/junk", limit_bytes=10) == b"x" * 10
        for layer, path in ((1, "usr/junk"), (0, "none"), (0, "etc"), (0, "bin/sh")):
            with pytest.raises(NotFound, match=f"layer {layer}: it has no file"):
                view.read(layer, path)
        view.close()


def test_every_verb_names_the_same_size(engine: Engine, image: str) -> None:
    found = engine.layers.analyze(image)
    summary = engine.images.inspect(image).summary
    assert summary.size_bytes == found.size_bytes
    assert summary.waste_bytes == found.waste_bytes
    steps = [step.size_bytes for step in engine.images.history(image)]
    assert steps[::-1] == [layer.size_bytes for layer in found.layers]
