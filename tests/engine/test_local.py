"""The engine of this host: opened, shared, repaired at its opening, erased."""

import contextlib
import errno
import os
import select
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.connect import connect
from engine.engine import Capability
from engine.errors import Conflict
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from engine.monitor.standby import Standby
from tests.support import images
from tests.support.images import File, layout_tar

pytestmark = pytest.mark.root


def busybox(directory: Path) -> str:
    """An archive of one image with a shell."""
    path = shutil.which("busybox")
    assert path, "busybox is not installed"
    data = Path(path).read_bytes()
    made = images.make_image([{"bin": None, "bin/sh": File(data), "bin/sleep": File(data)}])
    (directory / "box.tar").write_bytes(layout_tar(directory / "layout", {"localhost/box:1": made}))
    return str(directory / "box.tar")


def start(engine: LocalEngine, archive: str, **options: object) -> str:
    with open(archive, "rb") as file:
        (image,) = engine.images.load(file)
    wanted = CreateOptions(image, command=("sleep", "900"))._replace(**options)  # type: ignore[arg-type]
    made = engine.containers.create(wanted)
    engine.containers.start(made)
    return made


def test_a_new_root_has_its_networks_and_nothing_else(roots: tuple[str, str]) -> None:
    with connect(*roots) as engine:
        assert {row.name for row in engine.networks.list()} == {"bridge", "host", "none"}
        assert engine.containers.list(all=True) == []
        assert engine.images.list() == []
        assert engine.volumes.list() == []
        assert (engine.info.root, engine.info.run_root) == roots
        assert Capability.LAYERS | Capability.FREEZE in engine.capabilities


def test_opening_leaves_the_kernel_alone(roots: tuple[str, str]) -> None:
    before = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout
    links = os.listdir("/sys/class/net")
    connect(*roots).close()
    assert subprocess.run(["nft", "list", "ruleset"], capture_output=True).stdout == before
    assert os.listdir("/sys/class/net") == links


def test_two_engines_of_one_root_see_each_other(roots: tuple[str, str], tmp_path: Path) -> None:
    with connect(*roots) as one, connect(*roots) as two:
        ref = start(one, busybox(tmp_path), network="none")
        assert [row.state for row in two.containers.list()] == ["running"]
        two.containers.stop(ref, timeout_seconds=0)
        assert one.containers.list() == []
        one.containers.remove(ref)
        assert two.containers.list(all=True) == []


def test_ten_first_openings_at_once(roots: tuple[str, str]) -> None:
    ids: list[str] = []

    def open_and_close() -> None:
        with connect(*roots) as engine:
            ids.append(engine.networks.inspect("bridge").summary.id)

    threads = [threading.Thread(target=open_and_close) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 10
    assert len(set(ids)) == 1


def test_closing_twice_is_closing_once(roots: tuple[str, str]) -> None:
    engine = connect(*roots)
    events = engine.system.events()
    engine.close()
    assert list(events) == []
    engine.close()


def test_opening_empties_the_trash_and_folds_what_ended(
    roots: tuple[str, str], tmp_path: Path
) -> None:
    with connect(*roots) as engine:
        ref = start(engine, busybox(tmp_path), network="none")
        summary = engine.containers.inspect(ref).summary
    Path(roots[0], "trash/left").mkdir()
    state = Path(roots[1], "containers", ref, "state.json")
    monitor = int(state.read_text().partition('"monitor_pid":')[2].partition(",")[0])
    for pid in (monitor, summary.pid):
        process = os.pidfd_open(pid)
        os.kill(pid, 9)
        select.select([process], [], [])
        os.close(process)
    with connect(*roots) as engine:
        assert os.listdir(f"{roots[0]}/trash") == []
        row = engine.containers.inspect(ref).summary
        assert (row.state, row.exit_code) == ("exited", 255)
        engine.containers.remove(ref)


def test_a_newer_database_is_left_alone(roots: tuple[str, str]) -> None:
    connect(*roots).close()
    path = Path(roots[0], "db.sqlite")
    database = sqlite3.connect(path)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.execute(f"PRAGMA user_version = {version + 1}")
    database.close()
    with pytest.raises(Conflict, match="newer"):
        connect(*roots)
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    connect(*roots).close()


def test_erasing_leaves_nothing(tmp_path: Path) -> None:
    roots = str(tmp_path / "root"), str(tmp_path / "run")
    engine = connect(*roots)
    archive = busybox(tmp_path)
    start(engine, archive, name="one")
    start(engine, archive, name="two", network="none")
    engine.containers.pause("two")
    engine.volumes.create("data")
    engine.networks.create("mine")
    engine.erase()
    assert not os.path.exists(roots[0])
    assert not os.path.exists(roots[1])
    with connect(*roots) as again:  # as if it had never been
        assert again.containers.list(all=True) == []
        again.erase()


def test_a_standby_that_was_not_needed_ends_with_the_engine(roots: tuple[str, str]) -> None:
    script = (
        "import os, sys\n"
        "from engine.connect import connect\n"
        "engine = connect(*sys.argv[1:], starting=True)\n"
        "children = f'/proc/self/task/{os.getpid()}/children'\n"
        "print(len(open(children).read().split()))\n"
        "engine.close()\n"
        "print(len(open(children).read().split()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *roots], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0"]


def test_an_engine_that_does_not_open_leaves_no_monitor_waiting(
    roots: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Standby] = []
    monkeypatch.setattr(Standby, "_settle", lambda self, path: made.append(self))
    connect(*roots).close()
    with contextlib.closing(sqlite3.connect(f"{roots[0]}/db.sqlite")) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
        with pytest.raises(Conflict, match="newer"):
            connect(*roots, starting=True)
        database.execute(f"PRAGMA user_version = {version}")
    assert not os.path.exists(f"/proc/{made[0].pid}")


def test_a_monitor_that_cannot_be_made_beforehand_is_no_reason_not_to_open(
    roots: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> int:
        raise PermissionError(errno.EPERM, "not today", path)

    monkeypatch.setattr("engine.monitor.standby.readonly_clone", refuse)
    with connect(*roots, starting=True) as engine:
        assert engine.containers.list() == []
