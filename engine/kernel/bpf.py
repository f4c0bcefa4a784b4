"""Device rules of a v2 cgroup: a small eBPF program, loaded by bpf(2) without any compiler.

The kernel asks the program for each open and mknod: docs.kernel.org/admin-guide/cgroup-v2
(Device controller); instruction set: docs.kernel.org/bpf/standardization/instruction-set.html.
"""

import ctypes
import os
import struct

from engine.kernel.libc import syscall

_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_ACCESS = {"m": 1, "r": 2, "w": 4}
_KIND = {"b": 1, "c": 2}

# Operations: 32-bit load, 32-bit moves and arithmetic, jump if not equal, exit.
_LOAD, _MOVE, _MOVE_NUMBER, _AND, _SHIFT_RIGHT = 0x61, 0xBC, 0xB4, 0x54, 0x74
_JUMP_IF_OTHER, _EXIT = 0x55, 0x95


def allow_devices(cgroup: int, rules: tuple[str, ...]) -> None:
    """In the cgroup behind descriptor `cgroup` only devices that one of `rules` names can be used.

    A rule is "c 1:3 rwm": kind (a for both), major:minor (* for any), accesses. The rules live as
    long as the cgroup.
    """
    descriptor = _load(program(rules))
    try:
        attributes = struct.pack("IIII", cgroup, descriptor, _CGROUP_DEVICE, _ALLOW_MULTI)
        syscall("bpf", _PROG_ATTACH, attributes, len(attributes))
    finally:
        os.close(descriptor)


def program(rules: tuple[str, ...]) -> bytes:
    """The instructions: r2 holds the kind, r3 the accesses, r4 the major, r5 the minor number."""
    code = [
        _instruction(_LOAD, 2, 1, 0),
        _instruction(_MOVE, 3, 2),
        _instruction(_AND, 2, number=0xFFFF),
        _instruction(_SHIFT_RIGHT, 3, number=16),
        _instruction(_LOAD, 4, 1, 4),
        _instruction(_LOAD, 5, 1, 8),
    ]
    for rule in rules:
        code += _rule(rule)
    code += [_instruction(_MOVE_NUMBER, 0, number=0), _instruction(_EXIT)]
    return b"".join(code)


def _rule(rule: str) -> list[bytes]:
    """Return 1 if the request is within `rule`, else go on behind it."""
    kind, numbers, accesses = rule.split(" ")
    major, _, minor = numbers.partition(":")
    conditions: list[tuple[int, int]] = []  # register, number that it must hold
    if kind != "a":
        conditions.append((2, _KIND[kind]))
    if major != "*":
        conditions.append((4, int(major)))
    if minor != "*":
        conditions.append((5, int(minor)))
    forbidden = 7 & ~sum(_ACCESS[each] for each in accesses)
    size = len(conditions) + (3 if forbidden else 0) + 2
    code: list[bytes] = []
    for register, number in conditions:
        code.append(
            _instruction(_JUMP_IF_OTHER, register, offset=size - len(code) - 1, number=number)
        )
    if forbidden:
        code.append(_instruction(_MOVE, 1, 3))
        code.append(_instruction(_AND, 1, number=forbidden))
        code.append(_instruction(_JUMP_IF_OTHER, 1, offset=size - len(code) - 1, number=0))
    return [*code, _instruction(_MOVE_NUMBER, 0, number=1), _instruction(_EXIT)]


def _instruction(
    operation: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0
) -> bytes:
    return struct.pack("=BBhi", operation, target | source << 4, offset, number)


def _load(code: bytes) -> int:
    """A descriptor of the verified program."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "IIQQ",
        _PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_),
    )
    return syscall("bpf", _PROG_LOAD, attributes, len(attributes))
