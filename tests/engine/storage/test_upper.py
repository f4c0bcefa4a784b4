"""What a container changed, as its upper directory says it against the layers."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import Corrupt
from engine.storage.upper import Upper, list_changes
from tests.support.overlays import Facts, facts_of, mounted

pytestmark = pytest.mark.root


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    base = tmp_path / "lower"
    (base / "etc").mkdir(parents=True)
    (base / "etc/os").write_text("first")
    (base / "etc/old").write_text("old")
    (base / "usr/lib").mkdir(parents=True)
    (base / "usr/lib/a").write_text("a")
    (base / "usr/lib/b").write_text("b")
    (base / "lib").symlink_to("usr/lib")
    return base


def changes(
    lower: Path, tmp_path: Path, act: Callable[[Path], object], mounts: list[bytes] | None = None
) -> list[str]:
    upper = tmp_path / "upper"
    with mounted([lower], upper, tmp_path / "merged") as root:
        act(root)
    descriptor = os.open(upper, os.O_RDONLY)
    try:
        argument = descriptor, [os.fsencode(lower)], mounts or []
        found = list_changes(argument, lambda step: None)
    finally:
        os.close(descriptor)
    return [f"{kind} /{os.fsdecode(path)}" for kind, path in found]


def test_nothing_written_is_nothing_changed(lower: Path, tmp_path: Path) -> None:
    assert changes(lower, tmp_path, lambda root: None) == []


def test_added_changed_and_removed_are_told(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        (root / "etc/new").write_text("new")
        (root / "etc/os").write_text("second")
        (root / "usr/lib/a").unlink()

    assert changes(lower, tmp_path, act) == [
        "C /etc", "A /etc/new", "C /etc/os", "C /usr", "C /usr/lib", "D /usr/lib/a",
    ]  # fmt: skip


def test_a_directory_in_the_place_of_another_hides_what_was_in_it(
    lower: Path, tmp_path: Path
) -> None:
    def act(root: Path) -> None:
        shutil.rmtree(root / "usr/lib")
        (root / "usr/lib").mkdir()
        (root / "usr/lib/b").write_text("other")

    assert changes(lower, tmp_path, act) == [
        "C /usr", "C /usr/lib", "D /usr/lib/a", "C /usr/lib/b",
    ]  # fmt: skip


def test_a_file_in_the_place_of_a_directory_is_a_change(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        shutil.rmtree(root / "etc")
        (root / "etc").write_text("a file now")

    assert changes(lower, tmp_path, act) == ["C /etc"]


def test_a_parent_that_was_only_copied_up_is_no_change(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        before = os.stat(root / "etc")
        (root / "etc/gone").write_text("x")
        (root / "etc/gone").unlink()
        os.utime(root / "etc", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert changes(lower, tmp_path, act) == []


def places(root: Path) -> None:
    """What a start leaves: places for its mounts."""
    for name in ("dev", "proc", "run/lock"):
        (root / name).mkdir(parents=True, mode=0o755)
    for name in ("etc/hosts", "usr/lib/hosts"):
        (root / name).touch()


MOUNTS = [b"/dev", b"/proc", b"/run/lock", b"/etc/hosts", b"/lib/hosts"]


def test_places_of_mounts_are_nobodys_change(lower: Path, tmp_path: Path) -> None:
    assert changes(lower, tmp_path, places, MOUNTS) == []


def test_what_is_in_the_place_of_a_mount_is_told(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        places(root)
        (root / "dev/mine").touch()
        (root / "run/pid").touch()
        (root / "etc/hosts").write_text("not empty")

    assert changes(lower, tmp_path, act, MOUNTS) == [
        "A /dev", "A /dev/mine", "C /etc", "A /etc/hosts", "A /run", "A /run/pid",
    ]  # fmt: skip


def test_a_change_beside_a_mount_is_told(lower: Path, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        places(root)
        (root / "etc").chmod(0o700)

    assert changes(lower, tmp_path, act, MOUNTS) == ["C /etc"]


def test_symbolic_links_are_never_followed(lower: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()

    def act(root: Path) -> None:
        (root / "way").symlink_to(outside)
        (root / "etc/way").symlink_to("../../../../../../..")

    assert changes(lower, tmp_path, act) == ["C /etc", "A /etc/way", "A /way"]


@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_a_file_whose_content_is_elsewhere_is_corrupt(
    lower: Path, tmp_path: Path, name: str
) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "file").touch()
    os.setxattr(upper / "file", name, b"/etc/os")
    descriptor = os.open(upper, os.O_RDONLY)
    try:
        with pytest.raises(Corrupt, match=name):
            list(Upper(descriptor, [os.fsencode(lower)]).walk())
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("seed", range(8))
def test_the_changes_are_those_between_the_two_trees(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lower = tmp_path / "lower"
    lower.mkdir()
    scramble(lower, chance, 25)
    with mounted([lower], None, tmp_path / "merged") as root:
        before = facts_of(root)
    after: dict[str, Facts] = {}

    def act(root: Path) -> None:
        scramble(root, chance, 25)
        after.update(facts_of(root))

    found = changes(lower, tmp_path, act)
    told = {kind: {line[3:] for line in found if line[0] == kind} for kind in "ACD"}
    gone = before.keys() - after.keys()
    assert told["A"] == after.keys() - before.keys()
    # What went with its directory is not told again.
    assert told["D"] <= gone
    for path in gone - told["D"]:
        parent = path.rpartition("/")[0]
        assert parent in gone or after[parent].kind != "dir"
    both = (before.keys() & after.keys()) - {""}
    assert told["C"] <= both
    assert {path for path in both if alone(before[path]) != alone(after[path])} <= told["C"]


def alone(facts: Facts) -> Facts:
    """Without the other names of the same file: removing one of them does not change it."""
    return facts._replace(links=())


def scramble(root: Path, chance: random.Random, steps: int) -> None:
    """Makes, changes, links, moves and removes under few names, so that they collide."""
    for _ in range(steps):
        path = root / "/".join(chance.choice("abc") for _ in range(chance.randint(1, 3)))
        try:
            match chance.randrange(7):
                case 0 | 1:
                    path.mkdir(parents=True)
                case 2 | 3:
                    path.write_bytes(chance.randbytes(chance.randrange(50)))
                case 4:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                case 5:
                    path.chmod(chance.choice([0o700, 0o755, 0o640]))
                case 6:
                    os.link(root / chance.choice("abc"), path)
        except OSError:
            continue
