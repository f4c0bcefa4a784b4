import os
import random
import signal
import time
from pathlib import Path

import pytest

from engine.kernel.namespaces import netns_create
from engine.model.container import PortMapping
from engine.network.reconcile import erase
from engine.storage.metadata import Database
from engine.storage.network_store import NetworkStore
from tests.support.lab import (
    HOST,
    OUTSIDE,
    SILENCE_SECONDS,
    Lab,
    Root,
    ip,
    ruleset,
    run,
    tcp,
)
from tests.support.waiting import until

pytestmark = pytest.mark.root
NAMES = ("bridge", "other", "inside")


@pytest.fixture
def root(lab: Lab) -> Root:
    return lab.root()


def our_links(lab: Lab) -> set[str]:
    return {
        link["ifname"] for link in ip(lab.host, "link", "show")
        if link.get("ifalias", "").startswith("pydock:")
    }  # fmt: skip


def agrees(lab: Lab, root: Root) -> None:
    """Kernel and rows say the same."""
    rows = root.store.endpoints()
    assert {row.state for row in rows} <= {"up"}
    assert set(os.listdir(f"{root.home.run_root}/netns")) == {row.id for row in rows}
    ports = [port for found in root.store.ports().values() for port in found]
    text = ruleset(lab.host)
    assert text.count(" : 10.90.") == len(ports)
    for port in ports:
        assert f"{port.protocol} . {port.host_port} : " in text
    wanted = {f"pdv{row.id[:8]}" for row in rows}
    until(lambda: {name for name in our_links(lab) if name.startswith("pdv")} == wanted)


def test_nothing_to_do_is_nothing_done(lab: Lab, root: Root) -> None:
    assert root.networking.reconcile() == ()
    assert not our_links(lab)
    assert not ruleset(lab.host)  # no bridge, so no table
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80)])
    before = ruleset(lab.host)
    assert root.networking.reconcile() == ()
    assert ruleset(lab.host) == before
    agrees(lab, root)


def live_badly(root: Root, seed: int, ready: int) -> None:
    """Connect and disconnect for ever."""
    chance = random.Random(seed)
    database = Database(root.home)  # a connection must not be taken over a fork
    store = NetworkStore(database)
    networking = type(root.networking)(root.home, store)
    living: list[str] = []
    os.write(ready, b"x")
    for number in range(10_000):
        if living and chance.random() < 0.5:
            networking.disconnect(living.pop(0))
            continue
        container = f"{seed:032x}{number:032x}"
        network = chance.choice(NAMES)
        ports = [PortMapping(80), PortMapping(53, "udp")] if network != "inside" else []
        networking.connect(network, container, f"c{number}", ports)
        living.append(container)


def kill_at_random(lab: Lab, root: Root, times: int) -> int:
    """How many deaths came in the middle of something."""
    for name in NAMES[1:]:
        root.networking.create(name, internal=name == "inside")
    chance = random.Random(7)
    halves = 0
    for seed in range(times):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                live_badly(root, seed, writer)
            finally:
                os._exit(1)  # unless killed
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        time.sleep(chance.uniform(0.002, 0.03))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        halves += any(row.state != "up" for row in root.store.endpoints())
        root.networking.reconcile()
        root.networking.reconcile()  # links are removed when they are met again
        agrees(lab, root)
        for row in root.store.endpoints()[:-3]:
            root.networking.disconnect(row.container_id)
        agrees(lab, root)
    for row in root.store.endpoints():
        root.networking.disconnect(row.container_id)
    for name in NAMES[1:]:
        root.networking.remove(name)
    agrees(lab, root)
    assert our_links(lab) == {root.store.get("bridge").interface}
    return halves


def test_kill_in_the_middle_leaves_nothing_after_reconcile(lab: Lab, root: Root) -> None:
    kill_at_random(lab, root, 12)


@pytest.mark.long
def test_kill_in_the_middle_150_times(lab: Lab, root: Root) -> None:
    assert kill_at_random(lab, root, 150) > 20


@pytest.mark.parametrize("state", ["creating", "removing"])
def test_endpoint_of_a_dead_process_is_removed_and_told(lab: Lab, root: Root, state: str) -> None:
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    root.networking.connect("bridge", "b" * 64, "other", [PortMapping(80, host_port=8081)])
    (web, _) = root.store.endpoints()
    root.store.set_endpoint_state(web.id, state)
    assert root.networking.reconcile() == (f"endpoint of container web: left {state}, removed",)
    assert [row.container_name for row in root.store.endpoints()] == ["other"]
    agrees(lab, root)


