"""docker's flags about what a container may do, worked into the config.json of its defaults.

Only for containers that have such flags; the rules are those of
github.com/moby/moby/blob/master/daemon/oci_linux.go and its pkg/oci.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput, NotFound
from engine.kernel import capabilities
from engine.runtime.bundle import CAPABILITIES, bind
from engine.runtime.seccomp_profile import default_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.model.confinement import Confinement, Device

ALL = "ALL"
_TMPFS = ("noexec", "nosuid", "nodev", "rprivate")  # what docker puts before the given ones
# Every container has its own of these, or none: moby's HostDevices leaves them out.
_NO_DEVICES = ("pts", "ptmx", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev")
_SECCOMP, _NO_NEW_PRIVILEGES = "seccomp=", "no-new-privileges"


def confine(
    config: dict[str, Any], wanted: Confinement, joined: Mapping[str, str] | None = None
) -> None:
    """`config`, as make_config wrote it, is as `wanted`; `joined` are paths of namespaces by their
    kind. Raises InvalidInput, NotFound."""
    process, linux = config["process"], config["linux"]
    granted = granted_capabilities(wanted)
    process["capabilities"] = {
        each: list(granted) for each in ("bounding", "effective", "permitted")
    }
    process["noNewPrivileges"] = no_new_privileges(wanted)
    process["oomScoreAdj"] = wanted.oom_score_adj
    process["rlimits"] = [
        {
            "type": f"RLIMIT_{each.name.upper()}",
            # -1 is no limit: the highest number of the specification's 64 bits
            "soft": each.soft % (1 << 64),
            "hard": each.hard % (1 << 64),
        }
        for each in wanted.ulimits
    ]
    config["root"]["readonly"] = wanted.read_only
    linux["sysctl"].update(wanted.sysctls)
    _filter(linux, wanted, granted)
    _share(config, wanted, joined or {})
    _mount(config, wanted)
    if wanted.privileged or wanted.unmasked:
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    _give_devices(linux, wanted)


def granted_capabilities(wanted: Confinement) -> tuple[str, ...]:
    """The bounding set: docker's default, less what is dropped, and what is added."""
    known = capabilities.NAMES[: capabilities.last_capability() + 1]
    if wanted.privileged:
        return known
    if ALL in wanted.cap_add:
        return tuple(each for each in known if each not in wanted.cap_drop)
    base: Sequence[str] = () if ALL in wanted.cap_drop else CAPABILITIES
    kept = [each for each in base if each not in wanted.cap_drop]
    return tuple(dict.fromkeys([*kept, *wanted.cap_add]))


def no_new_privileges(wanted: Confinement) -> bool:
    """Whether no program of it may gain any by execve; the last option wins."""
    given = [each for each in wanted.security if each.startswith(_NO_NEW_PRIVILEGES)]
    return bool(given) and given[-1].partition("=")[2] in ("", "1", "t", "T", "true", "True")


def _share(config: dict[str, Any], wanted: Confinement, joined: Mapping[str, str]) -> None:
    """Namespaces of the host are not made, those of others are joined; with the one of IPC go the
    file systems that show it."""
    linux = config["linux"]
    modes = {"pid": wanted.pid, "ipc": wanted.ipc, "uts": wanted.uts, "cgroup": wanted.cgroupns}
    linux["namespaces"] = [
        {**each, "path": joined[each["type"]]} if each["type"] in joined else each
        for each in linux["namespaces"]
        if modes.get(each["type"]) != "host"
    ]
    if wanted.uts == "host":
        config["hostname"] = ""
    if "ipc" in joined:  # whose shared memory is beside its root
        source = f"{joined['ipc'].removesuffix('ns/ipc')}root/dev/shm"
        config["mounts"] = [
            bind(source, "/dev/shm", read_only=False) if each["destination"] == "/dev/shm" else each
            for each in config["mounts"]
        ]
    if wanted.ipc not in ("host", "none"):
        return
    targets = ("/dev/shm", "/dev/mqueue") if wanted.ipc == "host" else ("/dev/shm",)
    config["mounts"] = [each for each in config["mounts"] if each["destination"] not in targets]
    if wanted.ipc == "host":
        for path in targets:
            if os.path.isdir(path):
                config["mounts"].append(bind(path, path, read_only=False))


