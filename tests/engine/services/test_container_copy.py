"""`cp`: docker's rules of names, both ways, of containers that run and that do not."""

import contextlib
import ctypes
import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Cancel
from engine.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    EngineError,
    InvalidInput,
    NotFound,
    Unavailable,
)
from engine.local import LocalEngine
from engine.model.confinement import Confinement
from engine.model.container import CreateOptions, MountRequest
from engine.services import container_copy
from engine.workers import Worker

pytestmark = pytest.mark.root


@pytest.fixture(params=["running", "stopped"])
def box(request: pytest.FixtureRequest, engine: LocalEngine, image: str) -> str:
    return make(engine, image, running=request.param == "running")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A file, a directory with something of every kind, links."""
    (tmp_path / "file").write_bytes(b"of the host\n")
    (tmp_path / "link").symlink_to("file")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "one").write_bytes(b"1")
    os.link(tree / "sub" / "one", tree / "two")
    (tree / "away").symlink_to("/etc")
    (tree / "set").write_bytes(b"#!")
    os.chown(tree / "set", 7, 8)
    (tree / "set").chmod(0o4751)
    os.setxattr(tree / "set", "user.note", b"kept")
    os.mkfifo(tree / "fifo", 0o640)
    os.utime(tree / "sub", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    return tmp_path


def make(
    engine: LocalEngine, image: str, *, running: bool, read_only: bool = False,
    mounts: tuple[MountRequest, ...] = (),
) -> str:  # fmt: skip
    options = CreateOptions(
        image, "box", command=("sleep", "1000"), network="none", mounts=mounts,
        confinement=Confinement(read_only=True) if read_only else None,
    )  # fmt: skip
    ref = engine.containers.create(options)
    if running:
        engine.containers.start(ref)
    return ref


def out(engine: LocalEngine, path: str, target: object, **options: bool) -> int:
    return engine.containers.copy_out("box", path, str(target), **options)  # type: ignore[arg-type]


def into(engine: LocalEngine, source: object, path: str, **options: bool) -> int:
    return engine.containers.copy_in(str(source), "box", path, **options)  # type: ignore[arg-type]


def names(engine: LocalEngine, path: str) -> set[str]:
    return set(read(engine, path).getnames())


def read(engine: LocalEngine, path: str) -> tarfile.TarFile:
    output = io.BytesIO()
    engine.containers.read_path("box", path, output)
    return tarfile.open(fileobj=io.BytesIO(output.getvalue()))


def content(engine: LocalEngine, path: str) -> bytes:
    with read(engine, path) as tar:
        found = tar.extractfile(tar.getmembers()[0])
        assert found is not None
        return found.read()


def test_a_file_comes_out_under_its_name_or_another(
    engine: LocalEngine, box: str, tmp_path: Path
) -> None:
    assert out(engine, "/etc/motd", tmp_path) > 6
    assert (tmp_path / "motd").read_bytes() == b"hello\n"
    out(engine, "etc/motd", tmp_path / "other")  # from the root, where there is no slash
    assert (tmp_path / "other").read_bytes() == b"hello\n"
    (tmp_path / "other").write_bytes(b"longer than what comes")
    out(engine, "/etc/../etc/motd", tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == b"hello\n"
    assert (tmp_path / "other").stat().st_uid == os.geteuid()


def test_a_file_goes_in_under_its_name_or_another(
    engine: LocalEngine, box: str, files: Path
) -> None:
    into(engine, files / "file", "/tmp")
    into(engine, files / "file", "/tmp/other")
    into(engine, files / "file", "/etc/motd")
    for path in ("/tmp/file", "/tmp/other", "/etc/motd"):
        assert content(engine, path) == b"of the host\n"


def test_a_directory_goes_into_one_that_is_there_and_becomes_one_that_is_not(
    engine: LocalEngine, box: str, files: Path
) -> None:
    into(engine, files / "tree", "/tmp")
    assert {"tree/sub/one", "tree/two"} <= names(engine, "/tmp/tree")
    into(engine, files / "tree", "/tmp/new")
    assert {"new/sub/one", "new/two"} <= names(engine, "/tmp/new")
    into(engine, f"{files}/tree/.", "/tmp/content")
    assert {"content/sub/one", "content/two"} <= names(engine, "/tmp/content")
    into(engine, f"{files}/tree/.", "/etc/")
    assert {"etc/sub/one", "etc/motd"} <= names(engine, "/etc")
    into(engine, f"{files}/tree/", "/etc/")
    assert "etc/tree/sub/one" in names(engine, "/etc")


def test_a_directory_comes_out_the_same_way(
    engine: LocalEngine, box: str, files: Path, tmp_path: Path
) -> None:
    into(engine, files / "tree", "/tmp/tree")
    out(engine, "/tmp/tree", tmp_path / "new")
    assert (tmp_path / "new" / "sub" / "one").read_bytes() == b"1"
    out(engine, "/tmp/tree", tmp_path / "new")
    assert (tmp_path / "new" / "tree" / "two").read_bytes() == b"1"
    (tmp_path / "there").mkdir()
    out(engine, "/tmp/tree/.", tmp_path / "there")
    assert (tmp_path / "there" / "two").read_bytes() == b"1"
    out(engine, "/", tmp_path / "everything")
    assert (tmp_path / "everything" / "etc" / "motd").read_bytes() == b"hello\n"


def test_everything_of_a_file_goes_along(engine: LocalEngine, box: str, files: Path) -> None:
    into(engine, files / "tree", "/tmp", keep_owner=True)
    target = files / "back"
    out(engine, "/tmp/tree", target, keep_owner=True)
    for path in ("sub", "sub/one", "set", "fifo"):
        before, after = os.lstat(files / "tree" / path), os.lstat(target / path)
        assert (before.st_mode, before.st_uid, before.st_gid, before.st_mtime_ns) == (
            after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns,
        )  # fmt: skip
    assert stat.S_IMODE(os.stat(target / "set").st_mode) == 0o4751
    assert os.getxattr(target / "set", "user.note") == b"kept"
    assert (target / "two").samefile(target / "sub" / "one")
    assert os.readlink(target / "away") == "/etc"


def test_whose_a_file_is_is_kept_where_that_is_asked_for(
    engine: LocalEngine, box: str, files: Path
) -> None:
    into(engine, files / "tree" / "set", "/tmp/plain")
    into(engine, files / "tree" / "set", "/tmp/kept", keep_owner=True)
    with read(engine, "/tmp") as tar:
        owners = {each.name: (each.uid, each.gid) for each in tar.getmembers()}
    assert owners["tmp/plain"] == (0, 0)
    assert owners["tmp/kept"] == (7, 8)
    out(engine, "/tmp/kept", files / "mine")
    assert (files / "mine").stat().st_uid == os.geteuid()


def test_a_link_is_copied_and_followed_where_that_is_asked_for(
    engine: LocalEngine, box: str, files: Path
) -> None:
    into(engine, files / "link", "/tmp/one")
    assert engine.containers.stat_path("box", "/tmp/one").link_target == "file"
    into(engine, files / "link", "/tmp", follow_link=True)
    assert content(engine, "/tmp/link") == b"of the host\n"
    out(engine, "/tmp/one", files / "dangling")
    assert os.readlink(files / "dangling") == "file"
    with pytest.raises(NotFound):
        out(engine, "/tmp/one", files / "none", follow_link=True)
    assert not (files / "none").exists()
    out(engine, "/bin/sh", files / "sh", follow_link=True)
    assert (files / "sh").stat().st_size > 10_000


def test_a_link_as_the_target_leads_to_its_own_target(
    engine: LocalEngine, box: str, files: Path
) -> None:
    (files / "dir").symlink_to("/etc")
    (files / "to").symlink_to("other")
    into(engine, f"{files}/dir", "/tmp/dir")
    into(engine, files / "file", "/tmp/dir")
    assert content(engine, "/etc/file") == b"of the host\n"
    into(engine, files / "to", "/tmp/to")
    into(engine, files / "file", "/tmp/to")
    assert content(engine, "/tmp/other") == b"of the host\n"
    out(engine, "/etc/motd", files / "to")
    assert (files / "other").read_bytes() == b"hello\n"
    (files / "round").symlink_to("round")
    with pytest.raises(InvalidInput, match="too many symlinks in"):
        out(engine, "/etc/motd", files / "round")


REFUSED_IN: list[tuple[str, str, type[EngineError], str]] = [
    ("tree", "/file", Conflict, "cannot copy directory"),
    ("file", "/none/", NotFound, "no such directory"),
    ("file", "/none/below", NotFound, "could not find the file /none in container box"),
    ("tree", "/none/below", NotFound, "could not find the file /none in container box"),
    ("file", "/file/", InvalidInput, "box:/file/: not a directory"),
    ("file", "/file/x", InvalidInput, "box:/file/x: not a directory"),
    ("none", "/tmp", NotFound, "/none: no such file or directory"),
    ("file/", "/tmp", InvalidInput, "/file/: not a directory"),
    ("etc", "/", Conflict, 'cannot overwrite directory "box:/etc" with non-directory'),
    ("motd", "/etc", Conflict, 'cannot overwrite non-directory "box:/etc/motd" with directory'),
]


def test_what_cannot_go_in_is_refused_and_nothing_has_changed(
    engine: LocalEngine, image: str, files: Path
) -> None:
    make(engine, image, running=True)
    (files / "etc").write_bytes(b"no directory")
    (files / "motd").mkdir()
    before = engine.containers.changes("box")
    for source, path, kind, said in REFUSED_IN:
        with pytest.raises(kind) as caught:
            into(engine, f"{files}/{source}", path)
        assert said in caught.value.message
        assert caught.value.hint
        assert engine.containers.changes("box") == before


def test_what_cannot_come_out_is_refused(
    engine: LocalEngine, box: str, files: Path, tmp_path: Path
) -> None:
    for path, target, kind, said in (
        ("/none", "x", NotFound, "could not find the file /none in container box"),
        ("/etc/motd/", "x", InvalidInput, "box:/etc/motd/: not a directory"),
        ("/etc", "file", Conflict, "cannot copy directory"),
        ("/etc/motd", "no/", NotFound, "no such directory"),
        ("/etc/motd", "no/way", NotFound, f'directory "{tmp_path}/no" does not exist'),
        ("/etc/motd", "file/x", InvalidInput, "/file/x: not a directory"),
    ):
        with pytest.raises(kind) as caught:
            out(engine, path, f"{tmp_path}/{target}")
        assert said in caught.value.message
    with pytest.raises(InvalidInput, match="must be a directory or a regular file: got a device"):
        out(engine, "/etc/motd", "/dev/null")
    assert (files / "file").read_bytes() == b"of the host\n"
    with pytest.raises(NotFound, match="no such container: nobody"):
        engine.containers.copy_out("nobody", "/etc", str(tmp_path))


def test_a_tar_goes_in_and_comes_out(engine: LocalEngine, box: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo("deep/down/file")
        info.size, info.uid, info.gid = 3, 5, 6
        tar.addfile(info, io.BytesIO(b"abc"))
    archive.seek(0)
    assert engine.containers.write_path("box", "/tmp", archive) == 3
    assert content(engine, "/tmp/deep/down/file") == b"abc"
    with read(engine, "/tmp/deep/.") as found:
        assert set(found.getnames()) == {".", "down", "down/file"}
        assert found.getmember("down/file").uid == 5
    for path, kind, said in (
        ("/none", NotFound, "could not find the file /none"),
        ("/file", InvalidInput, 'destination "box:/file" must be a directory'),
    ):
        archive.seek(0)
        with pytest.raises(kind, match=said):
            engine.containers.write_path("box", path, archive)


def test_a_tar_that_is_none_is_refused(engine: LocalEngine, image: str) -> None:
    make(engine, image, running=False)
    with pytest.raises(InvalidInput, match="archive: it is empty"):
        engine.containers.write_path("box", "/tmp", io.BytesIO(b""))
    with pytest.raises((InvalidInput, Corrupt), match="archive"):
        engine.containers.write_path("box", "/tmp", io.BytesIO(b"no tar" * 1000))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../escaped"))
    archive.seek(0)
    with pytest.raises(InvalidInput, match="archive entry 1"):
        engine.containers.write_path("box", "/tmp", archive)
    cut = io.BytesIO()
    with tarfile.open(fileobj=cut, mode="w") as tar:
        info = tarfile.TarInfo("half")
        info.size = 5000
        tar.addfile(info, io.BytesIO(bytes(5000)))
    with pytest.raises(Corrupt, match="archive entry 2: the stream ends"):
        engine.containers.write_path("box", "/tmp", io.BytesIO(cut.getvalue()[:2000]))


def test_what_is_mounted_is_seen_as_the_container_sees_it(
    engine: LocalEngine, image: str, files: Path, tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    mounts = (
        MountRequest("bind", str(host), "/mnt/host"),
        MountRequest("bind", str(files / "tree"), "/mnt/fixed", read_only=True),
    )
    ref = make(engine, image, running=False, mounts=mounts)
    mounted = engine.containers.inspect(ref).summary.mounts
    (volume,) = [each for each in mounted if each.type == "volume"]
    for _ in range(2):
        into(engine, files / "file", "/mnt/host")
        into(engine, files / "file", "/data/mine")
        assert (host / "file").read_bytes() == b"of the host\n"
        assert Path(volume.source, "mine").read_bytes() == b"of the host\n"
        assert "fixed/sub/one" in names(engine, "/mnt/fixed")
        with pytest.raises(Conflict, match="mounted volume is marked read-only"):
            into(engine, files / "file", "/mnt/fixed")
        for path in (host / "file", Path(volume.source, "mine")):
            path.unlink()
        engine.containers.start(ref)
    assert not engine.containers.changes("box")


@pytest.mark.parametrize("running", [True, False])
def test_a_read_only_container_takes_nothing_but_in_its_volumes(
    engine: LocalEngine, image: str, files: Path, running: bool
) -> None:
    make(engine, image, running=running, read_only=True)
    with pytest.raises(Conflict, match="container rootfs is marked read-only"):
        into(engine, files / "file", "/tmp")
    into(engine, files / "file", "/data")
    assert content(engine, "/data/file") == b"of the host\n"


def test_a_mounted_file_is_not_replaced(engine: LocalEngine, image: str, files: Path) -> None:
    make(engine, image, running=True)
    with pytest.raises(Conflict, match='"box:/etc/hosts": something is mounted there'):
        into(engine, files / "file", "/etc/hosts")
    assert b"localhost" in content(engine, "/etc/hosts")


def test_a_paused_container_is_copied_too(engine: LocalEngine, image: str, files: Path) -> None:
    make(engine, image, running=True)
    engine.containers.pause("box")
    into(engine, files / "file", "/tmp")
    assert content(engine, "/tmp/file") == b"of the host\n"
    engine.containers.unpause("box")


def test_holes_stay_holes(engine: LocalEngine, image: str) -> None:
    make(engine, image, running=False)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse",
            "GNU.sparse.realsize": str(1 << 30),
        }  # fmt: skip
        payload = b"1\n1073741820\n4\n".ljust(512, b"\0") + b"data"
        info.size = len(payload)
        tar.addfile(info, io.BytesIO(payload))
    archive.seek(0)
    engine.containers.write_path("box", "/tmp", archive)
    status = engine.containers.stat_path("box", "/tmp/sparse")
    assert status.size_bytes == 1 << 30
    (upper,) = Path(engine.containers.inspect("box").upper_directory).glob("tmp/sparse")
    assert upper.stat().st_blocks * 512 < 1 << 20


def test_a_copy_hears_a_cancel(engine: LocalEngine, box: str, files: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.containers.copy_out("box", "/etc", str(files / "x"), cancel=cancel)
    with pytest.raises(Cancelled):
        engine.containers.copy_in(str(files), "box", "/tmp", cancel=cancel)
    with pytest.raises(Cancelled):
        engine.containers.read_path("box", "/etc", io.BytesIO(), cancel=cancel)
    with pytest.raises(Cancelled):
        engine.containers.write_path("box", "/etc", io.BytesIO(b"x" * 5000), cancel=cancel)


class Endless(io.RawIOBase):
    """A tar of one small file and one that never ends; `after` is called once the first is out."""

    def __init__(self, after: Callable[[], None]) -> None:
        small, large = tarfile.TarInfo("small"), tarfile.TarInfo("large")
        small.size, large.size = 3, 1 << 30
        self._head = small.tobuf() + b"abc".ljust(512, b"\0") + large.tobuf()
        self._after = after
        self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data, self._head = self._head, b""
        self._given += 1
        if self._given == 8:
            self._after()
        return data or bytes(1 << 16)


def test_a_copy_that_is_cancelled_leaves_what_was_copied_and_nobody_at_work(
    engine: LocalEngine, box: str
) -> None:
    cancel = Cancel()
    with pytest.raises(Cancelled):
        engine.containers.write_path("box", "/tmp", Endless(cancel.cancel), cancel=cancel)
    assert engine.containers.stat_path("box", "/tmp/large").size_bytes <= 8 << 16
    assert content(engine, "/tmp/small") == b"abc"
    engine.containers.restart("box", timeout_seconds=0)
    engine.containers.remove("box", force=True)


def test_a_worker_that_is_killed_is_told(
    engine: LocalEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(engine, image, running=False)
    workers: list[Worker] = []

    class Kept(Worker):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            workers.append(self)

    monkeypatch.setattr(container_copy, "Worker", Kept)
    with pytest.raises(Unavailable, match="copy: the process that does it died: killed by SIGKILL"):
        engine.containers.write_path("box", "/tmp", Endless(lambda: workers[0].kill()))
    engine.containers.start("box")


# -- attacks


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of the host that nothing may read from or write to."""
    place = tmp_path_factory.mktemp("secret")
    (place / "key").write_bytes(b"of the host alone")
    (place / "dir").mkdir()
    yield place
    assert sorted(path.name for path in place.iterdir()) == ["dir", "key"]
    assert (place / "key").read_bytes() == b"of the host alone"
    assert not list((place / "dir").iterdir())


