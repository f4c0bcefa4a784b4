"""The files of an image, asked about; their bytes add up."""

import random
from pathlib import Path

from engine.layers.analyze import analyze
from engine.layers.base import base_layers
from engine.layers.files import Files
from engine.model.analysis import Special
from engine.model.image import HistoryEntry
from tests.support.stacks import view_of
from tests.support.tarball import directory, file, hardlink, symlink

NAMES = (b"a", b"b", b"c", b"d/a", b"d/b", b"d/e/a", b"d", b"d/e")


def random_layer(chance: random.Random) -> bytes:
    stream = b""
    files: list[bytes] = []  # what nothing can lie below
    targets: list[bytes] = []
    for name in chance.sample(NAMES, chance.randrange(1, 6)):
        parent, slash, leaf = name.rpartition(b"/")
        what = chance.randrange(7)
        if any(name.startswith(other + b"/") for other in files):
            continue  # a file is no directory
        if what < 3:
            stream += file(name, bytes([chance.randrange(3)]) * chance.randrange(1, 50))
            files.append(name)
            targets.append(name)
        elif what == 3:
            stream += directory(name)
        elif what == 4:
            stream += file(parent + slash + b".wh." + leaf)
            files.append(name)
        elif what == 5:
            stream += file(parent + slash + b".wh..wh..opq")
        elif targets:
            stream += hardlink(name, targets[0])
            files.append(name)
    return stream


def test_every_byte_is_live_or_wasted_once(tmp_path: Path) -> None:
    chance = random.Random(11)
    seen: set[str] = set()
    for number in range(120):
        place = tmp_path / str(number)
        place.mkdir()
        view = view_of(place, *(random_layer(chance) for _ in range(chance.randrange(1, 6))))
        files = Files(view.merged, view.indexes)
        assert files.live_bytes == view.size_bytes - view.waste_bytes
        assert sum(death.size_bytes for death in files.deaths) == view.waste_bytes
        found = analyze(view)
        assert sum(loss.size_bytes for loss in found.losses) == found.waste_bytes
        assert found.live_bytes + found.waste_bytes == found.size_bytes
        assert sum(row.waste_bytes for row in found.waste) == found.waste_bytes
        assert sum(layer.waste_bytes for layer in found.layers) == found.waste_bytes
        seen |= {loss.cause for loss in found.losses}
        view.close()
    assert seen >= {
        "deleted", "deleted directory", "opaque directory", "overwritten", "identical rewrite",
        "type changed",
    }  # fmt: skip


def test_the_same_content_twice_is_found(tmp_path: Path) -> None:
    big, other = b"x" * 5000, b"y" * 5000
    below = file(b"a", big) + file(b"b", other) + file(b"small", b"1") + file(b"smaller", b"1")
    view = view_of(tmp_path, below, file(b"c/a", big) + file(b"n", big) + hardlink(b"m", b"n"))
    (group,) = analyze(view).duplicates
    assert (group.paths, group.size_bytes, group.waste_bytes) == (("a", "c/a", "n"), 5000, 10_000)
    view.close()


def test_programs_with_rights_and_secrets_are_found(tmp_path: Path) -> None:
    below = (
        file(b"bin/su", b"1", mode=0o4755)
        + file(b"bin/wall", b"12", mode=0o2755)
        + file(b"bin/lock", b"12", mode=0o2644)
        + symlink(b"bin/s", b"su")
        + file(b"root/.ssh/id_rsa", b"key")
        + file(b"app/.env", b"A=1")
        + file(b"app/.env.example", b"A=1")
        + file(b"etc/ssl/certs/ca.pem", b"public")
        + file(b"app/empty.key", b"")
    )
    view = view_of(tmp_path, below, file(b"root/.ssh/.wh.id_rsa"))
    assert set(analyze(view).specials) == {
        Special("setuid", "bin/su", 0, 1, False),
        Special("setgid", "bin/wall", 0, 2, False),
        Special("secret", "root/.ssh/id_rsa", 0, 3, True),
        Special("secret", "app/.env", 0, 3, False),
    }
    view.close()


def step(command: str, *, empty: bool = False) -> HistoryEntry:
    return HistoryEntry(0, command, "", empty)


def test_the_base_ends_where_a_dockerfile_ends() -> None:
    base = [step("/bin/sh -c #(nop) ADD file:1 in / "), step('CMD ["bash"]', empty=True)]
    python = [step("RUN install"), step('/bin/sh -c #(nop)  CMD ["python3"]', empty=True)]
    app = [step("COPY . /app"), step('ENTRYPOINT ["app"]', empty=True)]
    assert base_layers(base, 1) == 0
    assert base_layers(base + app, 2) == 1
    assert base_layers(base + python + app, 3) == 2
    assert base_layers(base + app, 5) == 0  # the history is another image's
