"""What every engine says of files that go in and out of a container."""

import io
import stat
import tarfile
from pathlib import Path

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, Conflict, InvalidInput, NotFound
from engine.model.container import CreateOptions
from tests.contract.conftest import DRIVEN


@pytest.fixture
def container(engine: Engine, image: str) -> str:
    return engine.containers.create(
        CreateOptions(image=image, name="box", network="none", command=("sleep", "1000"))
    )


def test_a_path_says_what_is_there(engine: Engine, container: str) -> None:
    status = engine.containers.stat_path("box", "/usr/new")
    assert (status.name, stat.S_ISREG(status.mode), status.size_bytes) == ("new", True, 70)
    link = engine.containers.stat_path("box", "/bin/sh")
    assert (stat.S_ISLNK(link.mode), link.link_target) == (True, "busybox")
    assert stat.S_ISDIR(engine.containers.stat_path("box", "/").mode)
    with pytest.raises(NotFound, match="could not find the file /usr/junk in container box"):
        engine.containers.stat_path("box", "/usr/junk")


def test_what_goes_in_comes_out(engine: Engine, container: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(b"12345")
    assert engine.containers.copy_in(str(tree), "box", "/tmp") > 5
    assert engine.containers.copy_in(str(tree / "sub" / "file"), "box", "/tmp/other") > 5
    assert engine.containers.stat_path(container, "/tmp/other").size_bytes == 5
    paths = {(each.kind, each.path) for each in engine.containers.changes("box")}
    assert {("A", "/tmp/tree/sub/file"), ("A", "/tmp/other"), ("C", "/tmp")} <= paths
    assert engine.containers.copy_out("box", "/tmp/tree", str(tmp_path / "back")) > 5
    assert (tmp_path / "back" / "sub" / "file").stat().st_size == 5
    engine.containers.copy_out("box", "/tmp/other", str(tmp_path))
    assert (tmp_path / "other").stat().st_size == 5


def test_a_tar_goes_in_and_comes_out(engine: Engine, container: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo("dir/file")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    archive.seek(0)
    assert engine.containers.write_path("box", "/tmp", archive) == 3
    output = io.BytesIO()
    engine.containers.read_path("box", "/tmp/dir", output)
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        assert tar.getnames() == ["dir", "dir/file"]
        assert tar.getmember("dir/file").size == 3


def test_what_cannot_be_copied_is_refused(engine: Engine, container: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    copy_in, copy_out = engine.containers.copy_in, engine.containers.copy_out
    with pytest.raises(Conflict, match="cannot copy directory"):
        copy_in(str(tmp_path), "box", "/etc/motd")
    with pytest.raises(Conflict, match="cannot copy directory"):
        copy_out("box", "/etc", str(tmp_path / "file"))
    with pytest.raises(NotFound, match="could not find the file /no in container box"):
        copy_in(str(tmp_path), "box", "/no/way")
    with pytest.raises(NotFound, match="no such file or directory"):
        copy_in(str(tmp_path / "none"), "box", "/tmp")
    with pytest.raises(InvalidInput, match='destination "box:/etc/motd" must be a directory'):
        engine.containers.write_path("box", "/etc/motd", io.BytesIO(bytes(1024)))
    with pytest.raises(NotFound, match="no such container: nobody"):
        copy_out("nobody", "/etc", str(tmp_path))
    with pytest.raises(NotFound, match="no such container: nobody"):
        copy_in(str(tmp_path), "nobody", "/")


@pytest.mark.root
@pytest.mark.parametrize("engine", DRIVEN, indirect=True)
def test_files_are_copied_whatever_driver_makes_the_root(
    engine: Engine, container: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    engine.containers.copy_in(str(tmp_path / "file"), "box", "/tmp/stopped")
    engine.containers.start("box")
    engine.containers.copy_in(str(tmp_path / "file"), "box", "/tmp/running")
    for name in ("stopped", "running"):
        engine.containers.copy_out("box", f"/tmp/{name}", str(tmp_path))
        assert (tmp_path / name).read_bytes() == b"12345"
    engine.containers.stop("box", timeout_seconds=0)
    engine.containers.copy_out("box", "/tmp", str(tmp_path / "all"))
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["running", "stopped"]


def test_a_copy_hears_a_cancel(engine: Engine, container: str, tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.containers.copy_out("box", "/etc", str(tmp_path / "x"), cancel=cancel)
    with pytest.raises(Cancelled):
        engine.containers.copy_in(str(tmp_path), "box", "/tmp", cancel=cancel)
    assert not (tmp_path / "x").exists()
