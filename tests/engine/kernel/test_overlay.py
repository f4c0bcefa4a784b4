from pathlib import Path

import pytest

from engine.kernel.mount import umount
from engine.kernel.overlay import mount_overlay

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """On a tmpfs a test can have many layers quickly; here it is the test's own directory."""
    for name in ("upper", "work", "target"):
        (tmp_path / name).mkdir()
    return tmp_path


def layers(tree: Path, count: int) -> list[str]:
    paths = [tree / f"{number:060d}" for number in range(count)]
    for number, path in enumerate(paths):
        path.mkdir()
        (path / f"only-{number}").touch()
        (path / "shared").write_text(str(number))
    return [str(path) for path in paths]


@pytest.mark.parametrize("one_by_one", [True, False], ids=["lowerdir+", "mount(2)"])
@pytest.mark.parametrize("count", [1, 2, 128])
def test_all_layers_are_there_and_the_first_is_on_top(
    tree: Path, count: int, one_by_one: bool
) -> None:
    target = tree / "target"
    mount_overlay(
        layers(tree, count),
        str(tree / "upper"),
        str(tree / "work"),
        str(target),
        one_by_one=one_by_one,
    )
    try:
        assert len(list(target.iterdir())) == count + 1
        assert (target / "shared").read_text() == "0"
        (target / "shared").write_text("mine")
    finally:
        umount(str(target))
    assert (tree / "upper/shared").read_text() == "mine"


@pytest.mark.parametrize("one_by_one", [True, False], ids=["lowerdir+", "mount(2)"])
def test_a_volatile_one_says_so_and_forbids_the_next(tree: Path, one_by_one: bool) -> None:
    target, upper, work = (str(tree / name) for name in ("target", "upper", "work"))
    lower = layers(tree, 2)
    mount_overlay(lower, upper, work, target, volatile=True, one_by_one=one_by_one)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    umount(target)
    (line,) = [each for each in mounts if f" {target} " in each]
    assert {"volatile", "fsync=volatile"} & set(line.split(","))  # older kernels, newer ones
    with pytest.raises(OSError, match="Invalid argument"):
        mount_overlay(lower, upper, work, target, one_by_one=one_by_one)
    assert (tree / "work/work/incompat/volatile").is_dir()


@pytest.mark.parametrize("count", [1, 3])
def test_without_an_upper_layer_nothing_can_be_written(tree: Path, count: int) -> None:
    target = tree / "target"
    mount_overlay(layers(tree, count), "", "", str(target))
    try:
        assert (target / "shared").read_text() == "0"
        with pytest.raises(OSError, match="Read-only"):
            (target / "new").touch()
    finally:
        umount(str(target))


def test_missing_layer_is_named(tree: Path) -> None:
    lower = [*layers(tree, 2), str(tree / "gone")]
    with pytest.raises(FileNotFoundError) as caught:
        mount_overlay(lower, str(tree / "upper"), str(tree / "work"), str(tree / "target"))
    assert caught.value.filename == str(tree / "gone")


def test_special_characters_in_paths_are_taken_as_they_are(tree: Path) -> None:
    odd = tree / "a:b,c\\d e"
    odd.mkdir()
    (odd / "file").touch()
    for one_by_one in (True, False):
        mount_overlay(
            [str(odd)],
            str(tree / "upper"),
            str(tree / "work"),
            str(tree / "target"),
            one_by_one=one_by_one,
        )
        assert (tree / "target/file").exists()
        umount(str(tree / "target"))