def _filter(linux: dict[str, Any], wanted: Confinement, granted: Sequence[str]) -> None:
    profile = "unconfined" if wanted.privileged else ""
    for option in wanted.security:
        if option.startswith(_SECCOMP):
            profile = option.removeprefix(_SECCOMP)
    uname = os.uname()
    if profile == "unconfined":
        del linux["seccomp"]
    elif profile in ("", "builtin"):
        linux["seccomp"] = default_profile(granted, uname.machine, uname.release)
    else:
        from engine.runtime.seccomp_file import resolve_profile

        linux["seccomp"] = resolve_profile(
            json.loads(profile), granted, uname.machine, uname.release
        )


def _mount(config: dict[str, Any], wanted: Confinement) -> None:
    mounts: list[dict[str, Any]] = config["mounts"]
    for each in mounts:
        target, options = each["destination"], each["options"]
        if wanted.privileged and target in ("/sys", "/sys/fs/cgroup"):
            each["options"] = [option for option in options if option != "ro"]
        if wanted.shm_bytes and target == "/dev/shm" and each["type"] == "tmpfs":
            each["options"] = [
                *(option for option in options if not option.startswith("size=")),
                f"size={wanted.shm_bytes}",
            ]
    own = dict(wanted.tmpfs)
    own_mounts = [
        {
            "destination": path,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": [*_TMPFS, *(word for word in own[path].split(",") if word)],
        }
        for path in sorted(own, key=lambda path: path.count("/"))
    ]
    # A volume below a tmpfs comes after it; a tmpfs takes the place of docker's own mounts there.
    for new in own_mounts:
        target = new["destination"]
        mounts[:] = [each for each in mounts if each["destination"] != target]
        place = next(
            (
                index
                for index, each in enumerate(mounts)
                if each["destination"].startswith(f"{target}/")
            ),
            len(mounts),
        )
        mounts.insert(place, new)


def _give_devices(linux: dict[str, Any], wanted: Confinement) -> None:
    rules, nodes = linux["resources"]["devices"], linux.setdefault("devices", [])
    if wanted.privileged:
        rules.append({"allow": True, "access": "rwm"})
        nodes += host_devices()
        return
    for device in wanted.devices:
        for node in nodes_of(device):
            nodes.append(node)
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": device.access,
                }
            )
    for rule in wanted.device_rules:
        kind, numbers, access = rule.split()
        major, _, minor = numbers.partition(":")
        rules.append(
            {
                "allow": True,
                "type": kind,
                "major": -1 if major == "*" else int(major),
                "minor": -1 if minor == "*" else int(minor),
                "access": access,
            }
        )


def nodes_of(device: Device) -> list[dict[str, Any]]:
    """A node, or those in and below a directory. Raises InvalidInput, NotFound."""
    said = f'error gathering device information while adding custom device "{device.host_path}"'
    try:
        path = os.path.realpath(device.host_path, strict=True)  # /dev/disk/by-id/… are links
        status = os.stat(path)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise NotFound(f"{said}: {reason}", "name a device node of this host") from error
    if stat.S_ISDIR(status.st_mode):
        found = list(_walk(path, device.path))
        if found:
            return found
    node = _node(status, device.path)
    if node is None:
        raise InvalidInput(f"{said}: not a device node", "name a device node of this host")
    return [node]


def host_devices() -> list[dict[str, Any]]:
    """Every device node of this host's /dev that a privileged container gets."""
    return list(_walk("/dev", "/dev"))


def _walk(directory: str, target: str) -> Iterator[dict[str, Any]]:
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if name in _NO_DEVICES:
            continue
        try:
            status = os.lstat(f"{directory}/{name}")
        except FileNotFoundError:  # gone meanwhile
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(f"{directory}/{name}", f"{target}/{name}")
            continue
        node = _node(status, f"{target}/{name}")
        if node is not None:
            yield node


def _node(status: os.stat_result, path: str) -> dict[str, Any] | None:
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return {
        "path": path,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
