"""Containers as clients see them."""

from typing import TYPE_CHECKING, Literal, NewType

from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.model.confinement import Confinement
    from engine.model.naming import Naming
    from engine.model.resources import Resources

ContainerID = NewType("ContainerID", str)  # 64 hex digits, 12 shown

State = Literal["created", "running", "paused", "restarting", "exited", "removing", "dead"]
UP = ("running", "paused", "restarting")  # what `ps` lists, and what nobody removes without force


class PortMapping(NamedTuple):
    """One published port. `host_port` 0 asks for a free one."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0


class MountRequest(NamedTuple):
    """`-v`: a named volume, or a host path when `type` is "bind"."""

    type: Literal["volume", "bind"]
    source: str
    target: str
    read_only: bool = False
    nocopy: bool = False  # an empty volume stays empty: nothing of the image goes into it
    options: tuple[str, ...] = ()  # words of mount(8) that come behind our own
    must_exist: bool = False  # a missing host directory is not made


class RestartPolicy(NamedTuple):
    """`--restart`. `maximum` is for on-failure alone; 0 is as often as need be."""

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    maximum: int = 0


class CreateOptions(NamedTuple):
    """What `create` and `run` ask for; the image's config fills what is None."""

    image: str
    name: str | None = None
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_directory: str | None = None
    user: str | None = None
    hostname: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    memory_bytes: int = 0
    nano_cpus: int = 0
    pids_limit: int = 0
    network: str = "bridge"
    mounts: tuple[MountRequest, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    auto_remove: bool = False
    interactive: bool = False
    tty: bool = False
    platform: str | None = None
    restart: RestartPolicy = RestartPolicy()
    volatile: bool = False  # what it writes is never synced; only with auto_remove
    stop_signal: str | None = None
    stop_timeout_seconds: int | None = None  # -1: for ever
    annotations: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()  # "80/tcp", beside the image's
    publish_all: bool = False  # what is exposed, to free ports of the host
    volumes_from: tuple[str, ...] = ()  # NAME[:ro], whose mounts it has too
    log_driver: str = "k8s-file"
    log_options: tuple[tuple[str, str], ...] = ()
    confinement: "Confinement | None" = None  # these where docker's defaults do not hold
    resources: "Resources | None" = None
    naming: "Naming | None" = None


class Mount(NamedTuple):
    """A volume or host directory as it is mounted."""

    type: Literal["volume", "bind"]
    name: str
    source: str
    target: str
    read_only: bool


class EndpointInfo(NamedTuple):
    """A container's place in one network."""

    network: str
    network_id: str
    endpoint_id: str
    ip_address: str
    prefix_length: int
    gateway: str
    mac_address: str


class ContainerSummary(NamedTuple):
    """A row of `ps`."""

    id: ContainerID
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    state: State
    created_ns: int
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    pid: int = 0
    auto_remove: bool = False
    tty: bool = False
    memory_limit_bytes: int = 0
    ports: tuple[PortMapping, ...] = ()
    networks: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Container(NamedTuple):
    """Everything `inspect` knows."""

    summary: ContainerSummary
    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    user: str
    hostname: str
    stop_signal: str
    interactive: bool
    nano_cpus: int
    pids_limit: int
    network_mode: str
    requested_ports: tuple[PortMapping, ...]
    exposed_ports: tuple[str, ...]
    endpoints: tuple[EndpointInfo, ...]
    log_path: str
    cgroup: str
    upper_directory: str
    platform: str = "linux"
    restart: RestartPolicy = RestartPolicy()
    restart_count: int = 0
    confinement: "Confinement | None" = None
    resources: "Resources | None" = None
    naming: "Naming | None" = None
    stop_timeout_seconds: int | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    publish_all: bool = False
    volumes_from: tuple[str, ...] = ()
    log_driver: str = "k8s-file"
    log_options: tuple[tuple[str, str], ...] = ()


class Process(NamedTuple):
    """A row of `top`."""

    uid: str
    pid: int
    ppid: int
    cpu_percent: float
    start_time: str
    tty: str
    cpu_time: str
    command: str


class Change(NamedTuple):
    """A path that a container added ("A"), changed ("C") or removed ("D")."""

    kind: Literal["A", "C", "D"]
    path: str  # absolute; bytes that are not UTF-8 as surrogates


class PathStatus(NamedTuple):
    """What is at a path in a container: a link itself, not what it leads to."""

    name: str
    mode: int  # st_mode: kind and permissions
    size_bytes: int
    mtime_ns: int
    link_target: str = ""


class LogLine(NamedTuple):
    """One line as the container wrote it; `partial` when its newline has not come yet."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    text: bytes
    partial: bool = False
