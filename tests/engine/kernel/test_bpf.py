import os
import struct
import subprocess
from collections.abc import Iterator

import pytest

from engine.kernel import bpf
from engine.kernel.cgroup import DEVICES, Cgroup, Limits, find_hierarchies, open_cgroup
from tests.support.host import CGROUP_PARENT

CHAR, BLOCK = 2, 1
MKNOD, READ, WRITE = 1, 2, 4


def allows(program: bytes, kind: int, major: int, minor: int, access: int) -> bool:
    """What the program returns, computed by an interpreter of the few instructions it uses."""
    context = struct.pack("III", access << 16 | kind, major, minor)
    registers = [0] * 6
    place = 0
    while True:
        operation, pair, offset, number = struct.unpack_from("=BBhi", program, place * 8)
        target, source = pair & 15, pair >> 4
        place += 1
        match operation:
            case 0x61:
                (registers[target],) = struct.unpack_from("I", context, offset)
            case 0xBC:
                registers[target] = registers[source]
            case 0xB4:
                registers[target] = number
            case 0x54:
                registers[target] &= number
            case 0x74:
                registers[target] >>= number
            case 0x55:
                place += offset if registers[target] != number else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(hex(operation))


def naive(rules: tuple[str, ...], kind: int, major: int, minor: int, access: int) -> bool:
    for rule in rules:
        type_, numbers, letters = rule.split()
        wanted = numbers.split(":")
        if (
            (type_ == "a" or {"c": CHAR, "b": BLOCK}[type_] == kind)
            and wanted[0] in ("*", str(major))
            and wanted[1] in ("*", str(minor))
            and access & ~sum({"m": 1, "r": 2, "w": 4}[each] for each in letters) == 0
        ):
            return True
    return False


@pytest.mark.parametrize(
    "rules", [DEVICES, (), ("a *:* rwm",), ("b 8:* r", "c *:7 w", "a 10:200 rwm")]
)
def test_program_decides_as_the_rules_say(rules: tuple[str, ...]) -> None:
    program = bpf.program(rules)
    for kind in (CHAR, BLOCK):
        for major in (0, 1, 5, 8, 10, 136):
            for minor in (0, 1, 2, 3, 7, 200):
                for access in range(8):
                    wanted = naive(rules, kind, major, minor, access)
                    assert allows(program, kind, major, minor, access) == wanted


@pytest.fixture
def unified() -> Iterator[Cgroup]:
    cgroup = open_cgroup(f"{CGROUP_PARENT}/unit/bpf", ((), find_hierarchies()[1]))
    yield cgroup
    cgroup.kill()
    cgroup.remove()


@pytest.mark.root
def test_kernel_enforces_the_rules_of_a_v2_cgroup(unified: Cgroup) -> None:
    """The v2 tree of a hybrid host takes device programs too, so this runs everywhere."""
    unified.create(Limits(), DEVICES)
    process = subprocess.run(
        ["sh", "-c", "cat /dev/null && mknod m c 1 1 && ! head -c1 m && rm m"],
        preexec_fn=lambda: unified.join(0),
        stderr=subprocess.PIPE,
        cwd="/run",
        check=False,
    )
    assert process.returncode == 0
    assert b"not permitted" in process.stderr
    assert os.path.isdir(unified.directories[0])
