import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Conflict, InvalidInput, NotFound, Unavailable, Unsupported
from engine.kernel import netlink
from engine.kernel.namespaces import inside
from engine.model.container import PortMapping
from engine.network import endpoint, firewall
from tests.support.lab import HOST, OUTSIDE, Lab, Root, ip, ruleset, run, sysctl, tcp

pytestmark = pytest.mark.root


@pytest.fixture
def root(lab: Lab) -> Root:
    return lab.root()


def links(lab: Lab) -> set[str]:
    return {link["ifname"] for link in ip(lab.host, "link", "show")} - {"lo", "u0"}


def nothing_of(lab: Lab, root: Root) -> bool:
    """Whether no endpoint is left, in rows, files, or elements; links go a little later."""
    return (
        not root.store.endpoints()
        and not root.store.ports()
        and not os.listdir(f"{root.home.run_root}/netns")
        and " : 10.90." not in ruleset(lab.host)
    )


def test_default_networks_are_rows_and_nothing_else(lab: Lab, root: Root) -> None:
    root.networking.ensure_default()
    found = {row.name: (row.driver, row.subnet) for row in root.store.list_()}
    assert found == {
        "bridge": ("bridge", "10.90.0.0/24"),
        "host": ("host", ""),
        "none": ("null", ""),
    }
    assert not links(lab)
    assert not ruleset(lab.host)


def test_first_container_in_a_network_with_a_way_out_turns_forwarding_on_and_says_so(
    lab: Lab, root: Root
) -> None:
    assert "ip_forward" in root.networking.connect("bridge", "a" * 64, "one").warnings[0]
    assert sysctl("ipv4/ip_forward") == "1"
    assert root.networking.connect("bridge", "b" * 64, "two").warnings == ()


def test_internal_network_changes_no_sysctl_but_of_its_own_bridge(lab: Lab, root: Root) -> None:
    def all_sysctls() -> dict[str, str]:
        return {
            str(path): path.read_text()
            for path in Path("/proc/sys/net").rglob("*")
            if path.is_file()
            and os.access(path, os.R_OK)
            and path.name not in ("flush", "nf_conntrack_count", "stable_secret")
            and "pd" not in path.parts[-2]
        }

    before = all_sysctls()
    network_id = root.networking.create("inside", internal=True)
    made = root.networking.connect("inside", "a" * 64, "inmate")
    assert made.gateway == ""
    assert made.warnings == ()
    after = all_sysctls()
    assert {name for name in before if after.get(name) != before[name]} == set()
    assert sysctl(f"ipv4/conf/pd-{network_id[:8]}/route_localnet") == "0"


def test_network_is_created_with_its_bridge_and_removed_with_all_of_it(
    lab: Lab, root: Root
) -> None:
    network_id = root.networking.create("mine", subnet="10.77.0.0/28", labels=[("a", "b")])
    row = root.store.get("mine")
    assert (row.id, row.subnet, row.gateway) == (network_id, "10.77.0.0/28", "10.77.0.1")
    assert row.labels == {"a": "b"}
    (link,) = ip(lab.host, "address", "show", row.interface)
    assert (link["addr_info"][0]["local"], link["addr_info"][0]["prefixlen"]) == ("10.77.0.1", 28)
    assert sysctl(f"ipv6/conf/{row.interface}/disable_ipv6") == "1"
    assert row.interface in ruleset(lab.host)
    root.networking.remove("mine")
    assert root.store.find("mine") is None
    assert not links(lab)
    assert row.interface not in ruleset(lab.host)


