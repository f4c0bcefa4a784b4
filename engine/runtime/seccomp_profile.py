"""Seccomp profiles (OCI config-linux.md, seccomp) and the filters that the kernel runs for them.

A filter is a classic BPF program. Per architecture the system call numbers are cut into ranges with
equal outcome and found by a binary search: 13 instructions on average where a chain of comparisons
takes 200, which matters on kernels that neither compile filters nor cache their answers.
"""

import struct
from collections.abc import Collection, Sequence
from typing import Any

from engine.errors import InvalidInput, Unsupported
from engine.runtime import seccomp_tables
from engine.runtime.fields import list_of, number_of, text_of
from engine.runtime.seccomp_default import ARCHITECTURES, DEFAULT_ACTION, DEFAULT_ERRNO, GROUPS

# linux/seccomp.h, SECCOMP_RET_*
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_DATA = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_EPERM, _ENOSYS = 1, 38
NOT_IMPLEMENTED = ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS

# linux/audit.h, AUDIT_ARCH_*; x32 is x86_64 with bit 30 in the number.
AUDIT = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0xC000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
X32_BIT = 0x40000000
_NARROW = ("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM")  # 32-bit arguments
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
GO_NAMES = {  # as the profile's conditions call them
    "SCMP_ARCH_X86_64": "amd64",
    "SCMP_ARCH_AARCH64": "arm64",
}
_MAXIMUM_ARGUMENT = (1 << 64) - 1
_OPERATORS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
_FLAGS = {  # linux/seccomp.h, SECCOMP_FILTER_FLAG_*; a single thread needs no TSYNC
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}

_MAXIMUM_BYTES = 4096 * 8  # linux/bpf_common.h, BPF_MAXINSNS

# index, operator, value, second value
Condition = tuple[int, str, int, int]
# What happens to one system call: the rules in order, each its conditions and its return value.
Rules = tuple[tuple[tuple[Condition, ...], int], ...]
# The names that one rule of a profile is for, and what it says of them.
Rule = tuple[list[str], list[tuple[tuple[Condition, ...], int]]]


def default_profile(capabilities: Collection[str], machine: str, kernel: str) -> dict[str, Any]:
    """docker's default profile as linux.seccomp of a config.json, for a container with these
    (bounding) `capabilities` on `machine` (x86_64, aarch64) and `kernel` release ("6.18.4-…")."""
    native = native_architecture(machine)
    name = GO_NAMES[native]
    version = tuple(int(each) for each in kernel.split("-")[0].split(".")[:2] if each.isdecimal())
    syscalls: list[dict[str, Any]] = []
    for group in GROUPS:
        if (
            (group.architectures and name not in group.architectures)
            or name in group.without_architectures
            or any(each not in capabilities for each in group.capabilities)
            or any(each in capabilities for each in group.without_capabilities)
            or group.kernel > version
        ):
            continue
        rule: dict[str, Any] = {"names": group.names.split(), "action": group.action}
        if group.errno:
            rule["errnoRet"] = group.errno
        if group.arguments:
            rule["args"] = [
                {"index": index, "value": value, "valueTwo": second, "op": operator}
                for index, value, second, operator in group.arguments
            ]
        syscalls.append(rule)
    return {
        "defaultAction": DEFAULT_ACTION,
        "defaultErrnoRet": DEFAULT_ERRNO,
        "architectures": [native, *ARCHITECTURES[native]],
        "syscalls": syscalls,
    }


def native_architecture(machine: str) -> str:
    """The profile's name for uname's `machine`. Raises Unsupported for others than we know."""
    if machine not in _NATIVE:
        raise Unsupported(
            f"seccomp: no system call table for {machine}", "only x86_64 and aarch64 have one"
        )
    return _NATIVE[machine]


def filter_flags(seccomp: dict[str, Any]) -> int:
    """The flags of seccomp(2) that a profile asks for. Raises InvalidInput, Unsupported."""
    result = 0
    for flag in list_of(seccomp, "flags", str):
        if flag not in _FLAGS:
            raise Unsupported(f"seccomp: flag {flag} is not supported", "drop it from the profile")
        result |= _FLAGS[flag]
    return result


