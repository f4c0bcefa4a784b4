import re
from pathlib import Path

import pytest

from engine.runtime.seccomp_tables import numbers

X32_BIT = 0x40000000
HEADERS = {
    "SCMP_ARCH_X86_64": ("x86_64-linux-gnu/asm/unistd_64.h", r"(\d+)", 0),
    "SCMP_ARCH_X86": ("x86_64-linux-gnu/asm/unistd_32.h", r"(\d+)", 0),
    "SCMP_ARCH_X32": (
        "x86_64-linux-gnu/asm/unistd_x32.h",
        r"\(__X32_SYSCALL_BIT \+ (\d+)\)",
        X32_BIT,
    ),
}
ARCHITECTURES = (*HEADERS, "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_known_numbers_are_right(architecture: str) -> None:
    table = numbers(architecture)
    base = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
    anchors = {
        "SCMP_ARCH_X86_64": {"read": 0, "execve": 59, "seccomp": 317, "uretprobe": 335},
        "SCMP_ARCH_X86": {"read": 3, "socketcall": 102, "clone": 120},
        "SCMP_ARCH_X32": {"read": X32_BIT, "execve": X32_BIT + 520},
        "SCMP_ARCH_AARCH64": {"read": 63, "execve": 221, "seccomp": 277},
        "SCMP_ARCH_ARM": {"read": 3, "set_tls": 0xF0005},
    }
    for name, number in anchors[architecture].items():
        assert table[name] == number
    # From 424 on numbers are the same everywhere.
    for name, number in {
        "pidfd_send_signal": 424,
        "clone3": 435,
        "openat2": 437,
        "mseal": 462,
    }.items():
        assert table[name] == base + number


@pytest.mark.parametrize("architecture", HEADERS)
def test_numbers_agree_with_this_hosts_headers(architecture: str) -> None:
    """The headers come with a compiler; a host without one has nothing to compare."""
    name, pattern, base = HEADERS[architecture]
    header = Path("/usr/include") / name
    text = header.read_text() if header.exists() else ""
    table = numbers(architecture)
    for match in re.finditer(rf"#define __NR_(\w+) {pattern}", text):
        assert table[match[1]] == base + int(match[2]), match[1]
