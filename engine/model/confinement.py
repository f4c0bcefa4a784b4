"""What a container may do, and what of its host it sees, where that is not docker's default."""

from typing import Any

from engine.named_tuple import NamedTuple


class Device(NamedTuple):
    """`--device`: a node of the host, or a directory of them, and the accesses (of r, w, m)."""

    host_path: str
    path: str
    access: str = "rwm"


class Ulimit(NamedTuple):
    """`--ulimit nofile=64:128`; -1 is no limit."""

    name: str
    soft: int
    hard: int


class Confinement(NamedTuple):
    """Everything is docker's default. `security` are docker's options, with a profile's JSON in
    place of its file; capabilities have their whole names, or are ALL."""

    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security: tuple[str, ...] = ()
    unmasked: bool = False  # systempaths=unconfined
    read_only: bool = False
    tmpfs: tuple[tuple[str, str], ...] = ()  # path, options
    shm_bytes: int = 0  # 0: docker's 64 MiB
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    init: bool = False
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()  # "c 1:3 rwm"
    groups: tuple[str, ...] = ()
    oom_score_adj: int = 0
    # Whose namespaces: "" its own, "host", "container:NAME" …
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    userns: str = ""


def confinement_of(document: dict[str, Any]) -> Confinement:
    """The value whose fields a row's JSON holds; those of later versions that it lacks are the
    default."""
    fields: dict[str, Any] = {
        name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
        if isinstance(value, list)
        else value
        for name, value in document.items()
    }
    found = Confinement(**fields)
    return found._replace(
        ulimits=tuple(Ulimit(*each) for each in found.ulimits),
        devices=tuple(Device(*each) for each in found.devices),
    )
