"""The small languages of `run`'s options: ports, volumes, environment files. Docker's rules and
words: https://github.com/docker/go-connections/tree/main/nat, docker/cli's `opts`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from engine.errors import InvalidInput, Unsupported
from engine.model.container import MountRequest, PortMapping, RestartPolicy

_PORT_HINT = "write [ADDRESS:][HOST_PORT:]PORT[/tcp|udp], for example 8080:80"
_VOLUME_HINT = "write [NAME|HOST_PATH:]PATH[:ro], for example data:/data"
_MODE_HINT = "ro or rw, nocopy for a volume, rshared or rslave for a host directory"
_MODES = ("rw", "ro")
_LABELS = ("z", "Z")
_PROPAGATION = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
_CONSISTENCY = ("consistent", "cached", "delegated")  # of docker's desktops: nothing to do here
_NAME_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _NAME_FIRST | frozenset("_.-")
_BLANKS = " \t"


_POLICY_HINT = "no, always, unless-stopped, on-failure or on-failure:5"


def parse_restart(text: str) -> RestartPolicy:
    """`on-failure:5`. Raises InvalidInput in docker's words."""
    name, colon, number = text.partition(":")
    if name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidInput(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
            _POLICY_HINT,
        )
    if colon and (not name or not number.removeprefix("-").isdecimal() or not number.isascii()):
        raise InvalidInput(
            "invalid restart policy format: "
            + (
                "maximum retry count must be an integer"
                if name
                else "no policy provided before colon"
            ),
            _POLICY_HINT,
        )
    maximum = int(number or 0)
    if maximum and name != "on-failure":
        raise InvalidInput(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            _POLICY_HINT,
        )
    if maximum < 0:
        raise InvalidInput(
            "invalid restart policy: maximum retry count cannot be negative", _POLICY_HINT
        )
    return RestartPolicy(name or "no", maximum)  # type: ignore[arg-type]  # checked above


# -- ports


def parse_port(text: str) -> list[PortMapping]:
    """`8080:80`, `127.0.0.1:8080:80/udp`, `80`, `8000-8002:80-82`, `[::1]:80:80`: one mapping for
    each port. Raises InvalidInput, Unsupported."""
    parts = text.split(":")
    container = parts[-1]
    host = parts[-2] if len(parts) > 1 else ""
    address = _address(":".join(parts[:-2]))
    port, _, protocol = container.partition("/")
    if not port:
        raise InvalidInput(f"no port specified: {text}<empty>", _PORT_HINT)
    first, last = _port_range(port, "containerPort")
    protocol = protocol.lower() or "tcp"
    if protocol == "sctp":
        raise Unsupported("protocol sctp: not supported by pydock yet", "tcp or udp")
    if protocol not in ("tcp", "udp"):
        raise InvalidInput(f"invalid proto: {protocol}", "tcp or udp")
    host_first, host_last = _port_range(host, "hostPort") if host else (0, 0)
    if host and last - first != host_last - host_first:
        if first == last:
            raise Unsupported(
                f"host ports {host} for one port: not supported by pydock yet",
                "name one host port, or none for any free one",
            )
        raise InvalidInput(
            f"invalid ranges specified for container and host Ports: {port} and {host}", _PORT_HINT
        )
    return [
        PortMapping(number, protocol, address, host_first + number - first if host else 0)
        for number in range(first, last + 1)
    ]


def _address(text: str) -> str:
    if not text:
        return ""
    bare = text
    if text.startswith("["):
        if not text.endswith("]"):
            raise InvalidInput(
                f"invalid IP address {text}: address {text}:: missing ']' in address", _PORT_HINT
            )
        bare = text[1:-1]
    from _socket import AF_INET, AF_INET6, inet_pton  # small, and only where one is given

    try:
        inet_pton(AF_INET6 if ":" in bare else AF_INET, bare)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"invalid IP address: {bare}", _PORT_HINT) from error
    return bare


