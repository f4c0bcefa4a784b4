"""`run`'s options about what a container may do: from docker's words to a Confinement.

Imported only when one of them is given. The rules are those of docker/cli's
cli/command/container/opts.go, of its `opts`, and of docker/go-units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.model.confinement import Confinement, Device, Ulimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.cli.call import Call

_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
_ALL = "ALL"
_MODES = (("pid", "PID"), ("ipc", ""), ("uts", "UTS"), ("cgroupns", "CGROUP"), ("userns", "USER"))


def confinement(given: Call) -> Confinement:
    """What the flags ask for. Raises InvalidInput."""
    add, drop = _capabilities(given.many("cap-add"), given.many("cap-drop"))
    options = given.many("security-opt")
    security = tuple(each for each in options if each != "systempaths=unconfined")
    return Confinement(
        cap_add=add,
        cap_drop=drop,
        privileged=given.on("privileged"),
        security=security,
        unmasked=len(security) < len(options),
        read_only=given.on("read-only"),
        tmpfs=_tmpfs(given),
        shm_bytes=given.value("shm-size", 0),
        ulimits=tuple({each.name: each for each in given.many("ulimit")}.values()),
        sysctls=tuple(dict(given.many("sysctl")).items()),
        init=given.on("init"),
        devices=tuple(given.many("device")),
        device_rules=tuple(given.many("device-cgroup-rule")),
        groups=tuple(given.many("group-add")),
        oom_score_adj=given.value("oom-score-adj", 0),
        **{name: _mode(given, name, said) for name, said in _MODES},
    )


def _tmpfs(given: Call) -> tuple[tuple[str, str], ...]:
    """Those of --tmpfs, of which the last at a path counts, and of --mount."""
    mounts = [each.tmpfs for each in given.many("mount") if each.mount is None]
    return (*dict(given.many("tmpfs")).items(), *mounts)


def _mode(given: Call, name: str, said: str) -> str:
    """A namespace's, which the engine looks at again: docker tells of these before it asks."""
    mode = given.one(name)
    joins = name == "pid" and mode.startswith("container:") and mode != "container:"
    if said and mode not in ("", "host") and not joins and (name, mode) != ("cgroupns", "private"):
        raise InvalidInput(f"--{name}: invalid {said} mode", f"pydock run --{name} host …")
    return mode


def _capabilities(
    add: Iterable[str], drop: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Their whole names, each once: what is added is not dropped, ALL stands for the others."""
    added, dropped = ({_capability(each) for each in names} for names in (add, drop))
    added = {_ALL} if _ALL in added else added
    dropped = {_ALL} if _ALL in dropped else dropped
    return tuple(sorted(added)), tuple(sorted(dropped - added))


def _capability(name: str) -> str:
    name = name.strip().upper()
    return name if name == _ALL or name.startswith("CAP_") else f"CAP_{name}"


def security_option(text: str) -> str:
    """`NAME`, `NAME=VALUE` or the older `NAME:VALUE`; a profile's JSON for its file. Raises
    InvalidInput."""
    name, separator, value = text.partition("=")
    if not separator and name != "no-new-privileges":
        name, separator, value = text.partition(":")
    if not value and name != "no-new-privileges":
        raise InvalidInput(
            f'Invalid --security-opt: "{text}"',
            "no-new-privileges, seccomp=FILE, seccomp=unconfined, systempaths=unconfined …",
        )
    if name == "systempaths" and value != "unconfined":
        raise InvalidInput(f'invalid --security-opt 2: "{text}"', "systempaths=unconfined")
    if name == "seccomp" and value not in ("unconfined", "builtin"):
        value = _profile(value)
    return f"{name}={value}" if value else name


def _profile(path: str) -> str:
    """The file's JSON, without its blanks."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidInput(
            f"opening seccomp profile ({path}) failed: open {path}: {(reason or '').lower()}",
            "name a file, or write seccomp=unconfined",
        ) from error
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError as error:
        raise InvalidInput(
            f"compacting json for seccomp profile ({path}) failed: {error}",
            "see https://docs.docker.com/engine/security/seccomp/",
        ) from error


def tmpfs(text: str) -> tuple[str, str]:
    """`/run`, `/run:size=64m,exec`: path and options."""
    path, _, options = text.partition(":")
    return path, options


def ulimit(text: str) -> Ulimit:
    """`nofile=64`, `nofile=64:128`, `core=-1`. Raises InvalidInput in docker's words."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise InvalidInput(f"invalid ulimit type: {name}")
    parts = value.split(":")
    if len(parts) > 2:
        raise InvalidInput(
            f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`"
        )
    from engine.cli.parser import integer

    soft, hard = integer(parts[0]), integer(parts[-1])
    if hard != -1 and (soft == -1 or soft > hard):
        shown = f"{soft} > {hard}"
        if soft == -1:
            shown = f"soft: -1 (unlimited), hard: {hard}"
        raise InvalidInput(f"ulimit soft limit must be less than or equal to hard limit: {shown}")
    if soft < -1 or hard < -1:
        raise InvalidInput(f"invalid ulimit argument: {text}")
    return Ulimit(name, soft, hard)


def sysctl(text: str) -> tuple[str, str]:
    """A kernel parameter that a container can have of its own. Raises InvalidInput in docker's
    words."""
    name, equals, value = text.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(_SYSCTL_PREFIXES)):
        raise InvalidInput(f"sysctl '{text}' is not allowed")
    return name, value


def device(text: str) -> Device:
    """`/dev/fuse`, `/dev/sda:/dev/disk`, `/dev/sda::r`, `/dev/sda:r`. Raises InvalidInput in
    docker's words."""
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidInput(f"bad format for path: {text}")
    access, path = "rwm", ""
    if len(parts) == 3:
        access = parts[2]
        if not _is_access(access):
            raise InvalidInput(f"bad mode specified: {access}")
    if len(parts) > 1 and _is_access(parts[1]) and len(parts) == 2:
        access = parts[1]
    elif len(parts) > 1:
        path = parts[1]
    path = path or parts[0]
    if not path.startswith("/"):
        raise InvalidInput(f"{path} is not an absolute path")
    return Device(parts[0], path, access)


def _is_access(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def device_rule(text: str) -> str:
    """`c 1:3 rwm`, `b *:* r`. Raises InvalidInput in docker's words."""
    words = text.split(" ")
    if len(words) == 3:
        kind, numbers, access = words
        both = numbers.split(":")
        fine = len(both) == 2 and all(
            each == "*" or (each.isascii() and each.isdecimal()) for each in both
        )
        if kind in ("a", "b", "c") and fine and _is_access(access):
            return text
    raise InvalidInput(f"invalid device cgroup format '{text}'")
