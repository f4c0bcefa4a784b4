"""Making the kernel agree with the rows again: only what carries this root's id is ever removed."""

from __future__ import annotations

import errno
import os

from engine.home import Home
from engine.kernel import rtnetlink
from engine.kernel.namespaces import netns_remove
from engine.kernel.netlink import NETLINK_ROUTE, Netlink
from engine.network import bridge, endpoint
from engine.network.fabric import Fabric
from engine.network.firewall import Firewall, is_missing
from engine.storage.leases import boot_id


def reconcile(fabric: Fabric) -> tuple[str, ...]:
    """What was repaired, one line each. The root's network lock is held."""
    done = _finish_removals(fabric)
    done += _remove_strays(fabric)
    done += _correct_firewall(fabric)  # before a bridge routes for 127.0.0.1
    done += _raise_bridges(fabric)
    return tuple(done)


def _finish_removals(fabric: Fabric) -> list[str]:
    """Endpoints that somebody died over, or that a reboot ended, are gone."""
    boot = boot_id()
    done: list[str] = []
    for row in fabric.store.endpoints():
        if row.boot_id == boot and row.state == "up":
            continue
        why = f"left {row.state}" if row.boot_id == boot else "of an earlier boot"
        fabric.remove_endpoint(row)
        fabric.store.remove_endpoint(row.id)
        done.append(f"endpoint of container {row.container_name}: {why}, removed")
    return done


def _remove_strays(fabric: Fabric) -> list[str]:
    """Namespaces and links that no row knows are gone."""
    done: list[str] = []
    endpoints = {row.id for row in fabric.store.endpoints()}
    directory = f"{fabric.home.run_root}/netns"
    for name in os.listdir(directory):
        if name not in endpoints:
            netns_remove(f"{directory}/{name}")
            done.append(f"network namespace {name[:12]}: nobody's, removed")
    known = {endpoint.interface_name(id) for id in endpoints}
    stray = bridge.alias(fabric.home.root_id, "stray")
    known |= {row.interface for row in fabric.store.list_()}
    for link in fabric.links():
        if link.name in known:
            continue
        if link.alias != stray and endpoint.is_interface(link.name):
            # The kernel removes it a little after its namespace, and cheaper than we can: only
            # what is met a second time has to be removed.
            fabric.netlink.send([rtnetlink.set_alias(link.name, stray)], ignore=(errno.ENODEV,))
            continue
        bridge.delete(fabric.netlink, link.name)
        done.append(f"link {link.name}: nobody's, removed")
    return done


def _raise_bridges(fabric: Fabric) -> list[str]:
    """Every network with members has its bridge, and that has the members' links as ports."""
    done: list[str] = []
    masters = {link.name: link.master for link in fabric.links()}
    for network in fabric.store.list_():
        rows = fabric.store.endpoints(network.id) if network.driver == "bridge" else []
        if not rows:
            continue
        if network.interface not in masters:
            done.append(f"bridge {network.interface}: was gone, made again")
        _, link = fabric.raise_bridge(network)
        for row in rows:
            name = endpoint.interface_name(row.id)
            if name in masters and masters[name] != link.ifindex:
                endpoint.replug(fabric.netlink, name, link.ifindex)
                done.append(f"link {name}: plugged into {link.name} again")
    return done


def _correct_firewall(fabric: Fabric) -> list[str]:
    """If this root has bridges, the table holds exactly what belongs to what is up."""
    walls, published = fabric.wanted()
    if not walls:
        return []
    if fabric.raise_firewall():
        return [f"table inet {fabric.firewall.table}: was gone or of another version, made again"]
    if not fabric.has_firewall or not fabric.firewall.differs(walls, published):
        return []
    fabric.firewall.build(walls, published)
    return [f"table inet {fabric.firewall.table}: differed from the rows, made again"]


def erase(home: Home) -> None:
    """Nothing in the kernel carries this root's id any more; no row is asked or changed."""
    directory = f"{home.run_root}/netns"
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            netns_remove(f"{directory}/{name}")
    prefix = bridge.alias_prefix(home.root_id)
    with Netlink(NETLINK_ROUTE) as netlink:
        for link in rtnetlink.links(netlink):
            if link.alias.startswith(prefix):
                bridge.delete(netlink, link.name)
    firewall = Firewall(home.root_id)
    try:
        firewall.delete()
    except OSError as error:
        if not is_missing(error):
            raise
    finally:
        firewall.close()
