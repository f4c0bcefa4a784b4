"""Whether a container may be as its request's Confinement says: docker's rules and words.

Only for containers that have one. Facts: github.com/moby/moby/blob/master/daemon/container.go and
daemon_unix.go, verifyPlatformContainerSettings; daemon/pkg/oci/caps.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from engine.errors import InvalidInput, Unsupported
from engine.kernel import capabilities
from engine.runtime.confine import ALL, granted_capabilities, nodes_of
from engine.runtime.seccomp_profile import compile_profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.model.confinement import Confinement

_OOM_SCORE_ADJ = 1000
_TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")
_TMPFS_FLAGS = (
    "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
    "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
    "nostrictatime", "defaults", "bind", "rbind", "private", "rprivate", "shared", "rshared",
    "slave", "rslave", "unbindable", "runbindable", "mand", "nomand", "remount",
)  # fmt: skip
_TRUTHS = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
_LSM = "/sys/kernel/security"


def check_confinement(wanted: Confinement, network: str) -> None:
    """Raises InvalidInput, Unsupported."""
    _check_capabilities("CapAdd", wanted.cap_add)
    _check_capabilities("CapDrop", wanted.cap_drop)
    for option in wanted.security:
        _check_security(option, wanted)
    if wanted.shm_bytes < 0:
        raise InvalidInput("SHM size can not be less than 0", "for example --shm-size 128m")
    if abs(wanted.oom_score_adj) > _OOM_SCORE_ADJ:
        raise InvalidInput(
            f"invalid value {wanted.oom_score_adj}, range for oom score adj is [-1000, 1000]",
            "change --oom-score-adj",
        )
    for path, options in wanted.tmpfs:
        _check_tmpfs(path, options)
    for device in wanted.devices:
        nodes_of(device)
    for name, _ in wanted.sysctls:
        if network == "host" and name.startswith("net."):
            raise InvalidInput(
                f'sysctl "{name}" not allowed in host network namespace',
                "set it on the host, or give the container a network of its own",
            )
        if not os.path.exists(f"/proc/sys/{name.replace('.', '/')}"):
            raise InvalidInput(
                f"sysctl {name}: this kernel has no such parameter", "sysctl -a lists them"
            )


def _check_capabilities(field: str, names: Iterable[str]) -> None:
    known = capabilities.NAMES[: capabilities.last_capability() + 1]
    for name in names:
        if name != ALL and name not in known:
            raise InvalidInput(
                f'invalid {field}: unknown capability: "{name}"',
                "capabilities(7) lists them, for example NET_ADMIN; ALL is all of them",
            )


def _check_security(option: str, wanted: Confinement) -> None:
    name, equals, value = option.partition("=")
    if name == "no-new-privileges":
        if equals and value not in _TRUTHS:
            raise InvalidInput(f'invalid --security-opt 2: "{option}"', "true or false")
    elif name == "seccomp":
        _check_profile(value, wanted)
    elif name in ("label", "apparmor"):
        harmless = ("disable",) if name == "label" else ("unconfined",)
        # Without the module there is nothing to confine by: docker says so where a name is given.
        if value not in harmless or _is_active(name):
            raise Unsupported(
                f"--security-opt {option}: not supported by pydock yet",
                f"leave it out, or write {name}={harmless[0]} on a host without that module",
            )
    else:
        raise InvalidInput(
            f'invalid --security-opt 2: "{option}"',
            "no-new-privileges, seccomp=…, label=disable, apparmor=unconfined, "
            "systempaths=unconfined",
        )


def _is_active(name: str) -> bool:
    """Whether the host confines by SELinux ("label") or AppArmor: what --security-opt turns off."""
    if name == "label":
        return os.path.exists("/sys/fs/selinux/enforce")
    return os.path.exists(f"{_LSM}/apparmor/profiles")


def _check_profile(text: str, wanted: Confinement) -> None:
    if text in ("unconfined", "builtin"):
        return
    from engine.runtime.seccomp_file import resolve_profile

    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"decoding seccomp profile failed: {error}",
            "see https://docs.docker.com/engine/security/seccomp/",
        ) from error
    uname = os.uname()
    compile_profile(
        resolve_profile(document, granted_capabilities(wanted), uname.machine, uname.release),
        uname.machine,
    )


def _check_tmpfs(path: str, options: str) -> None:
    if not path.startswith("/"):
        raise InvalidInput(
            f"invalid mount path: '{path}' mount path must be absolute", "begin it with /"
        )
    if os.path.normpath(path).strip("/") == "":
        raise InvalidInput(
            "invalid specification: destination can't be '/'", "name a directory below it"
        )
    for word in options.split(",") if options else ():
        name, equals, value = word.partition("=")
        if (equals and name not in _TMPFS_VALUES) or (not equals and word not in _TMPFS_FLAGS):
            raise InvalidInput(
                f'invalid tmpfs option "{word}"', "for example size=64m,mode=1770,uid=1000,exec"
            )
        if equals and not value:
            raise InvalidInput(f'invalid tmpfs option "{word}"', f"give {name} a value")


def check_targets(wanted: Confinement, taken: Sequence[str]) -> None:
    """No path has two mounts. Raises InvalidInput."""
    found = set(taken)
    for path, _ in wanted.tmpfs:
        if os.path.normpath(path) in found:
            raise InvalidInput(f"duplicate mount point: {path}", "mount each path once")
        found.add(os.path.normpath(path))