def test_links_of_a_container_lead_nowhere_else(
    engine: LocalEngine, box: str, files: Path, secret: Path
) -> None:
    links = files / "links"
    links.mkdir()
    for name, target in (
        ("abs", str(secret)), ("rel", f"../../../../../../..{secret}"), ("file", f"{secret}/key"),
        ("proc", f"/proc/1/root{secret}"), ("self", f"/proc/self/root{secret}"),
    ):  # fmt: skip
        (links / name).symlink_to(target)
    into(engine, links, "/tmp/links")
    for name in ("abs", "rel", "proc", "self"):
        for act in (
            lambda path: content(engine, f"{path}/key"),
            lambda path: into(engine, files / "file", f"{path}/key"),
            lambda path: into(engine, files / "file", f"{path}/"),
            lambda path: out(engine, f"{path}/", files / "got"),
        ):
            with pytest.raises(EngineError):
                act(f"/tmp/links/{name}")
    with pytest.raises(EngineError):
        out(engine, "/tmp/links/file", files / "got", follow_link=True)
    assert not (files / "got").exists()


def test_a_tar_with_links_in_its_way_stays_on_the_host_where_it_was_sent(
    engine: LocalEngine, box: str, files: Path, secret: Path
) -> None:
    """What a container that changes its files meanwhile can make of a stream."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        link = tarfile.TarInfo("tree")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("tree/key"))
    archive.seek(0)
    with pytest.raises(EngineError):
        engine.containers.write_path("box", "/tmp", archive)
    (files / "here" / "tree").mkdir(parents=True)
    (files / "here" / "tree" / "sub").symlink_to(secret)
    into(engine, files / "tree", "/tmp/other")
    with pytest.raises(Conflict, match="cannot overwrite non-directory"):
        out(engine, "/tmp/other/.", files / "here" / "tree")


def exchange(one: Path, other: Path) -> None:
    """renameat2(2), RENAME_EXCHANGE."""
    ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)


def test_a_directory_exchanged_for_a_link_all_the_time_leads_nowhere(
    engine: LocalEngine, image: str, files: Path, secret: Path
) -> None:
    ref = make(engine, image, running=True)
    pid = engine.containers.inspect(ref).summary.pid
    inside = Path(f"/proc/{pid}/root/tmp")
    (inside / "dir" / "below").mkdir(parents=True)
    (inside / "dir" / "key").write_bytes(b"its own")
    (inside / "link").symlink_to(secret)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            exchange(inside / "dir", inside / "link")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(5):
            target = files / f"got{number}"
            for act in (
                lambda: into(engine, files / "tree", "/tmp/dir"),
                lambda: into(engine, files / "file", "/tmp/dir/key"),
                lambda target=target: out(engine, "/tmp", target),  # type: ignore[misc]
                lambda target=target: out(engine, "/tmp/dir/key", target),  # type: ignore[misc]
            ):
                with contextlib.suppress(EngineError):  # it was not there just then
                    act()
            found = [target] if target.is_file() else list(target.rglob("key"))
            for path in found:
                assert path.read_bytes() in (b"its own", b"of the host\n")
    finally:
        ended.set()
        swapper.join()