def compile_profile(seccomp: dict[str, Any], machine: str) -> bytes:
    """The filter of a config.json's linux.seccomp: struct sock_filter, 8 bytes each.

    Other architectures than the profile's are killed. Numbers above the highest that the profile
    names get ENOSYS instead of a refusal, so that programs fall back from calls that are newer than
    the profile. Raises InvalidInput, Unsupported.
    """
    if seccomp.get("listenerPath"):
        raise Unsupported("seccomp: listenerPath is not supported", "drop it from the profile")
    default = _default(seccomp)
    native = native_architecture(machine)
    architectures = list(dict.fromkeys([native, *list_of(seccomp, "architectures", str)]))
    assembler = _Assembler()
    blocks: dict[str, int] = {}
    refuse = assembler.give(ACTIONS["SCMP_ACT_KILL_THREAD"])
    read = read_rules(seccomp)
    for architecture in architectures:
        if architecture not in AUDIT:
            raise Unsupported(f"seccomp: architecture {architecture} is not supported")
        rules = rules_of(read, architecture)
        ranges = _ranges(rules, default, X32_BIT if architecture == "SCMP_ARCH_X32" else 0)
        narrow = architecture in _NARROW
        blocks[architecture] = _Search(assembler, default, narrow).build(ranges)
    entry = refuse
    for audit in dict.fromkeys(AUDIT[each] for each in architectures):
        if audit == AUDIT["SCMP_ARCH_X86_64"]:
            x32 = blocks.get("SCMP_ARCH_X32", refuse)
            wide = blocks.get("SCMP_ARCH_X86_64", refuse)
            block = assembler.jump(_JGE, X32_BIT, x32, wide)
        else:
            block = next(blocks[each] for each in architectures if AUDIT[each] == audit)
        block = assembler.load(_NUMBER, block)
        entry = assembler.jump(_JEQ, audit, block, entry)
    assembler.load(_ARCHITECTURE, entry)
    program = assembler.program()
    if len(program) > _MAXIMUM_BYTES:
        raise InvalidInput("seccomp: the profile needs more than the kernel's 4096 instructions")
    return program


def read_rules(seccomp: dict[str, Any]) -> list[Rule]:
    """The profile's rules, but for those that say what holds anyway."""
    default = _default(seccomp)
    found = []
    for rule in list_of(seccomp, "syscalls", dict):
        value = _return_value(text_of(rule, "action"), number_of(rule, "errnoRet", 0, 0xFFFF))
        conditions = tuple(_condition(each) for each in list_of(rule, "args", dict))
        names = list_of(rule, "names", str)
        # The same argument named twice means "or" to libseccomp's users, different ones "and".
        indexes = [each[0] for each in conditions]
        alternatives: list[tuple[Condition, ...]] = [conditions]
        if len(set(indexes)) < len(indexes):
            alternatives = [(each,) for each in conditions]
        if value != default:
            found.append((names, [(each, value) for each in alternatives]))
    return found


def rules_of(read: Sequence[Rule], architecture: str) -> dict[int, Rules]:
    """What the profile says, by system call number. Names that this architecture lacks are left
    out; a rule without conditions wins over all others of its call."""
    table = seccomp_tables.numbers(architecture)
    found: dict[int, list[tuple[tuple[Condition, ...], int]]] = {}
    for names, outcomes in read:
        for name in names:
            if name in table:
                found.setdefault(table[name], []).extend(outcomes)
    result: dict[int, Rules] = {}
    for number, rules in found.items():
        always = [each for each in rules if not each[0]]
        result[number] = tuple(always[:1] or rules)
    return result


def _default(seccomp: dict[str, Any]) -> int:
    errno = number_of(seccomp, "defaultErrnoRet", 0, 0xFFFF)
    return _return_value(text_of(seccomp, "defaultAction"), errno)


def _return_value(action: str, errno: int | None) -> int:
    if action == "SCMP_ACT_NOTIFY":
        raise Unsupported("seccomp: SCMP_ACT_NOTIFY is not supported", "use another action")
    if action not in ACTIONS:
        raise InvalidInput(f"seccomp: unknown action {action!r}")
    data = (_EPERM if errno is None else errno) if action in _WITH_DATA else 0
    return ACTIONS[action] | data


def _condition(argument: dict[str, Any]) -> Condition:
    index = number_of(argument, "index", 0, 5)
    operator = text_of(argument, "op").removeprefix("SCMP_CMP_")
    if index is None or operator not in _OPERATORS:
        raise InvalidInput(f"seccomp: argument {index}: unknown operator {operator!r}")
    value = number_of(argument, "value", 0, _MAXIMUM_ARGUMENT) or 0
    second = number_of(argument, "valueTwo", 0, _MAXIMUM_ARGUMENT) or 0
    return index, operator, value, second


