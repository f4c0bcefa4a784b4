"""Capabilities: the sets of a thread and the bounding set, as masks. capabilities(7)."""

import ctypes
import struct

from engine.kernel.files import read_file
from engine.kernel.libc import syscall

# linux/capability.h, from bit 0
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
_BITS = {name: bit for bit, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


def mask(names: list[str]) -> int:
    """The bits of `names` (CAP_…). Raises KeyError for a name that no kernel knows."""
    result = 0
    for name in names:
        result |= 1 << _BITS[name]
    return result


def last_capability() -> int:
    """The highest bit that the running kernel knows."""
    return int(read_file("/proc/sys/kernel/cap_last_cap"))


def get() -> tuple[int, int, int]:
    """This thread's effective, permitted and inheritable sets."""
    data = (ctypes.c_uint32 * 6)()
    syscall("capget", struct.pack("Ii", _VERSION_3, 0), ctypes.byref(data))
    low, high = data[:3], data[3:]
    effective, permitted, inheritable = (
        lower | upper << 32 for lower, upper in zip(low, high, strict=True)
    )
    return effective, permitted, inheritable


def set_(effective: int, permitted: int, inheritable: int) -> None:
    """This thread's three sets are these."""
    sets = (effective, permitted, inheritable)
    data = struct.pack("6I", *(each & 0xFFFFFFFF for each in sets), *(each >> 32 for each in sets))
    syscall("capset", struct.pack("Ii", _VERSION_3, 0), data)


def limit_bounding(kept: int, last: int) -> None:
    """Of bits 0 to `last` the bounding set holds none that is not in `kept`."""
    for bit in range(last + 1):
        if not kept >> bit & 1:
            syscall("prctl", _PR_CAPBSET_DROP, bit, 0, 0, 0)


def keep_on_setuid(kept: bool) -> None:
    """Whether the permitted set survives the change from uid 0 to another."""
    syscall("prctl", _PR_SET_KEEPCAPS, int(kept), 0, 0, 0)


def set_ambient(wanted: int, last: int) -> None:
    """The ambient set is `wanted`, whose bits are permitted and inheritable."""
    syscall("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for bit in range(last + 1):
        if wanted >> bit & 1:
            syscall("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, bit, 0, 0)
