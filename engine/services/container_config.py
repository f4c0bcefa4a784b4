"""What a container will be: the request filled from its image, checked before anything exists.

The result is a plain dict, stored as JSON in the container's row: it is all that `start` needs, so
a later change of the image or of a default does not change a container.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput
from engine.services.volumes import check_name as check_volume_name

if TYPE_CHECKING:
    from engine.model.container import CreateOptions
    from engine.model.image_config import ImageConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MINIMUM_MEMORY_BYTES = 6 << 20  # docker's
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_HOSTNAME_BYTES = 64  # sethostname(2)


def check_name(name: str) -> str:
    """`name` without docker's optional slash. Raises InvalidInput in docker's words."""
    name = name.removeprefix("/")
    if not re.fullmatch(_NAME, name):
        raise InvalidInput(
            f"invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            "choose at least two of these characters",
        )
    return name


def resolve(options: CreateOptions, image: ImageConfig, container_id: str) -> dict[str, Any]:
    """Everything that `start` needs. Raises InvalidInput."""
    argv = _argv(options, image)
    check_limits(options)
    hostname = options.hostname or container_id[:12]
    _check_hostname(hostname)
    if options.volatile and not options.auto_remove:
        raise InvalidInput(
            "a volatile container would not survive a crash of the host",
            "add --rm, or leave overlay.mountopt=volatile out",
        )
    if options.auto_remove and options.restart.name != "no":
        raise InvalidInput(
            "conflicting options: cannot specify both --restart and --rm", "leave one of them out"
        )
    if options.network in ("host", "none"):
        options = options._replace(ports=())  # docker discards them
    working_directory = options.working_directory or image.working_directory or "/"
    if not working_directory.startswith("/"):
        raise InvalidInput(
            f"the working directory '{working_directory}' is invalid, it needs to be an absolute "
            "path",
            "begin it with /",
        )
    mounts = _mounts(options, image)
    asked: dict[str, Any] = {}
    if options.restart.name != "no":
        asked["restart"] = list(options.restart)
    if options.confinement is not None:
        from engine.services.confinement import check_confinement, check_targets

        check_confinement(options.confinement, options.network)
        check_targets(options.confinement, [each["target"] for each in mounts])
        asked["confinement"] = options.confinement._asdict()
    if options.resources is not None:
        from engine.services.resources import check_resources

        check_resources(options)
        asked["resources"] = options.resources._asdict()
    if options.naming is not None:
        _check_hostname(options.naming.domainname)
        asked["naming"] = options.naming._asdict()
    if options.stop_timeout_seconds is not None:
        asked["stop_timeout"] = options.stop_timeout_seconds
    if options.annotations:
        asked["annotations"] = dict(options.annotations)
    if options.publish_all and options.network not in ("host", "none"):
        asked["publish_all"] = True
    if options.log_driver != "k8s-file" or options.log_options:
        from engine.services.logging import log_limits

        log_limits(options.log_driver, dict(options.log_options))
        asked["log"] = {"driver": options.log_driver, "options": dict(options.log_options)}
    if options.volumes_from:
        asked["volumes_from"] = list(options.volumes_from)
    return {
        "argv": argv,
        "entrypoint": list(_entrypoint(options, image)),
        "command": argv[len(_entrypoint(options, image)) :],
        "env": _environment(options, image),
        "working_directory": working_directory,
        "user": options.user or image.user,
        "hostname": hostname,
        "labels": dict([*image.labels, *options.labels]),
        "memory_bytes": options.memory_bytes,
        "nano_cpus": options.nano_cpus,
        "pids_limit": max(options.pids_limit, 0),
        "network": options.network,
        "mounts": mounts,
        "ports": [list(port) for port in options.ports],
        "exposed_ports": list(dict.fromkeys([*image.exposed_ports, *options.exposed_ports])),
        "interactive": options.interactive,
        "tty": options.tty,
        "volatile": options.volatile,
        "stop_signal": options.stop_signal or image.stop_signal or "SIGTERM",
        **asked,
    }


def _entrypoint(options: CreateOptions, image: ImageConfig) -> tuple[str, ...]:
    if options.entrypoint is None:
        return image.entrypoint
    return tuple(word for word in options.entrypoint if word)


def _argv(options: CreateOptions, image: ImageConfig) -> list[str]:
    """Entrypoint and command; an entrypoint from the request drops the image's command."""
    command = options.command
    if not command and options.entrypoint is None:
        command = image.command
    argv = [*_entrypoint(options, image), *command]
    if not argv:
        raise InvalidInput("no command specified", f"name one: pydock run {options.image} COMMAND")
    return argv