def test_network_with_members_is_not_removed_and_the_members_are_named(root: Root) -> None:
    root.networking.create("mine")
    root.networking.connect("mine", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    root.networking.connect("mine", "b" * 64, "db")
    with pytest.raises(Conflict, match="web, db"):
        root.networking.remove("mine")
    web, db = root.networking.members("mine")
    assert (web.container_name, web.ports) == ("web", (PortMapping(80, host_port=8080),))
    assert db.container_name == "db"
    root.networking.disconnect("a" * 64)
    root.networking.disconnect("b" * 64)
    root.networking.remove("mine")


def test_predefined_networks_stay(root: Root) -> None:
    for name in ("bridge", "host", "none"):
        with pytest.raises(Conflict, match="pre-defined"):
            root.networking.remove(name)
    assert root.networking.members("host") == ()


def test_bad_names_are_refused(root: Root) -> None:
    for name in ("", "-a", "a b", "a/b", "a\n", "é", "x" * 129, "\x1b[31m"):
        with pytest.raises(InvalidInput, match="name"):
            root.networking.create(name)


def test_taken_names_and_unknown_networks_are_said(lab: Lab, root: Root) -> None:
    root.networking.create("mine")
    before = links(lab)
    with pytest.raises(Conflict, match="mine already exists"):
        root.networking.create("mine")
    with pytest.raises(Conflict, match="bridge already exists"):
        root.networking.create("bridge")
    with pytest.raises(NotFound):
        root.networking.connect("nothing", "a" * 64, "web")
    with pytest.raises(InvalidInput, match="cannot be connected"):
        root.networking.connect("none", "a" * 64, "web")
    assert links(lab) == before


def test_subnet_that_the_host_routes_is_refused_and_passed_over(lab: Lab, root: Root) -> None:
    run(lab.host, "ip", "route", "add", "10.90.1.0/24", "via", OUTSIDE)
    run(lab.host, "ip", "route", "add", "10.91.0.0/16", "via", OUTSIDE, "table", "77")
    with pytest.raises(Conflict, match=r"10\.90\.1\.0/24 .*u0"):
        root.networking.create("mine", subnet="10.90.1.128/25")
    with pytest.raises(Conflict, match=r"10\.91\.0\.0/16"):
        root.networking.create("mine", subnet="10.91.3.0/24")
    with pytest.raises(Conflict, match="network bridge"):
        root.networking.create("mine", subnet="10.90.0.0/24")
    assert root.store.find("mine") is None
    assert not links(lab)
    root.networking.create("mine")
    assert root.store.get("mine").subnet == "10.90.2.0/24"


def test_default_network_moves_when_its_subnet_is_taken_before_its_first_member(
    lab: Lab, root: Root
) -> None:
    run(lab.host, "ip", "route", "add", "10.90.0.0/23", "via", OUTSIDE)
    made = root.networking.connect("bridge", "a" * 64, "web")
    assert made.ip_address == "10.90.2.2"
    assert root.store.get("bridge").subnet == "10.90.2.0/24"
    assert root.networking.reconcile() == ()


def test_other_networks_do_not_move(lab: Lab, root: Root) -> None:
    root.networking.create("mine", subnet="10.77.0.0/24")
    run(lab.host, "ip", "link", "delete", root.store.get("mine").interface)
    run(lab.host, "ip", "route", "add", "10.77.0.0/16", "via", OUTSIDE)
    with pytest.raises(Conflict, match=r"network mine: .*10\.77\.0\.0/16.*u0"):
        root.networking.connect("mine", "a" * 64, "web")
    assert nothing_of(lab, root)


def test_network_without_a_free_address_says_so(root: Root) -> None:
    root.networking.create("tiny", subnet="10.77.0.0/30")
    root.networking.connect("tiny", "a" * 64, "one")
    with pytest.raises(Unavailable, match=r"no address of 10\.77\.0\.0/30"):
        root.networking.connect("tiny", "b" * 64, "two")


def test_container_is_in_a_network_once(root: Root) -> None:
    root.networking.connect("bridge", "a" * 64, "web")
    with pytest.raises(Conflict, match="web is already in network bridge"):
        root.networking.connect("bridge", "a" * 64, "web")
    assert len(root.store.endpoints()) == 1


def test_port_conflict_leaves_nothing_behind(lab: Lab, root: Root) -> None:
    lab.serve(lab.host, 8081, "host")
    wanted = [PortMapping(80, host_port=8080), PortMapping(80, host_port=8081)]
    with pytest.raises(Conflict, match="8081 failed: port is already allocated"):
        root.networking.connect("bridge", "a" * 64, "web", wanted)
    assert nothing_of(lab, root)
    root.networking.connect("bridge", "a" * 64, "web", wanted[:1])
    with pytest.raises(Conflict, match=r"8080.*container web"):
        root.networking.connect("bridge", "b" * 64, "more", wanted[:1])
    assert [row.container_name for row in root.store.endpoints()] == ["web"]


def test_internal_network_publishes_nothing(lab: Lab, root: Root) -> None:
    root.networking.create("inside", internal=True)
    with pytest.raises(InvalidInput, match="internal"):
        root.networking.connect("inside", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    assert nothing_of(lab, root)


def test_element_without_a_row_is_a_conflict(lab: Lab, root: Root) -> None:
    root.networking.connect("bridge", "b" * 64, "other")
    run(lab.host, "nft", "add", "element", "inet", f"pydock_{root.home.root_id}", "ports",
        "{ tcp . 8080 : 10.90.0.99 . 80 }")  # fmt: skip
    with pytest.raises(Conflict, match="8080: already allocated in table"):
        root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    assert [row.container_name for row in root.store.endpoints()] == ["other"]
    assert len(root.networking.reconcile()) == 1
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])


STEPS = ("netns_create", "plug", "publish", "set_endpoint_state")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("failure", [OSError(errno.ENOMEM, "no memory"), KeyboardInterrupt()])
def test_failure_in_any_step_undoes_those_before(
    lab: Lab, root: Root, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    root.networking.connect("bridge", "b" * 64, "other")
    places = {
        "netns_create": "engine.network.networking.netns_create",
        "plug": "engine.network.endpoint.plug",
        "publish": "engine.network.firewall.Firewall.publish",
        "set_endpoint_state": "engine.storage.network_store.NetworkStore.set_endpoint_state",
    }
    real = {
        "plug": endpoint.plug,
        "publish": firewall.Firewall.publish,
    }.get(step)

    def fail(*arguments: object, **named: object) -> None:
        if real:
            real(*arguments, **named)  # type: ignore[arg-type]
        raise failure

    monkeypatch.setattr(places[step], fail)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else Unavailable
    with pytest.raises(expected):
        root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    monkeypatch.undo()
    assert [row.container_name for row in root.store.endpoints()] == ["other"]
    assert len(os.listdir(f"{root.home.run_root}/netns")) == 1
    if step != "publish":  # it failed after its work: only then an element is left to reconcile
        assert root.networking.reconcile() == ()
    else:
        root.networking.reconcile()
    root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])


