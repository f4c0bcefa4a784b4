"""A classic BPF interpreter and a naive reading of seccomp profiles, to hold against each other."""

import struct
from typing import Any

from engine.runtime.seccomp_profile import ACTIONS, AUDIT, NOT_IMPLEMENTED, X32_BIT
from engine.runtime.seccomp_tables import numbers

NARROW = ("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM")


def decode(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("HBBI", program))


def execute(
    code: list[tuple[int, int, int, int]], number: int, audit: int, arguments: tuple[int, ...]
) -> int:
    """What the program returns for one system call."""
    data = struct.pack("IIQ6Q", number, audit, 0, *arguments)
    place = accumulator = 0
    while True:
        operation, yes, no, value = code[place]
        place += 1
        match operation:
            case 0x06:
                return value
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                place += value
            case 0x15:
                place += yes if accumulator == value else no
            case 0x25:
                place += yes if accumulator > value else no
            case 0x35:
                place += yes if accumulator >= value else no
            case _:
                raise AssertionError(hex(operation))


class Naive:
    """The profile read rule by rule, as its specification words it."""

    def __init__(self, profile: dict[str, Any], architecture: str) -> None:
        self._architecture = architecture
        self._default = value_of(profile["defaultAction"], profile.get("defaultErrnoRet"))
        self._rules: dict[int, list[tuple[list[dict[str, Any]], int]]] = {}
        table = numbers(architecture)
        for rule in profile["syscalls"]:
            value = value_of(rule["action"], rule.get("errnoRet"))
            for name in rule["names"] if value != self._default else ():
                if name in table:
                    args = rule.get("args") or []
                    self._rules.setdefault(table[name], []).append((args, value))
        base = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
        self._highest = max(self._rules, default=base - 1)

    def decide(self, number: int, arguments: tuple[int, ...]) -> int:
        if number > self._highest:
            lenient = self._default in (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"])
            return self._default if lenient else NOT_IMPLEMENTED
        rules = self._rules.get(number, [])
        for args, value in rules:
            if not args:
                return value
        for args, value in rules:
            indexes = [each["index"] for each in args]
            combine = any if len(set(indexes)) < len(indexes) else all
            if combine(self._holds(each, arguments) for each in args):
                return value
        return self._default

    def _holds(self, condition: dict[str, Any], arguments: tuple[int, ...]) -> bool:
        bits = 0xFFFFFFFF if self._architecture in NARROW else 0xFFFFFFFFFFFFFFFF
        found = arguments[condition["index"]] & bits
        value, second = condition["value"] & bits, condition.get("valueTwo", 0) & bits
        return {
            "EQ": found == value,
            "NE": found != value,
            "LT": found < value,
            "LE": found <= value,
            "GT": found > value,
            "GE": found >= value,
            "MASKED_EQ": found & value == second & value,
        }[condition["op"].removeprefix("SCMP_CMP_")]


def value_of(action: str, errno: int | None) -> int:
    data = (1 if errno is None else errno) if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else 0
    return ACTIONS[action] | data


def audit_of(architecture: str) -> int:
    return AUDIT[architecture]
