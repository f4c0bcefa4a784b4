"""Every decision about a container's process, made before anything exists.

`make_plan` checks a config.json (OCI runtime-spec, config.md and config-linux.md) and turns it into
a dict of numbers, bytes and tuples, which `marshal` carries to the monitor; from there on
create, init and exec only do what it says. What a config asks for and we cannot do is refused here.
"""

import os
import posixpath
import resource
from collections.abc import Sequence
from typing import Any

from engine.errors import InvalidInput, Unsupported
from engine.kernel import capabilities, cgroup, mount, namespaces
from engine.runtime.fields import list_of, number_of, object_of, text_of
from engine.runtime.plan_version import PLAN_VERSION
from engine.runtime.seccomp_profile import compile_profile, filter_flags

Config = dict[str, Any]
Plan = dict[str, Any]

_ATIME = mount.MOUNT_ATTR__ATIME
# Mount options that are attributes of the mount: bits to set, bits to clear. mount(8)
_ATTRIBUTES = {
    "ro": (mount.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, mount.MOUNT_ATTR_RDONLY),
    "nosuid": (mount.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, mount.MOUNT_ATTR_NOSUID),
    "nodev": (mount.MOUNT_ATTR_NODEV, 0),
    "dev": (0, mount.MOUNT_ATTR_NODEV),
    "noexec": (mount.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, mount.MOUNT_ATTR_NOEXEC),
    "nodiratime": (mount.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, mount.MOUNT_ATTR_NODIRATIME),
    "noatime": (mount.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "relatime": (0, _ATIME),
    "norelatime": (0, _ATIME),
    "strictatime": (mount.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nosymfollow": (mount.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mount.MOUNT_ATTR_NOSYMFOLLOW),
}
_PROPAGATION = {
    "private": mount.MS_PRIVATE,
    "rprivate": mount.MS_PRIVATE | mount.MS_REC,
    "slave": mount.MS_SLAVE,
    "rslave": mount.MS_SLAVE | mount.MS_REC,
    "shared": mount.MS_SHARED,
    "rshared": mount.MS_SHARED | mount.MS_REC,
    "unbindable": mount.MS_UNBINDABLE,
    "runbindable": mount.MS_UNBINDABLE | mount.MS_REC,
}
# Options of the file system that every type has; the positive ones are given on, without values.
_FILE_SYSTEM_FLAGS = ("sync", "dirsync", "mand", "lazytime")
_DEFAULTS = ("defaults", "async", "nomand", "nolazytime", "loud", "silent", "rw")
_UNSUPPORTED_OPTIONS = ("remount", "idmap", "ridmap", "tmpcopyup")

_SYSCTLS = {  # which namespace must be the container's own for a kernel parameter to be so
    "network": ("net.",),
    "ipc": ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."),
    "uts": ("kernel.domainname", "kernel.hostname"),
}
_RESOURCES = {
    "memory": (
        "limit", "swap", "reservation", "disableOOMKiller", "useHierarchy", "checkBeforeUpdate",
    ),
    "cpu": ("quota", "period", "shares", "cpus", "mems", "realtimePeriod", "realtimeRuntime"),
    "pids": ("limit",),
    "blockIO": (
        "weight", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice",
    ),
}  # fmt: skip
_CPU_PERIOD_US = 100_000
_RLIM_INFINITY = (1 << 64) - 1
_RLIMITS = {"RLIMIT_LOCKS": 10, "RLIMIT_RTTIME": 15}  # sys/resource.h; Python does not name them


def make_plan(
    config: Config,
    *,
    id: str,
    bundle: str = "",
    overlay: tuple[Sequence[str], str, str] | None = None,
    volatile: bool = False,
    rootfs: str | None = None,
    user: str | None = None,
    added_groups: Sequence[str] = (),
    init: bool = False,
    cgroup_path: str | None = None,
) -> Plan:
    """What create, init and exec need for container `id`.

    The root is an `overlay` of (lower directories, top first; upper; work), mounted on the parent
    of `upper` where only the container sees it, `volatile` when nothing of it needs to survive a
    crash of the host; or the directory `rootfs`, by default the config's
    root.path, relative to `bundle`. `user` (docker's "name[:group]", names of the image) replaces
    the numbers of process.user; `added_groups`, names or numbers, come to its groups. With `init`
    the program is the child of a process that buries orphans and hands signals on. `cgroup_path`
    replaces linux.cgroupsPath; "" is no cgroup.
    Raises InvalidInput and Unsupported, naming the field.
    """
    _refuse_what_is_not_built(config)
    process = object_of(config, "process")
    linux = object_of(config, "linux")
    flags, joins, kinds = _namespaces(linux)
    hostname = text_of(config, "hostname")
    domainname = text_of(config, "domainname")
    if (hostname or domainname) and "uts" not in kinds:
        raise InvalidInput("hostname: needs a uts namespace of the container's own")
    path = text_of(linux, "cgroupsPath") if cgroup_path is None else cgroup_path
    resources = object_of(linux, "resources")
    limits = _limits(resources)
    settings = _settings(resources)
    own_cgroup = _cgroup(path, any(limits) or bool(settings))
    mounts = [_mount(each, bundle) for each in list_of(config, "mounts", dict)]
    if own_cgroup is None:
        mounts = [each for each in mounts if each["kind"] != "cgroup"]
    last = capabilities.last_capability()
    return {
        "version": PLAN_VERSION,
        "keyring": f"_ses.{id}".encode(),
        "namespaces": flags & ~namespaces.CLONE_NEWCGROUP,
        "cgroup_namespace": bool(flags & namespaces.CLONE_NEWCGROUP),
        "joins": joins,
        "cgroup": own_cgroup,
        "limits": limits,
        "settings": settings,
        "device_rules": _device_rules(list_of(resources, "devices", dict)),
        "overlay": None if overlay is None else (tuple(overlay[0]), *overlay[1:]),
        **({"volatile": True} if volatile else {}),  # an older monitor may go without
        "rootfs": _rootfs(config, bundle, overlay, rootfs),
        "root_readonly": bool(object_of(config, "root").get("readonly")),
        "root_propagation": _root_propagation(linux),
        "mounts": tuple(mounts),
        "make_dev": all(each["kind"] != "bind" or each["target"] != b"dev" for each in mounts),
        "devices": tuple(_device(each) for each in list_of(linux, "devices", dict)),
        "masked_paths": _paths(linux, "maskedPaths"),
        "readonly_paths": _paths(linux, "readonlyPaths"),
        "sysctls": _sysctls(linux, kinds, joins),
        "hostname": os.fsencode(hostname),
        "domainname": os.fsencode(domainname),
        "loopback": bool(flags & namespaces.CLONE_NEWNET),
        "oom_score_adj": number_of(process, "oomScoreAdj", -1000, 1000),
        "last_capability": last,
        "process": {
            **_process(process, linux, user, last),
            "added_groups": tuple(added_groups),
            "init": init,
        },
    }


def _refuse_what_is_not_built(config: Config) -> None:
    version = config.get("ociVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise InvalidInput(f"ociVersion {version!r}: expected 1.x")
    process, linux = object_of(config, "process"), object_of(config, "linux")
    for section, document, keys in (
        ("", config, ("hooks", "vm")),
        (
            "process.",
            process,
            ("apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity"),
        ),
        (
            "linux.",
            linux,
            (
                "uidMappings",
                "gidMappings",
                "timeOffsets",
                "personality",
                "intelRdt",
                "mountLabel",
                "netDevices",
                "memoryPolicy",
            ),
        ),
    ):
        for key in keys:
            value = document.get(key)
            if key == "hooks":
                value = any(object_of(document, key).values())
            if value:
                raise Unsupported(f"{section}{key}: not supported yet", "leave it out")


def _namespaces(linux: Config) -> tuple[int, tuple[tuple[int, str], ...], set[str]]:
    """Flags of new namespaces, (flag, path) of joined ones, and the kinds of both."""
    flags = 0
    joins: list[tuple[int, str]] = []
    kinds: set[str] = set()
    for each in list_of(linux, "namespaces", dict):
        kind, path = text_of(each, "type"), text_of(each, "path")
        if kind not in namespaces.FLAGS:
            raise InvalidInput(f"linux.namespaces: unknown type {kind!r}")
        if kind in kinds:
            raise InvalidInput(f"linux.namespaces: {kind} is there twice")
        if kind in ("user", "time") or (path and kind in ("mount", "cgroup")):
            what = f"joining a {kind}" if path else f"a {kind}"
            raise Unsupported(f"linux.namespaces: {what} namespace is not supported yet")
        kinds.add(kind)
        if path:
            joins.append((namespaces.FLAGS[kind], path))
        else:
            flags |= namespaces.FLAGS[kind]
    if "mount" not in kinds:
        raise InvalidInput("linux.namespaces: a mount namespace is needed for the root file system")
    return flags, tuple(joins), kinds


def _rootfs(
    config: Config,
    bundle: str,
    overlay: tuple[Sequence[str], str, str] | None,
    rootfs: str | None,
) -> str:
    """Where the root is mounted: an existing directory, absolute."""
    if rootfs is None and overlay is not None:
        rootfs = os.path.dirname(overlay[1])
    if rootfs is None:
        rootfs = text_of(object_of(config, "root"), "path")
        if not rootfs:
            raise InvalidInput("root.path must not be empty")
    rootfs = os.path.realpath(os.path.join(bundle, rootfs))
    if not os.path.isdir(rootfs):
        raise InvalidInput(f"rootfs {rootfs}: no such directory")
    if rootfs == "/":
        raise InvalidInput("rootfs /: the host's own root cannot be a container's")
    return rootfs


def _root_propagation(linux: Config) -> int:
    word = text_of(linux, "rootfsPropagation")
    if word and word not in _PROPAGATION:
        raise InvalidInput(f"linux.rootfsPropagation {word!r}: unknown")
    return _PROPAGATION.get(word, 0)


def _mount(document: Config, bundle: str) -> dict[str, Any]:
    """One mount as init does it: kind, source, target inside the root, attributes, options."""
    destination = text_of(document, "destination")
    target = posixpath.normpath("/" + destination.lstrip("/"))
    if not destination or target == "/":
        raise InvalidInput(f"mount destination {destination!r}: must be a path below the root")
    kind = text_of(document, "type")
    source = text_of(document, "source")
    changes = [[0, 0, False], [0, 0, True]]  # bits to set, to clear, whether also below
    options: list[tuple[str, str | None]] = []
    propagation = 0
    bind = kind == "bind"
    recursive = False
    for word in list_of(document, "options", str):
        if word in ("bind", "rbind"):
            bind, recursive = True, word == "rbind"
        elif word in _PROPAGATION:
            propagation = _PROPAGATION[word]
        elif word in _ATTRIBUTES:
            _change(changes[0], word)
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            _change(changes[1], word[1:])
        elif word in _UNSUPPORTED_OPTIONS:
            raise Unsupported(f"mount {target}: option {word} is not supported yet")
        elif word not in _DEFAULTS and (word not in _FILE_SYSTEM_FLAGS or not bind):
            key, equal, value = word.partition("=")
            options.append((key, value if equal else None))
    if not bind and kind in ("", "none"):
        raise InvalidInput(f"mount {target}: type {kind!r} without the option bind")
    if bind and options:
        raise InvalidInput(
            f"mount {target}: option {options[0][0]!r} means nothing to a bind mount"
        )
    if kind in ("cgroup", "cgroup2"):
        kind = "cgroup"
    if bind:
        if not source:
            raise InvalidInput(f"mount {target}: a bind mount needs a source")
        source = os.path.join(bundle, source)
    return {
        "kind": "bind" if bind else kind,
        "source": source or "none",
        "target": os.fsencode(target.lstrip("/")),
        "recursive": recursive,
        # Mounts of the host below a source must not follow it into the container, nor back.
        "propagation": (propagation or (mount.MS_PRIVATE if bind else 0)) & ~mount.MS_REC,
        "attributes": changes[0][0] | changes[1][0],
        "changes": tuple(tuple(each) for each in changes if each[0] or each[1]),
        "options": tuple(options),
    }


def _change(change: list[Any], word: str) -> None:
    """`word` is the last one about its bits, so it wins over those before."""
    bits, clear = _ATTRIBUTES[word]
    change[0] = change[0] & ~clear | bits
    change[1] = change[1] & ~bits | clear


def _device(document: Config) -> tuple[bytes, int, int, int, int]:
    """Path inside the root, mode, device number, uid and gid of a node to be made."""
    path, kind = text_of(document, "path"), text_of(document, "type")
    kinds = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
    if kind not in kinds:
        raise InvalidInput(f"linux.devices: {path}: unknown type {kind!r}")
    target = posixpath.normpath("/" + path.lstrip("/"))
    if target == "/":
        raise InvalidInput(f"linux.devices: {path!r}: must be a path below the root")
    major = number_of(document, "major", 0, (1 << 12) - 1) or 0
    minor = number_of(document, "minor", 0, (1 << 20) - 1) or 0
    mode = number_of(document, "fileMode", 0, 0o777777)
    return (
        os.fsencode(target.lstrip("/")),
        kinds[kind] | (0o666 if mode is None else mode & 0o7777),
        os.makedev(major, minor) if kind != "p" else 0,
        number_of(document, "uid", 0, 1 << 31) or 0,
        number_of(document, "gid", 0, 1 << 31) or 0,
    )


def _paths(linux: Config, key: str) -> tuple[bytes, ...]:
    """Absolute paths, each once, relative to the root."""
    paths = list_of(linux, key, str)
    for path in paths:
        if not path.startswith("/"):
            raise InvalidInput(f"linux.{key}: {path!r} is not an absolute path")
    return tuple(dict.fromkeys(os.fsencode(posixpath.normpath(each).lstrip("/")) for each in paths))


def _sysctls(
    linux: Config, kinds: set[str], joins: Sequence[tuple[int, str]]
) -> tuple[tuple[bytes, bytes], ...]:
    """Names as paths below /proc/sys; only of namespaces that are the container's own."""
    joined = {flag for flag, _ in joins}
    allowed: list[str] = []
    for kind, prefixes in _SYSCTLS.items():
        # A network namespace that was made for the container is joined, and its own all the same.
        if kind in kinds and (kind == "network" or namespaces.FLAGS[kind] not in joined):
            allowed += prefixes
    result: list[tuple[bytes, bytes]] = []
    for name, value in object_of(linux, "sysctl").items():
        text_of({"sysctl": name}, "sysctl")
        dotted = name.replace("/", ".")
        if ".." in dotted or not any(dotted.startswith(each) for each in allowed):
            raise InvalidInput(
                f"sysctl {name}: not a parameter of the container's own namespaces",
                "set it on the host, or give the container the namespace that it belongs to",
            )
        text = text_of({name: value}, name)
        result.append((os.fsencode(dotted.replace(".", "/")), os.fsencode(text)))
    return tuple(result)


def _limits(document: Config) -> tuple[int, int, int]:
    """memory_bytes, nano_cpus, pids."""
    for section, known in _RESOURCES.items():
        for name, value in object_of(document, section).items():
            if name not in known and value:
                raise Unsupported(f"linux.resources.{section}.{name}: not supported yet")
    for key, value in document.items():
        if key not in (*_RESOURCES, "devices") and value:
            raise Unsupported(f"linux.resources.{key}: not supported yet")
    memory = number_of(object_of(document, "memory"), "limit", -1, 1 << 63) or 0
    quota, period = _cpu_time(document)
    pids = number_of(object_of(document, "pids"), "limit", -1, 1 << 31)
    return (
        max(memory, 0),
        quota * 1_000_000_000 // _CPU_PERIOD_US if period == _CPU_PERIOD_US else 0,
        1 if pids == 0 else max(pids or 0, 0),  # the kernel would refuse a limit of 0
    )


def _cpu_time(document: Config) -> tuple[int, int]:
    """Quota, 0 for none, and period in microseconds."""
    cpu = object_of(document, "cpu")
    quota = number_of(cpu, "quota", -1, 1 << 60) or 0
    return max(quota, 0), number_of(cpu, "period", 0, 1_000_000) or _CPU_PERIOD_US


def _settings(document: Config) -> dict[str, Any]:
    """The finer limits, by their names in the specification: engine.kernel.cgroup_settings."""
    memory, cpu, io = (object_of(document, each) for each in ("memory", "cpu", "blockIO"))
    limit = number_of(memory, "limit", -1, 1 << 63) or 0
    swap = number_of(memory, "swap", -1, 1 << 63) or 0
    quota, period = _cpu_time(document)
    found: dict[str, Any] = {
        "memory.swap": 0 if swap == 2 * limit else swap,
        "memory.reservation": number_of(memory, "reservation", -1, 1 << 63),
        "memory.disableOOMKiller": int(bool(memory.get("disableOOMKiller"))),
        "cpu.shares": number_of(cpu, "shares", 0, 1 << 63),
        "cpu.period": period if period != _CPU_PERIOD_US else 0,  # before the quota in it
        "cpu.quota": quota if period != _CPU_PERIOD_US else 0,
        "cpuset.cpus": text_of(cpu, "cpus"),
        "cpuset.mems": text_of(cpu, "mems"),
        "blockIO.weight": number_of(io, "weight", 0, 1000),
        **{f"blockIO.{each}": _throttles(io, each) for each in _RESOURCES["blockIO"][1:]},
    }
    return {name: value for name, value in found.items() if value}


def _throttles(document: Config, key: str) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (
            number_of(each, "major", 0, 1 << 12) or 0,
            number_of(each, "minor", 0, 1 << 20) or 0,
            number_of(each, "rate", 0, 1 << 63) or 0,
        )
        for each in list_of(document, key, dict)
    )


def _cgroup(path: str, limited: bool) -> tuple[str, cgroup.Hierarchies] | None:
    """Where the container is accounted and limited; None on a host without cgroups."""
    hierarchies = cgroup.find_hierarchies()
    if path and any(hierarchies):
        try:
            return cgroup.open_cgroup(path, hierarchies).path, hierarchies
        except OSError as error:
            raise InvalidInput(
                f"linux.cgroupsPath {path!r}: expected an absolute path without .."
            ) from error
    if limited:
        raise Unsupported(
            "linux.resources: limits need a cgroup, and there is none",
            "mount the cgroup hierarchies of this host",
        )
    return None


def _device_rules(documents: list[Config]) -> tuple[str, ...]:
    """Docker's devices and the ones that are allowed; a rule that denies all of them is implied."""
    rules = list(cgroup.DEVICES)
    for each in documents:
        access = text_of(each, "access") or "rwm"
        kind = text_of(each, "type") or "a"
        numbers = [number_of(each, key, -1, 1 << 20) for key in ("major", "minor")]
        everything = kind == "a" and all(number in (None, -1) for number in numbers)
        if not each.get("allow"):
            if everything:
                rules = list(cgroup.DEVICES)
                continue
            raise Unsupported("linux.resources.devices: only denying all devices is supported")
        if kind not in ("a", "b", "c") or not set(access) <= set("rwm"):
            raise InvalidInput(f"linux.resources.devices: {kind!r} {access!r}: unknown")
        major, minor = ("*" if number in (None, -1) else str(number) for number in numbers)
        rules.append(f"{kind} {major}:{minor} {access}")
    return tuple(rules)


def _process(document: Config, linux: Config, user: str | None, last: int) -> dict[str, Any]:
    """The program and all that it starts with."""
    args = list_of(document, "args", str)
    if not args or not args[0]:
        raise InvalidInput("process.args must not be empty", "name a command")
    cwd = text_of(document, "cwd")
    if not cwd.startswith("/"):
        raise InvalidInput(f"process.cwd {cwd!r} is not an absolute path")
    numbers = object_of(document, "user")
    umask = number_of(numbers, "umask", 0, 0o777)
    size = object_of(document, "consoleSize")
    seccomp = object_of(linux, "seccomp")
    machine = os.uname().machine
    return {
        "args": [os.fsencode(each) for each in args],
        "env": _environment(list_of(document, "env", str)),
        "cwd": os.fsencode(cwd),
        "user": user,
        "uid": number_of(numbers, "uid", 0, 1 << 31) or 0,
        "gid": number_of(numbers, "gid", 0, 1 << 31) or 0,
        "groups": _groups(numbers.get("additionalGids")),
        "umask": 0o022 if umask is None else umask,
        "terminal": bool(document.get("terminal")),
        "size": (
            number_of(size, "height", 0, 65535) or 0,
            number_of(size, "width", 0, 65535) or 0,
        ),
        "capabilities": _capabilities(object_of(document, "capabilities"), last),
        "rlimits": _rlimits(list_of(document, "rlimits", dict)),
        "no_new_privs": bool(document.get("noNewPrivileges")),
        "seccomp": compile_profile(seccomp, machine) if seccomp else b"",
        "seccomp_flags": filter_flags(seccomp),
    }


def _groups(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | None):
        raise InvalidInput("process.user.additionalGids: expected a list of numbers")
    return tuple(
        number_of({"additionalGids": each}, "additionalGids", 0, 1 << 31) or 0
        for each in value or ()
    )


def _environment(entries: list[str]) -> dict[bytes, bytes]:
    """By name; of several entries the last wins."""
    result: dict[bytes, bytes] = {}
    for entry in entries:
        name, equal, value = os.fsencode(entry).partition(b"=")
        if not name or not equal:
            raise InvalidInput(f"process.env: {entry!r} is not of the form NAME=value")
        result[name] = value
    return result


def _capabilities(document: Config, last: int) -> tuple[int, ...]:
    """Masks: bounding, effective, permitted, inheritable, ambient; without newer ones than the
    kernel's."""
    masks: list[int] = []
    for key in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        names = list_of(document, key, str)
        try:
            masks.append(capabilities.mask(names) & (1 << last + 1) - 1)
        except KeyError as error:
            raise InvalidInput(
                f"process.capabilities.{key}: unknown capability {error.args[0]}"
            ) from error
    return tuple(masks)


def _rlimits(documents: list[Config]) -> tuple[tuple[int, int, int], ...]:
    """Number, soft and hard limit of each; -1 is none."""
    result: dict[str, tuple[int, int, int]] = {}
    for each in documents:
        name = text_of(each, "type")
        known = name.startswith("RLIMIT_")
        number = _RLIMITS.get(name, getattr(resource, name, None)) if known else None
        if number is None or name in result:
            problem = "unknown" if number is None else "there twice"
            raise InvalidInput(f"process.rlimits: {name!r} is {problem}")
        soft = number_of(each, "soft", 0, _RLIM_INFINITY) or 0
        hard = number_of(each, "hard", 0, _RLIM_INFINITY) or 0
        if soft > hard:
            raise InvalidInput(f"process.rlimits: {name}: soft {soft} is above hard {hard}")
        soft, hard = (-1 if limit == _RLIM_INFINITY else limit for limit in (soft, hard))
        result[name] = (number, soft, hard)
    return tuple(result.values())
