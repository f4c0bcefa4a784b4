"""What a container shares with another one: whose it is when it is made, where it is at a start.

Only for containers that join something. The rules and words are docker's:
github.com/moby/moby/blob/master/runconfig/hostconfig_unix.go and daemon/container_operations.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from engine.model.container import CreateOptions
    from engine.storage.container_store import ContainerStore

PREFIX = "container:"
_IPC = ("", "private", "shareable", "host", "none")
_CHOICE = "leave one of them out"


def with_ids(options: CreateOptions, store: ContainerStore) -> CreateOptions:
    """`options` with ids for the names of the containers that are joined. Raises NotFound, and
    InvalidInput for what such a container cannot have."""
    confinement = options.confinement
    if options.network.startswith(PREFIX):
        _check_network(options)
        donor = store.get(options.network.removeprefix(PREFIX))
        options = options._replace(network=PREFIX + donor.id, hostname=donor.config["hostname"])
    if confinement is None:
        return options
    _check_modes(options)
    return options._replace(
        confinement=confinement._replace(
            pid=_with_id(confinement.pid, store), ipc=_with_id(confinement.ipc, store)
        )
    )


def _with_id(mode: str, store: ContainerStore) -> str:
    if not mode.startswith(PREFIX):
        return mode
    return PREFIX + store.get(mode.removeprefix(PREFIX)).id


def _check_network(options: CreateOptions) -> None:
    naming = options.naming
    for what, given in (
        ("hostname and the network mode", options.hostname),
        ("dns and the network mode", naming is not None and (naming.dns or naming.dns_search)),
        ("custom host-to-IP mapping and the network mode", naming is not None and naming.hosts),
        (
            "port publishing and the container type network mode",
            options.ports or options.publish_all,
        ),
        ("port exposing and the container type network mode", options.exposed_ports),
    ):
        if given:
            raise InvalidInput(f"conflicting options: {what}", _CHOICE)


def _check_modes(options: CreateOptions) -> None:
    wanted = options.confinement
    assert wanted is not None
    for name, mode, modes, joins in (
        ("PID", wanted.pid, ("", "host"), True),
        ("IPC", wanted.ipc, _IPC, True),
        ("UTS", wanted.uts, ("", "host"), False),
        ("USER", wanted.userns, ("", "host"), False),
        ("CGROUP", wanted.cgroupns, ("", "host", "private"), False),
    ):
        joined = joins and mode.startswith(PREFIX) and len(mode) > len(PREFIX)
        if mode not in modes and not joined:
            known = ", ".join([each for each in modes if each] + ["container:NAME"] * joins)
            raise InvalidInput(f"invalid {name} mode: {mode}", f"choose from {known}")
    named = options.hostname or (options.naming and options.naming.domainname)
    if wanted.uts == "host" and named:
        raise InvalidInput("conflicting options: hostname and the UTS mode", _CHOICE)


def joined(config: dict[str, Any], store: ContainerStore) -> dict[str, str]:
    """The path of each kind of namespace ("network", "pid", "ipc") that a container with this
    `config` takes from a running one. Raises NotFound, Conflict."""
    confinement = config.get("confinement", {})
    found: dict[str, str] = {}
    for kind, link, mode in (
        ("network", "net", config["network"]),
        ("pid", "pid", confinement.get("pid", "")),
        ("ipc", "ipc", confinement.get("ipc", "")),
    ):
        if mode.startswith(PREFIX):
            pid = _donor(kind, mode.removeprefix(PREFIX), store)
            found[kind] = f"/proc/{pid}/ns/{link}"
    return found


def _donor(kind: str, container_id: str, store: ContainerStore) -> int:
    """The first process of a container that lets others share its namespace."""
    row = store.get(container_id)
    if row.state not in ("running", "paused"):
        raise Conflict(
            f"cannot join {kind} namespace of a non running container: {row.name}",
            f"pydock start {row.name}",
        )
    own = row.config.get("confinement", {}).get("ipc", "")
    if kind == "ipc" and own not in ("shareable", "host"):
        raise Conflict(
            f"can't join IPC of container {row.id}: non-shareable IPC",
            "use --ipc shareable for the container that gives it",
        )
    return row.pid