def _environment(options: CreateOptions, image: ImageConfig) -> list[str]:
    """PATH first, then the image's, then the request's; the last one wins."""
    for entry in options.env:
        if not entry.partition("=")[0] or "\0" in entry:
            shown = entry.replace("\0", "\\0")
            raise InvalidInput(f"invalid environment variable: {shown}", "use NAME=value")
    values: dict[str, str] = {}
    for entry in (DEFAULT_PATH, *image.env, *options.env):
        name, _, value = entry.partition("=")
        values[name] = value
    values.pop("", None)  # of an image: whoever runs it cannot mend it
    if options.tty:
        values.setdefault("TERM", "xterm")
    return [f"{name}={value}" for name, value in values.items()]


def _check_hostname(name: str) -> None:
    """Anything that is one word in /etc/hosts, as with docker: people call hosts `a_b`."""
    if len(os.fsencode(name)) > _HOSTNAME_BYTES:
        raise InvalidInput(
            f"hostname {name[:20]}…: longer than {_HOSTNAME_BYTES} bytes", "choose a shorter one"
        )
    if "#" in name or not name.isprintable() or " " in name:
        raise InvalidInput(f"invalid hostname {name!r}", "letters, digits, dots and dashes")


def check_limits(options: CreateOptions) -> None:
    """Raises InvalidInput in docker's words."""
    if 0 < options.memory_bytes < MINIMUM_MEMORY_BYTES:
        raise InvalidInput("minimum memory limit allowed is 6MB", "raise --memory")
    cores = os.cpu_count() or 1
    if options.nano_cpus and not 10_000_000 <= options.nano_cpus <= cores * 1_000_000_000:
        raise InvalidInput(
            f"range of CPUs is from 0.01 to {cores}.00, as there are only {cores} CPUs available",
            "change --cpus",
        )


def _mounts(options: CreateOptions, image: ImageConfig) -> list[dict[str, Any]]:
    """Requested mounts, and an anonymous volume for each VOLUME of the image left uncovered."""
    mounts: dict[str, dict[str, Any]] = {}
    for request in options.mounts:
        target = _normal(request.target)
        if not request.target.startswith("/") or target == "/":
            raise InvalidInput(
                f"invalid volume specification: destination {request.target!r}",
                "it must be an absolute path other than /",
            )
        if target in mounts:
            raise InvalidInput(f"duplicate mount point: {target}", "mount each path once")
        if request.type == "volume" and request.source:
            check_volume_name(request.source)
        if request.type == "bind" and not os.path.isabs(request.source):
            raise InvalidInput(f"bind source {request.source!r} is not an absolute path")
        if request.must_exist and not os.path.exists(request.source):
            raise InvalidInput(
                'invalid mount config for type "bind": bind source path does not exist: '
                f"{request.source}",
                "make it first, or use -v, which does",
            )
        if request.type == "bind" and request.options:
            from engine.services.propagation import check_propagation

            check_propagation(request.source, request.options)
        mounts[target] = {
            "type": request.type,
            "source": request.source or os.urandom(32).hex(),
            "target": target,
            "read_only": request.read_only,
            "anonymous": request.type == "volume" and not request.source,
            "nocopy": request.nocopy,
            **({"options": list(request.options)} if request.options else {}),
        }
    for path in image.volumes:
        target = _normal(path)
        if path.startswith("/") and target != "/":
            mounts.setdefault(
                target,
                {
                    "type": "volume",
                    "source": os.urandom(32).hex(),
                    "target": target,
                    "read_only": False,
                    "anonymous": True,
                    "nocopy": False,
                },
            )
    return [mounts[target] for target in sorted(mounts)]


def _normal(path: str) -> str:
    """`path` with one leading slash: normpath alone keeps two, which POSIX allows."""
    return os.path.normpath("/" + path.lstrip("/"))
