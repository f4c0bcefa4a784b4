"""`run` and `create`: from a command line to a container."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine import units
from engine.cli import specs
from engine.cli.attached import (
    DETACH_KEYS,
    PROCESS_FLAGS,
    SIG_PROXY,
    check_terminal,
    detach_keys,
    relay,
    terminal_size,
)
from engine.cli.parser import Command, Flag, integer, label
from engine.errors import Cancelled, EngineError, InvalidInput, NotFound, Unsupported
from engine.model.container import CreateOptions, RestartPolicy

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.confinement import Confinement
    from engine.model.naming import Naming
    from engine.model.resources import Resources

ENGINE_EXIT = 125  # what docker's run ends with when the container never ran
_PULL = ("always", "missing", "never")


def _later(module: str, name: str) -> Callable[[str], Any]:
    """A flag's `read` that is imported when the flag is given: a plain start has none of them."""

    def read(text: str) -> Any:
        return getattr(import_module(f"engine.cli.{module}"), name)(text)

    return read


def _annotation(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise InvalidInput(f"invalid annotation '{text}': empty name")
    return key, value


def _stream(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise InvalidInput("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _log_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"bad format for log-opt: {text} (expected name=value)")
    return name, value


CONFINING = (
    Flag("cap-add", "Add Linux capabilities", kind="list"),
    Flag("cap-drop", "Drop Linux capabilities", kind="list"),
    Flag("cgroupns",
         "Cgroup namespace to use (host|private)\n"
         "'host':    Run the container in the Docker host's cgroup namespace\n"
         "'private': Run the container in its own private cgroup namespace", kind="string"),
    Flag("device", "Add a host device to the container", kind="list",
         read=_later("confinement", "device")),
    Flag("device-cgroup-rule", "Add a rule to the cgroup allowed devices list", kind="list",
         read=_later("confinement", "device_rule")),
    Flag("group-add", "Add additional groups to join", kind="list"),
    Flag("init", "Run an init inside the container that forwards signals and reaps processes"),
    Flag("ipc", "IPC mode to use", kind="string"),
    Flag("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)", kind="int", read=integer),
    Flag("pid", "PID namespace to use", kind="string"),
    Flag("privileged", "Give extended privileges to this container"),
    Flag("read-only", "Mount the container's root filesystem as read only"),
    Flag("security-opt", "Security Options", kind="list",
         read=_later("confinement", "security_option")),
    Flag("shm-size", "Size of /dev/shm", kind="bytes", read=units.parse_size),
    Flag("sysctl", "Sysctl options", kind="map", default="map[]",
         read=_later("confinement", "sysctl")),
    Flag("tmpfs", "Mount a tmpfs directory", kind="list", read=_later("confinement", "tmpfs")),
    Flag("ulimit", "Ulimit options", kind="ulimit", default="[]",
         read=_later("confinement", "ulimit")),
    Flag("userns", "User namespace to use", kind="string"),
    Flag("uts", "UTS namespace to use", kind="string"),
)  # fmt: skip
SHARING = (
    Flag("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable",
         kind="uint16", default="0", read=_later("resources", "weight")),
    Flag("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period", kind="int",
         read=integer),
    Flag("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota", kind="int", read=integer),
    Flag("cpu-shares", "CPU shares (relative weight)", short="c", kind="int", read=integer),
    Flag("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)", kind="string"),
    Flag("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)", kind="string"),
    Flag("device-read-bps", "Limit read rate (bytes per second) from a device", kind="list",
         default="[]", read=_later("resources", "bytes_rate")),
    Flag("device-read-iops", "Limit read rate (IO per second) from a device", kind="list",
         default="[]", read=_later("resources", "operations_rate")),
    Flag("device-write-bps", "Limit write rate (bytes per second) to a device", kind="list",
         default="[]", read=_later("resources", "bytes_rate")),
    Flag("device-write-iops", "Limit write rate (IO per second) to a device", kind="list",
         default="[]", read=_later("resources", "operations_rate")),
    Flag("memory-reservation", "Memory soft limit", kind="bytes", read=units.parse_size),
    Flag("memory-swap",
         "Swap limit equal to memory plus swap: '-1' to enable unlimited swap", kind="bytes",
         read=_later("resources", "swap")),
    Flag("oom-kill-disable", "Disable OOM Killer"),
)  # fmt: skip
NAMING = (
    Flag("add-host", "Add a custom host-to-IP mapping (host:ip)", kind="list",
         read=_later("naming", "host")),
    Flag("dns", "Set custom DNS servers", kind="list", read=_later("naming", "address")),
    Flag("dns-opt", "The older name of --dns-option", kind="list", hidden=True),
    Flag("dns-option", "Set DNS options", kind="list"),
    Flag("dns-search", "Set custom DNS search domains", kind="list",
         read=_later("naming", "domain")),
    Flag("domainname", "Container NIS domain name", kind="string"),
)  # fmt: skip
FLAGS = (
    *PROCESS_FLAGS,
    Flag("attach", "Attach to STDIN, STDOUT or STDERR", short="a", kind="list", read=_stream),
    *CONFINING,
    *SHARING,
    *NAMING,
    Flag("annotation",
         "Add an annotation to the container (passed through to the OCI runtime)", kind="map",
         default="map[]", read=_annotation),
    Flag("cidfile", "Write the container ID to the file", kind="string"),
    Flag("expose", "Expose a port or a range of ports", kind="list"),
    Flag("log-driver", "Logging driver for the container", kind="string"),
    Flag("log-opt", "Log driver options", kind="list", read=_log_option),
    Flag("mount", "Attach a filesystem mount to the container", kind="mount",
         read=_later("mounts", "parse_mount")),
    Flag("publish-all", "Publish all exposed ports to random ports", short="P"),
    Flag("stop-signal", "Signal to stop the container", kind="string"),
    Flag("stop-timeout", "Timeout (in seconds) to stop a container", kind="int", read=integer),
    Flag("cpus", "Number of CPUs", kind="decimal", read=units.parse_cpus),
    Flag("entrypoint", "Overwrite the default ENTRYPOINT of the image", kind="string"),
    Flag("hostname", "Container host name", short="h", kind="string"),
    Flag("label", "Set meta data on a container", short="l", kind="list", read=label),
    Flag("label-file", "Read in a line delimited file of labels", kind="list"),
    Flag("memory", "Memory limit", short="m", kind="bytes", read=units.parse_size),
    Flag("name", "Assign a name to the container", kind="string"),
    Flag("network", "Connect a container to a network", kind="list"),
    Flag("net", "The older name of --network", kind="list", hidden=True),
    Flag(
        "pids-limit", "Tune container pids limit (set -1 for unlimited)", kind="int", read=integer
    ),
    Flag("platform", "Set platform if server is multi-platform capable", kind="string"),
    Flag("publish", "Publish a container's port(s) to the host", short="p", kind="list"),
    Flag(
        "pull", 'Pull image before running ("always", "missing", "never")', kind="string",
        default='"missing"',
    ),
    Flag("quiet", "Suppress the pull output", short="q"),
    Flag("restart", "Restart policy to apply when a container exits", kind="string",
         default='"no"', read=specs.parse_restart),
    Flag(
        "rm",
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    Flag(
        "storage-opt", "Storage driver options for the container", kind="list",
        read=specs.storage_option,
    ),
    Flag("volume", "Bind mount a volume", short="v", kind="list"),
    Flag("volumes-from", "Mount volumes from the specified container(s)", kind="list"),
)  # fmt: skip
REFUSED = (
    "--blkio-weight-device --cgroup-parent "
    "--cpu-count --cpu-percent --cpu-rt-period --cpu-rt-runtime "
    "--disable-content-trust --gpus --health-cmd --health-interval --health-retries "
    "--health-start-interval --health-start-period --health-timeout --io-maxbandwidth "
    "--io-maxiops --ip --ip6 --isolation --kernel-memory --link --link-local-ip "
    "--mac-address --memory-swappiness "
    "--network-alias --net-alias --no-healthcheck "
    "--runtime "
    "--use-api-socket --volume-driver"
)


def options_of(call: Call) -> CreateOptions:
    """What the command line asks for. Raises InvalidInput, Unsupported."""
    image, *command = call.words
    return CreateOptions(
        image=image,
        name=call.one("name") or None,
        command=tuple(command),
        entrypoint=(call.one("entrypoint"),) if call.value("entrypoint") is not None else None,
        env=specs.environment(call.many("env"), call.many("env-file")),
        working_directory=call.one("workdir") or None,
        user=call.one("user") or None,
        hostname=call.one("hostname") or None,
        labels=tuple(specs.labels(call.many("label"), call.many("label-file")).items()),
        memory_bytes=call.value("memory", 0),
        nano_cpus=call.value("cpus", 0),
        pids_limit=max(call.value("pids-limit", 0), 0),
        network=_network(call),
        mounts=(
            *(specs.parse_volume(text) for text in call.many("volume")),
            *(each.mount for each in call.many("mount") if each.mount is not None),
        ),
        volumes_from=tuple(call.many("volumes-from")),
        log_driver=call.one("log-driver") or "k8s-file",
        log_options=tuple(dict(call.many("log-opt")).items()),
        ports=tuple(port for text in call.many("publish") for port in specs.parse_port(text)),
        auto_remove=call.on("rm"),
        interactive=call.on("interactive"),
        tty=call.on("tty"),
        platform=call.one("platform") or None,
        restart=call.value("restart", RestartPolicy()),
        volatile="volatile" in call.many("storage-opt"),
        stop_signal=call.one("stop-signal") or None,
        stop_timeout_seconds=call.value("stop-timeout"),
        annotations=tuple(dict(call.many("annotation")).items()),
        exposed_ports=_exposed(call),
        publish_all=call.on("publish-all"),
        confinement=_confinement(call),
        resources=_resources(call),
        naming=_naming(call),
    )


def _exposed(call: Call) -> tuple[str, ...]:
    texts = call.many("expose")
    if not texts:
        return ()
    from engine.cli.naming import exposed

    return exposed(texts)


def _naming(call: Call) -> Naming | None:
    if not any(call.value(flag.name) for flag in NAMING):
        return None
    from engine.cli.naming import naming

    return naming(call)


def _confinement(call: Call) -> Confinement | None:
    tmpfs = any(each.mount is None for each in call.many("mount"))
    if not tmpfs and not any(call.value(flag.name) for flag in CONFINING):
        return None
    from engine.cli.confinement import confinement

    return confinement(call)


def _resources(call: Call) -> Resources | None:
    if not any(call.value(flag.name) for flag in SHARING):
        return None
    from engine.cli.resources import resources

    return resources(call)


def _network(call: Call) -> str:
    networks = [*call.many("network"), *call.many("net")]
    if len(networks) > 1:
        raise Unsupported("several networks: not supported by pydock yet", "name one --network")
    network = networks[0] if networks else "bridge"
    if network.startswith("name=") or "," in network:
        raise Unsupported(
            f"network {network}: not supported by pydock yet", "bridge, none, host, or a name"
        )
    return "bridge" if network in ("default", "") else str(network)


def create(call: Call) -> str:
    """The id of the container that the command line describes; its image is pulled if need be."""
    path = call.one("cidfile")
    if not path:
        return _create_one(call)
    from engine.cli.cidfile import with_id_in

    return with_id_in(path, lambda: _create_one(call))


def _create_one(call: Call) -> str:
    policy = call.one("pull", "missing")
    if policy not in _PULL:
        raise InvalidInput(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"',
            "missing is the default",
        )
    options = options_of(call)
    if options.ports and options.network in ("host", "none"):
        call.output.warn(
            f"WARNING: Published ports are discarded when using {options.network} network mode"
        )
    containers = call.engine.containers
    if policy == "always":
        _pull(call, options)
    try:
        return containers.create(options)
    except NotFound:
        try:
            call.engine.images.inspect(options.image)
        except NotFound:
            if policy != "missing":
                raise
        else:
            raise  # the image is here: something else was not found
    if not call.on("quiet"):
        from engine.oci.reference import parse_reference

        name = parse_reference(options.image).familiar
        call.output.warn(f"Unable to find image '{name}' locally")
    _pull(call, options)
    return containers.create(options)


def _pull(call: Call, options: CreateOptions) -> None:
    from engine.cli.pull import pull  # what shows progress: only when there is some

    pull(call, options.image, options.platform, quiet=call.on("quiet"), to_error=True)


def _create(call: Call) -> int:
    call.output.line(_as_engine_failure(lambda: create(call)))
    return 0


def _as_engine_failure(act: Callable[[], str]) -> str:
    """Whatever goes wrong before the container runs is exit 125, if it has no better code."""
    try:
        return act()
    except Cancelled:
        raise
    except EngineError as error:
        if error.exit_code == EngineError.exit_code:
            error.exit_code = ENGINE_EXIT
        raise


def _run(call: Call) -> int:
    tty, detach = call.on("tty"), call.on("detach")
    attached = call.many("attach")
    if attached and detach:
        raise InvalidInput(
            "conflicting options: cannot specify both --attach and --detach",
            "leave one of them out",
            exit_code=ENGINE_EXIT,
        )
    wanted = attached or ["stdin", "stdout", "stderr"]
    stdin = call.on("interactive") and not detach and "stdin" in wanted
    check_terminal(tty=tty, stdin=stdin)
    keys = detach_keys(call)
    container_id = _as_engine_failure(lambda: create(call))
    containers = call.engine.containers
    size = terminal_size() if tty else None
    try:
        if detach:
            containers.start(container_id, size=size)
            call.output.line(container_id)
            return 0
        session = containers.start_attached(container_id, stdin=stdin, size=size)
    except EngineError as error:
        if error.exit_code == EngineError.exit_code:
            error.exit_code = ENGINE_EXIT
        raise
    if not {"stdout", "stderr"} & set(wanted):
        call.output.line(container_id)  # there is nothing else to see
    return relay(call, session, stdin=stdin, keys=keys, outputs=wanted)


RUN = Command(
    "run",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    _run,
    (
        Flag("detach", "Run container in background and print container ID", short="d"),
        DETACH_KEYS,
        SIG_PROXY,
        *FLAGS,
    ),
    refused=REFUSED,
    least=1,
    ordered=True,
    aliases="pydock container run, pydock run",
    starts=True,
)

CREATE = Command(
    "create",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    _create,
    FLAGS,
    refused=REFUSED,
    least=1,
    ordered=True,
    aliases="pydock container create, pydock create",
)
