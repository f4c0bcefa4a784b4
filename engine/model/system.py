"""What an engine says of itself and its host."""

from engine.named_tuple import NamedTuple


class EngineInfo(NamedTuple):
    """`info`: facts that do not change while the engine is open."""

    name: str  # of the host
    kind: str  # embedded, docker, podman, pydock
    version: str
    root: str
    run_root: str
    root_id: str
    demo: bool
    os: str
    architecture: str
    kernel: str
    distribution: str
    cpus: int
    memory_bytes: int
    cgroup: str  # "v1", "v2", "hybrid"
    storage: str  # "overlay on ext4"
    seccomp: bool
    sync: bool  # False with PYDOCK_SYNC=off
    warnings: tuple[str, ...] = ()


class Counts(NamedTuple):
    """The counters of `info`."""

    running: int
    paused: int
    stopped: int
    images: int


class Outcome(NamedTuple):
    """What became of one container among several; `error` is empty when all went well."""

    name: str
    error: str = ""


class Damage(NamedTuple):
    """Something that `fsck` found; `repaired` says whether it mended it."""

    kind: str  # row, blob, layer, index, file, mount, cgroup, netns, link
    subject: str
    text: str
    repaired: bool = False