def test_kernel_without_nf_tables_has_networks_but_no_published_ports(
    lab: Lab, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = netlink.Netlink.__init__

    def missing(self: netlink.Netlink, protocol: int) -> None:
        if protocol == netlink.NETLINK_NETFILTER:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        real(self, protocol)

    monkeypatch.setattr(netlink.Netlink, "__init__", missing)
    with pytest.raises(Unsupported, match="nf_tables"):
        root.networking.connect("bridge", "a" * 64, "web", [PortMapping(80, host_port=8080)])
    made = root.networking.connect("bridge", "a" * 64, "web")
    peer = root.networking.connect("bridge", "b" * 64, "peer")
    lab.serve(made.netns_path, 80, "web")
    assert tcp(peer.netns_path, made.ip_address, 80) == f"web {peer.ip_address}"
    interface = root.store.get("bridge").interface
    assert sysctl(f"ipv4/conf/{interface}/route_localnet") == "0"  # no rule stands before 127/8
    assert sysctl("ipv4/ip_forward") == "0"
    assert root.networking.reconcile() == ()
    root.networking.disconnect("a" * 64)
    root.networking.disconnect("b" * 64)
    root.networking.create("mine")
    root.networking.remove("mine")


def test_table_that_vanishes_while_it_is_made_again_is_no_missing_firewall(
    lab: Lab, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = firewall.Firewall.build
    monkeypatch.setattr("engine.network.firewall._version", lambda name: "pydock 00000000")
    root.networking.connect("bridge", "a" * 64, "web")
    monkeypatch.undo()

    def flushed_meanwhile(self: firewall.Firewall, *arguments: Any) -> None:
        monkeypatch.undo()
        run(lab.host, "nft", "flush", "ruleset")
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(firewall.Firewall, "build", flushed_meanwhile)
    made = root.networking.connect("bridge", "b" * 64, "peer", [PortMapping(80, host_port=8080)])
    assert firewall.Firewall.build is real
    lab.serve(made.netns_path, 80, "peer")
    assert tcp(lab.outside, HOST, 8080) == f"peer {OUTSIDE}"


def test_threads_connect_and_disconnect_at_once(lab: Lab, root: Root) -> None:
    def story(number: int) -> str:
        with inside(lab.host):  # a new thread is in the namespace of the process
            made = root.networking.connect(
                "bridge", f"{number:064x}", f"c{number}", [PortMapping(80), PortMapping(81)]
            )
            if number % 2:
                root.networking.disconnect(f"{number:064x}")
            return made.ip_address

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(story, range(24)))
    members = root.networking.members("bridge")
    assert len(members) == 12
    assert len({member.ip_address for member in members}) == 12
    assert len({port for member in members for port in member.ports}) == 24
    assert root.networking.reconcile() == ()


def test_two_roots_at_once_choose_different_subnets(lab: Lab, root: Root) -> None:
    second = lab.root("b")

    def create(item: tuple[Root, int]) -> None:
        with inside(lab.host):
            item[0].networking.create(f"n{item[1]}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, [(each, number) for number in range(5) for each in (root, second)]))
    subnets = [
        row.subnet
        for each in (root, second)
        for row in each.store.list_()
        if row.name.startswith("n") and row.driver == "bridge"
    ]
    assert len(subnets) == len(set(subnets)) == 10


def test_deleted_bridge_is_made_again_by_the_next_container(lab: Lab, root: Root) -> None:
    root.networking.connect("bridge", "a" * 64, "web")
    root.networking.disconnect("a" * 64)
    run(lab.host, "ip", "link", "delete", root.store.get("bridge").interface)
    run(lab.host, "nft", "flush", "ruleset")
    lab.serve(lab.outside, 9000, "out")
    made = root.networking.connect("bridge", "a" * 64, "web")
    assert tcp(made.netns_path, OUTSIDE, 9000) == f"out {HOST}"


def test_half_made_bridge_is_finished(lab: Lab, root: Root) -> None:
    interface = root.store.get("bridge").interface
    run(lab.host, "ip", "link", "add", interface, "type", "bridge")
    made = root.networking.connect("bridge", "a" * 64, "web")
    lab.serve(lab.host, 7000, "host")
    assert tcp(made.netns_path, made.gateway, 7000) == f"host {made.ip_address}"


def test_disconnecting_nobody_does_nothing(root: Root) -> None:
    root.networking.disconnect("a" * 64)
