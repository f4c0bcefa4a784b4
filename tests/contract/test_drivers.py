"""A container's life is the same whatever driver makes its root."""

import io
import os
import tarfile

import pytest

from engine.connect import connect
from engine.engine import Engine
from engine.home import open_home
from engine.model.container import Change, CreateOptions
from engine.oci.digest import ChainID
from engine.storage.container_store import ContainerStore
from engine.storage.metadata import Database
from engine.storage.snapshots import Snapshots
from tests.contract.conftest import DRIVEN
from tests.support.waiting import until

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize(
        "engine", [pytest.param("local", marks=pytest.mark.root), *DRIVEN], indirect=True
    ),
]
SCRIPT = """
b=/bin/busybox
echo mine >/etc/motd
$b rm /usr/new
$b mkdir /srv
echo x >/srv/x
$b ln /srv/x /srv/y
$b ln -s x /srv/z
$b rm -r /tmp
$b mkdir -m 700 /tmp
echo late >/tmp/late
"""
CHANGES = [
    Change("C", "/etc"), Change("C", "/etc/motd"), Change("A", "/srv"), Change("A", "/srv/x"),
    Change("A", "/srv/y"), Change("A", "/srv/z"), Change("C", "/tmp"), Change("A", "/tmp/late"),
    Change("C", "/usr"), Change("D", "/usr/new"),
]  # fmt: skip


def mounted() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if "fuse-overlayfs" in line]


def run(engine: Engine, image: str, script: str) -> None:
    """The container "box" has done it, and ended well."""
    options = CreateOptions(
        image=image, name="box", network="none", command=("/bin/busybox", "sh", "-ec", script)
    )
    engine.containers.create(options)
    engine.containers.start("box")
    assert engine.containers.wait("box") == 0


def tree(data: bytes) -> dict[str, tuple[bytes, int, int, str, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for each in tar:
            content = tar.extractfile(each) if each.isreg() else None
            found[each.name] = (
                each.type, each.mode, each.uid, each.linkname, content.read() if content else b""
            )  # fmt: skip
    return found


def exported(engine: Engine, ref: str) -> dict[str, tuple[bytes, int, int, str, bytes]]:
    output = io.BytesIO()
    engine.containers.export(ref, output)
    return tree(output.getvalue())


def test_it_is_changed_committed_exported_and_removed(
    engine: Engine, image: str, roots: tuple[str, str]
) -> None:
    run(engine, image, SCRIPT)
    assert engine.containers.changes("box") == CHANGES
    seen = exported(engine, "box")
    assert seen["etc/motd"][4] == b"mine\n"
    assert seen["srv/y"][0] == tarfile.LNKTYPE
    assert "usr/new" not in seen
    engine.containers.commit("box", "made:1")
    engine.containers.remove("box")
    assert mounted() == []
    assert os.listdir(f"{roots[0]}/upper") == []
    engine.containers.create(CreateOptions(image="made:1", name="again", network="none"))
    again = exported(engine, "again")
    # Places that a start makes for its mounts are no part of the image.
    places = {"dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
    assert {path: facts for path, facts in seen.items() if path not in places} == again
    assert list(engine.system.fsck()) == []


def test_it_goes_on_where_it_was(engine: Engine, image: str) -> None:
    run(engine, image, "echo 1 >>/count; test $(/bin/busybox wc -l </count) -lt 3")
    for code in (0, 1):
        engine.containers.start("box")
        assert engine.containers.wait("box") == code
    assert mounted() == []


def test_what_runs_is_read_without_disturbing_it(engine: Engine, image: str) -> None:
    options = CreateOptions(
        image=image, name="box", network="none",
        command=("/bin/busybox", "sh", "-c", "echo here >/now; exec sleep 1000"),
    )  # fmt: skip
    engine.containers.create(options)
    engine.containers.start("box")
    until(lambda: exported(engine, "box").get("now", (b"",) * 5)[4] == b"here\n")
    assert Change("A", "/now") in engine.containers.changes("box")
    assert engine.system.df().containers
    engine.containers.remove("box", force=True)
    assert mounted() == []


def test_what_a_killed_start_left_mounted_goes_with_the_next_command(
    engine: Engine, image: str, roots: tuple[str, str]
) -> None:
    identity = engine.containers.create(CreateOptions(image=image, name="box", network="none"))
    home = open_home(*roots)
    database = Database(home)
    row = ContainerStore(database).get("box")
    Snapshots(home, database).prepare(identity, ChainID(row.chain_id or ""))
    database.close()
    with connect(*roots):
        assert mounted() == []
    engine.containers.start("box")
    engine.containers.wait("box")
    assert mounted() == []
