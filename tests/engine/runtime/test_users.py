import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime import users

PASSWD = """\
# a comment
root:x:0:0:root:/root:/bin/sh
bob:x:1000:1001:Bob:/home/bob:/bin/sh
1234:x:55:56::/numeric:/bin/sh
broken line
half:x:notanumber:5::/:/bin/sh
twice:x:1:1::/first:/bin/sh
twice:x:2:2::/second:/bin/sh
nohome:x:77:78:::
big:x:4294967296:1::/:/bin/sh
"""
GROUP = """\
root:x:0:
wheel:x:10:root,bob
bob:x:1001:
users:x:100:alice,bob
bobby:x:101:bobby
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, [0, 10], b"/root")),
        ("root", (0, 0, [0, 10], b"/root")),
        ("0", (0, 0, [0, 10], b"/root")),
        ("bob", (1000, 1001, [10, 100, 1001], b"/home/bob")),
        ("1000", (1000, 1001, [10, 100, 1001], b"/home/bob")),
        ("bob:users", (1000, 100, [100], b"/home/bob")),
        ("bob:4242", (1000, 4242, [4242], b"/home/bob")),
        ("7777", (7777, 0, [0], b"/")),
        ("7777:8888", (7777, 8888, [8888], b"/")),
        ("1234", (55, 56, [56], b"/numeric")),
        ("twice", (1, 1, [1], b"/first")),
        ("nohome", (77, 78, [78], b"/")),
        (":wheel", (0, 10, [10], b"/root")),
    ],
)
def test_user_is_who_docker_says(
    root: int, user: str, expected: tuple[int, int, list[int], bytes]
) -> None:
    assert users.resolve(root, user) == expected


@pytest.mark.parametrize("user", ["alice", "bob:nogroup", "half", "-1", "1.5"])
def test_unknown_names_are_not_found(root: int, user: str) -> None:
    with pytest.raises(FileNotFoundError):
        users.resolve(root, user)


@pytest.mark.parametrize("user", ["big", "4294967296", "0:99999999999"])
def test_ids_out_of_range_are_refused(root: int, user: str) -> None:
    with pytest.raises(OSError, match="range"):
        users.resolve(root, user)


def test_image_without_files_knows_numbers_alone(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    assert users.resolve(root, "5:6") == (5, 6, [6], b"/")
    assert users.resolve(root, "") == (0, 0, [0], b"/")
    assert users.home_of(root, 0) == b"/"
    os.close(root)


def test_passwd_outside_the_root_is_never_read(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/../../../../etc/passwd")  # to itself, in this root
    with pytest.raises(FileNotFoundError):
        users.resolve(root, "daemon")


def test_endless_passwd_is_refused(
    root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_LIMIT_BYTES", 10)
    with pytest.raises(OSError, match="large"):
        users.resolve(root, "bob")