def _port_range(text: str, name: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(each.isascii() and each.isdecimal() and len(each) <= 5 for each in numbers):
        raise InvalidInput(f"invalid {name}: {text}", _PORT_HINT)
    low, high = int(numbers[0]), int(numbers[1])
    if high > 65535 or high < low or (name == "containerPort" and not low):
        raise InvalidInput(f"invalid {name}: {text}", _PORT_HINT)
    return low, high


# -- volumes


def parse_volume(text: str) -> MountRequest:
    """`/data`, `name:/data`, `/host:/data:ro`, `./here:/data`. Raises InvalidInput, Unsupported."""
    if not text:
        raise InvalidInput("invalid empty volume spec", _VOLUME_HINT)
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidInput(f"invalid spec: {text}: too many colons", _VOLUME_HINT)
    if "" in parts:
        raise InvalidInput(f"invalid spec: {text}: empty section between colons", _VOLUME_HINT)
    modes = _modes(parts.pop()) if len(parts) == 3 else ()
    read_only, nocopy = "ro" in modes, "nocopy" in modes
    propagation = tuple(word for word in modes if word in _PROPAGATION)
    *sources, target = parts
    if sources and _is_mode(target):  # docker refuses it before it looks at the path
        raise InvalidInput(f"invalid volume specification: '{text}'", _VOLUME_HINT)
    if not target.startswith("/"):
        raise InvalidInput(
            f"invalid volume specification: '{text}': invalid mount path: '{target}' mount path "
            "must be absolute",
            _VOLUME_HINT,
        )
    if os.path.normpath(target).strip("/") == "":
        raise InvalidInput(
            f"invalid volume specification: '{text}': destination can't be '/'", _VOLUME_HINT
        )
    if not sources:
        return MountRequest("volume", "", target)
    source = sources[0]
    if source.startswith((".", "~")) or "/" in source:
        if nocopy:
            raise InvalidInput(
                f"invalid volume specification: '{text}': invalid mount config for type \"bind\": "
                "field VolumeOptions must not be specified",
                "nocopy is for volumes: nothing is copied into a host directory",
            )
        return MountRequest("bind", _host_path(source), target, read_only, options=propagation)
    if len(source) == 1:
        raise InvalidInput(
            "volume name is too short, names should be at least two alphanumeric characters",
            "if you intended to pass a host directory, use absolute path",
        )
    if source[0] not in _NAME_FIRST or set(source) - _NAME:
        raise InvalidInput(
            f'"{source}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
            "if you intended to pass a host directory, use absolute path",
        )
    if propagation:
        raise InvalidInput(
            f"invalid volume specification: '{text}': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified",
            f"{propagation[0]} is for host directories",
        )
    return MountRequest("volume", source, target, read_only, nocopy)


def _host_path(source: str) -> str:
    """An absolute path; docker takes `.` and `..` from here, and nothing else relative."""
    if source.startswith("/"):
        return os.path.normpath(source)
    if source in (".", "..") or source.startswith(("./", "../")):
        return os.path.abspath(source)
    raise InvalidInput(
        f'"{source}" includes invalid characters for a local volume name, only '
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
        "if you intended to pass a host directory, use absolute path",
    )


def _modes(text: str) -> list[str]:
    """The words behind the last colon."""
    words = text.split(",")
    if not _is_mode(text):
        raise InvalidInput(f"invalid mode: {text}", _MODE_HINT)
    for word in words:
        # Labels for SELinux: without it there is nothing to do, as with docker.
        if word in _LABELS and os.path.exists("/sys/fs/selinux/enforce"):
            raise Unsupported(f"mount mode {word}: not supported by pydock yet", _MODE_HINT)
    return words


def _is_mode(text: str) -> bool:
    """Whether each word is a known one, and of each kind there is one at most."""
    words = text.split(",")
    kinds = (_MODES, ("nocopy",), _LABELS, _PROPAGATION, _CONSISTENCY)
    return all(any(word in kind for kind in kinds) for word in words) and all(
        sum(word in kind for word in words) <= 1 for kind in kinds
    )


# -- storage


def storage_option(text: str) -> str:
    """ "volatile" of `overlay.mountopt=volatile`, containers/storage's word for it. Raises
    InvalidInput, Unsupported."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"invalid storage option '{text}'", "write overlay.mountopt=volatile")
    if (name, value) != ("overlay.mountopt", "volatile"):
        raise Unsupported(
            f"storage option {text}: not supported by pydock yet", "overlay.mountopt=volatile"
        )
    return value


# -- environment


def environment(entries: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
    """`NAME=value` for `--env` and `--env-file`: files first, a bare NAME has this process's value
    and is left out when it has none. Raises InvalidInput."""
    values: list[str] = []
    for path in files:
        for line in _lines(path, "env"):
            values += _from_here(line)
    for entry in entries:
        values += _from_here(entry)
    return tuple(values)


def check_variable(text: str) -> str:
    """`text` of `--env`. Raises InvalidInput in docker's words."""
    if not text.partition("=")[0]:
        raise InvalidInput(f"invalid environment variable: {text}")
    return text


def _from_here(entry: str) -> list[str]:
    if "=" in entry:
        return [entry]
    value = os.environ.get(entry)
    return [] if value is None else [f"{entry}={value}"]


def labels(entries: Iterable[tuple[str, str]], files: Iterable[str]) -> dict[str, str]:
    """`--label` and `--label-file`: files first; in a file a bare NAME is left out, as docker does
    it. Raises InvalidInput."""
    values: dict[str, str] = {}
    for path in files:
        for line in _lines(path, "label"):
            name, equals, value = line.partition("=")
            if equals:
                values[name] = value
    return values | dict(entries)


def _lines(path: str, noun: str) -> Iterator[str]:
    """The lines of a file that are no comments, each with a name. Raises InvalidInput."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidInput(f"open {path}: {reason}", "name a readable file") from error
    hint = "one NAME=value a line; # begins a comment"
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"invalid {noun} file ({path}): invalid utf8 bytes at line {number}", hint
            ) from error
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name:
            raise InvalidInput(
                f"invalid {noun} file ({path}): no variable name on line '{line}'", hint
            )
        if any(blank in name for blank in _BLANKS):
            raise InvalidInput(
                f"invalid {noun} file ({path}): variable '{name}' contains whitespaces", hint
            )
        yield line