def test_endpoints_of_an_earlier_boot_are_removed(lab: Lab, root: Root) -> None:
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    erase(root.home)  # a reboot: the kernel knows nothing
    with root.database.transaction() as cursor:
        cursor.execute("UPDATE endpoint SET boot_id='earlier'")
    assert root.networking.reconcile() == (
        "endpoint of container web: of an earlier boot, removed",
    )
    made = root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    assert made.ip_address == "10.90.0.2"
    agrees(lab, root)


def test_flushed_ruleset_is_made_again_and_ports_work(lab: Lab, root: Root) -> None:
    made = root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    root.networking.create("inside", internal=True)
    lab.serve(made.netns_path, 80, "web")
    before = ruleset(lab.host)
    run(lab.host, "nft", "flush", "ruleset")
    answer = tcp(lab.outside, HOST, 8080, seconds=SILENCE_SECONDS)
    assert answer in ("Connection refused", "timeout")
    (line,) = root.networking.reconcile()
    assert "table inet pydock_" in line
    assert ruleset(lab.host) == before
    assert tcp(lab.outside, HOST, 8080) == f"web {OUTSIDE}"


@pytest.mark.parametrize(
    "damage",
    ["delete element inet T ports { tcp . 8080 }",
     "add element inet T ports { tcp . 9999 : 10.90.0.9 . 80 }",
     "flush set inet T outward", "flush set inet T subnets", "flush set inet T internal",
     "add element inet T bridges { eth7 }"],
)  # fmt: skip
def test_elements_are_made_to_agree(lab: Lab, root: Root, damage: str) -> None:
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    root.networking.create("inside", internal=True)
    before = ruleset(lab.host)
    run(lab.host, "nft", damage.replace(" T ", f" pydock_{root.home.root_id} "))
    assert ruleset(lab.host) != before
    (line,) = root.networking.reconcile()
    assert "differed" in line
    assert ruleset(lab.host) == before


def test_rules_of_another_version_are_replaced(
    lab: Lab, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.network.firewall._version", lambda name: "pydock 00000000")
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    assert root.networking.reconcile() == ()
    monkeypatch.undo()
    assert len(root.networking.reconcile()) == 1
    assert 'comment "pydock 00000000"' not in ruleset(lab.host)
    agrees(lab, root)


def test_deleted_bridge_is_made_again_under_running_containers(lab: Lab, root: Root) -> None:
    made = root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    lab.serve(made.netns_path, 80, "web")
    run(lab.host, "ip", "link", "delete", root.store.get("bridge").interface)
    bridge_line, port_line = root.networking.reconcile()
    assert "made again" in bridge_line
    assert "plugged" in port_line
    assert root.networking.reconcile() == ()
    until(lambda: tcp(lab.outside, HOST, 8080, seconds=SILENCE_SECONDS) == f"web {OUTSIDE}")


def test_strays_with_our_mark_are_removed_and_others_stay(lab: Lab, root: Root) -> None:
    root.networking.connect("bridge", "a" * 64, "web")
    prefix = f"pydock:{root.home.root_id}:"
    for name, alias in (
        ("pd-12345678", f"{prefix}lost"), ("pdvlost", f"{prefix}lost"),
        ("pd-87654321", "pydock:00000000:theirs"), ("pdvother", ""),
    ):  # fmt: skip
        run(lab.host, "ip", "link", "add", name, "type", "bridge")
        if alias:
            run(lab.host, "ip", "link", "set", name, "alias", alias)
    netns_create(f"{root.home.run_root}/netns/{'0' * 64}")
    Path(f"{root.home.run_root}/netns/half").touch()  # died before the namespace was bound
    first = root.networking.reconcile()
    second = root.networking.reconcile()
    assert len(first) == 3
    assert second == ("link pdvlost: nobody's, removed",)
    names = {link["ifname"] for link in ip(lab.host, "link", "show")}
    assert {"pd-87654321", "pdvother"} <= names
    assert not {"pd-12345678", "pdvlost"} & names
    agrees(lab, root)


def test_erase_removes_everything_of_one_root_only(lab: Lab, root: Root) -> None:
    second = lab.root("b")
    for each, port in ((root, 8080), (second, 8081)):
        each.networking.create("mine")
        each.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=port)])
    erase(root.home)
    text = ruleset(lab.host)
    assert root.home.root_id not in text
    assert second.home.root_id in text
    aliases = [link.get("ifalias", "") for link in ip(lab.host, "link", "show")]
    assert not any(root.home.root_id in alias for alias in aliases)
    assert any(second.home.root_id in alias for alias in aliases)
    assert not os.listdir(f"{root.home.run_root}/netns")
    erase(root.home)  # a second time nothing happens