def _ranges(rules: dict[int, Rules], default: int, base: int) -> list[tuple[int, Rules]]:
    """Where each range of numbers begins, and what holds in it; the first begins at `base`."""
    otherwise: Rules = (((), default),)
    lenient = default in (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"])
    beyond: Rules = otherwise if lenient else (((), NOT_IMPLEMENTED),)
    highest = max(rules, default=base - 1)
    ranges: list[tuple[int, Rules]] = []
    for number in range(base, highest + 2):
        outcome = rules.get(number, otherwise) if number <= highest else beyond
        if not ranges or ranges[-1][1] != outcome:
            ranges.append((number, outcome))
    return ranges


# linux/bpf_common.h: BPF_RET|K, LD|W|ABS, JMP|JEQ, JGT, JGE, JA, ALU|AND
_RET, _LD, _JEQ, _JGT, _JGE, _JA, _AND = 0x06, 0x20, 0x15, 0x25, 0x35, 0x05, 0x54
# struct seccomp_data
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_REACH = 250  # a conditional jump has 8 bits


class _Assembler:
    """A program written from its end, so that every jump goes to something that is there.

    A label is the number of instructions from its place to the end.
    """

    def __init__(self) -> None:
        self._reversed: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def program(self) -> bytes:
        return b"".join(struct.pack("HBBI", *each) for each in reversed(self._reversed))

    def _emit(self, code: int, yes: int, no: int, value: int) -> int:
        self._reversed.append((code, yes, no, value))
        return len(self._reversed)

    def reaches(self, label: int) -> bool:
        """Whether a conditional jump written now, and one before it, would reach `label`."""
        return len(self._reversed) - label < _REACH - 50

    def give(self, value: int) -> int:
        """Return `value`."""
        label = self._returns.get(value)
        if label is None or not self.reaches(label):
            label = self._returns[value] = self._emit(_RET, 0, 0, value)
        return label

    def jump(self, code: int, value: int, yes: int, no: int) -> int:
        """Compare the accumulator with `value`, go on at `yes` or `no`."""
        for _ in range(2):  # a trampoline for one label moves the other one away
            yes, no = self._near(yes), self._near(no)
        here = len(self._reversed)
        return self._emit(code, here - yes, here - no, value)

    def _near(self, label: int) -> int:
        distance = len(self._reversed) - label
        return label if distance <= _REACH else self._emit(_JA, 0, 0, distance)

    def load(self, offset: int, then: int) -> int:
        """Load the word at `offset` of struct seccomp_data, go on at `then`."""
        return self._then(_LD, offset, then)

    def mask(self, value: int, then: int) -> int:
        """Keep the bits of `value`, go on at `then`."""
        return self._then(_AND, value, then)

    def _then(self, code: int, value: int, then: int) -> int:
        distance = len(self._reversed) - then
        if distance:
            self._emit(_JA, 0, 0, distance)
        return self._emit(code, 0, 0, value)


class _Search:
    """The binary search of one architecture over ranges of system call numbers."""

    def __init__(self, assembler: _Assembler, default: int, narrow: bool) -> None:
        self._assembler = assembler
        self._default = default
        self._narrow = narrow
        self._leaves: dict[Rules, int] = {}

    def build(self, ranges: Sequence[tuple[int, Rules]]) -> int:
        """The label of the search, the accumulator holding the number."""
        if len(ranges) == 1:
            return self._leaf(ranges[0][1])
        middle = len(ranges) // 2
        above = self.build(ranges[middle:])
        below = self.build(ranges[:middle])
        return self._assembler.jump(_JGE, ranges[middle][0], above, below)

    def _leaf(self, rules: Rules) -> int:
        label = self._leaves.get(rules)
        if label is not None and self._assembler.reaches(label):
            return label
        if rules[-1][0]:
            label = self._assembler.give(self._default)
        for conditions, value in reversed(rules):
            if not conditions:
                label = self._assembler.give(value)
                continue
            assert label is not None
            otherwise = label
            label = self._assembler.give(value)
            for condition in reversed(conditions):
                label = self._compare(condition, label, otherwise)
        assert label is not None
        self._leaves[rules] = label
        return label

    def _compare(self, condition: Condition, yes: int, no: int) -> int:
        """Test one argument: its upper word, then its lower one; 32-bit ones have no upper."""
        index, operator, value, second = condition
        opposite = {"NE": "EQ", "LT": "GE", "LE": "GT"}
        if operator in opposite:
            operator, yes, no = opposite[operator], no, yes
        code = self._assembler
        lower = _ARGUMENTS + 8 * index
        upper = lower + 4
        high, low = value >> 32, value & 0xFFFFFFFF
        if operator == "MASKED_EQ":  # value is the mask, the second value what must be there
            wanted = second & value
            label = code.jump(_JEQ, wanted & 0xFFFFFFFF, yes, no)
            label = code.load(lower, code.mask(low, label))
            if self._narrow:
                return label
            label = code.jump(_JEQ, wanted >> 32, label, no)
            return code.load(upper, code.mask(high, label))
        if operator == "EQ":
            label = code.load(lower, code.jump(_JEQ, low, yes, no))
            return label if self._narrow else code.load(upper, code.jump(_JEQ, high, label, no))
        label = code.load(lower, code.jump(_JGE if operator == "GE" else _JGT, low, yes, no))
        if self._narrow:
            return label
        label = code.jump(_JEQ, high, label, no)
        return code.load(upper, code.jump(_JGT, high, yes, label))
