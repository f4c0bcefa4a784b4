"""The two roots: made once, known again, refused where they cannot be."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from engine.errors import Conflict, InvalidInput, Unavailable
from engine.home import Home, file_system, locked, open_home

pytestmark = pytest.mark.root


def test_roots_are_made_for_root_alone_and_known_again(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "a/root"), str(tmp_path / "a/run"))
    assert oct(os.stat(home.root).st_mode)[-3:] == "700"
    for name in ("layers", "l", "upper", "containers", "volumes", "blobs/sha256"):
        assert oct(os.stat(f"{home.root}/{name}").st_mode)[-3:] == "700"
    assert len(home.root_id) == 8
    assert open_home(home.root, home.run_root) == home


def test_environment_names_the_roots_and_options_go_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYDOCK_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PYDOCK_RUN_ROOT", str(tmp_path / "run"))
    assert open_home()[:2] == (str(tmp_path / "root"), str(tmp_path / "run"))
    assert open_home(str(tmp_path / "other")).root == str(tmp_path / "other")


def test_relative_roots_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_home("root", "run").root == str(tmp_path / "root")


def test_run_root_is_made_again_after_a_reboot(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "root"), str(tmp_path / "run"))
    subprocess.run(["rm", "-r", home.run_root], check=True)
    assert open_home(home.root, home.run_root) == home
    assert os.path.isdir(f"{home.run_root}/netns")


def test_first_starts_at_once_agree_on_the_id(tmp_path: Path) -> None:
    homes: list[Home] = []
    threads = [
        threading.Thread(
            target=lambda: homes.append(open_home(str(tmp_path / "root"), str(tmp_path / "run")))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(homes) == 8
    assert len(set(homes)) == 1
    assert list((tmp_path / "root").glob("VERSION.*")) == []


def test_newer_root_is_left_alone(tmp_path: Path) -> None:
    open_home(str(tmp_path / "root"), str(tmp_path / "run"))
    (tmp_path / "root/VERSION").write_text("99 0123abcd\n")
    with pytest.raises(Conflict, match="newer pydock"):
        open_home(str(tmp_path / "root"), str(tmp_path / "run"))


@pytest.mark.parametrize("text", ["", "1\n", "x 0123abcd\n", "1 short\n"])
def test_foreign_version_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/VERSION").write_text(text)
    with pytest.raises(InvalidInput, match="VERSION is not pydock's"):
        open_home(str(tmp_path / "root"), str(tmp_path / "run"))


def test_root_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=str(tmp_path / "file")):
        open_home(str(tmp_path / "file/root"), str(tmp_path / "run"))


def test_file_system_of_the_nearest_mount_point(tmp_path: Path) -> None:
    below = tmp_path / "mount"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
    try:
        (below / "deep").mkdir()
        assert file_system(str(below / "deep")) == "tmpfs"
        assert file_system("/proc") == "proc"
    finally:
        subprocess.run(["umount", below], check=True)


def test_lock_shuts_others_out_until_it_is_left(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")

    def is_free(*options: str) -> bool:
        command = ["flock", "--nonblock", *options, path, "true"]
        return subprocess.run(command, check=False).returncode == 0

    with locked(path):
        assert not is_free("--shared")
    with locked(path, shared=True):
        assert is_free("--shared")
        assert not is_free()
    assert is_free()
