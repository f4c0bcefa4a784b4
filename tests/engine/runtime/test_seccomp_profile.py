import hashlib
import random
import struct
from typing import Any

import pytest

from engine.errors import InvalidInput, Unsupported
from engine.kernel.capabilities import NAMES
from engine.runtime.bundle import CAPABILITIES
from engine.runtime.seccomp_profile import (
    ACTIONS,
    AUDIT,
    X32_BIT,
    compile_profile,
    default_profile,
    filter_flags,
    read_rules,
    rules_of,
)
from engine.runtime.seccomp_tables import numbers
from tests.support.bpf_machine import Naive, audit_of, decode, execute

ALLOW, ERRNO = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_ERRNO"]
KERNEL = "6.18.4-cloud"
MACHINES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def edges(profile: dict[str, Any], name_numbers: dict[int, set[str]], number: int) -> list[int]:
    """Argument values around everything that the profile compares for this number."""
    values = {0, 1, 0xFFFFFFFF, 0x100000000, 0xFFFFFFFFFFFFFFFF}
    for rule in profile["syscalls"]:
        if name_numbers.get(number, set()) & set(rule["names"]):
            for each in rule.get("args") or ():
                for value in (each["value"], each.get("valueTwo", 0)):
                    values |= {value, value + 1, max(value - 1, 0), value | 1 << 32}
    return sorted(value & 0xFFFFFFFFFFFFFFFF for value in values)


def check(profile: dict[str, Any], machine: str, extra: tuple[int, ...] = ()) -> None:
    code = decode(compile_profile(profile, machine))
    for architecture in profile["architectures"]:
        naive = Naive(profile, architecture)
        base = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
        names: dict[int, set[str]] = {}
        for name, number in numbers(architecture).items():
            names.setdefault(number, set()).add(name)
        conditional = {
            number
            for number, rules in rules_of(read_rules(profile), architecture).items()
            if rules and rules[0][0]
        }
        audit = audit_of(architecture)
        for number in (*range(base, base + 1100), *extra):
            vectors = [(0,) * 6]
            if number in conditional:
                vectors = [(value,) * 6 for value in edges(profile, names, number)]
            for arguments in vectors:
                got = execute(code, number, audit, arguments)
                assert got == naive.decide(number, arguments), (architecture, number, arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("capabilities", [CAPABILITIES, (), NAMES], ids=["docker", "none", "all"])
def test_filter_decides_as_the_profile_says_for_every_number(
    machine: str, capabilities: tuple[str, ...]
) -> None:
    check(default_profile(capabilities, machine, KERNEL), machine)


def test_default_profile_is_dockers() -> None:
    profile = default_profile(CAPABILITIES, "x86_64", KERNEL)
    names = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }
    assert len(names) == 370
    assert len(rules_of(read_rules(profile), "SCMP_ARCH_X86_64")) == 310
    assert {"mount", "bpf", "init_module", "keyctl", "unshare", "setns"}.isdisjoint(names)
    assert {"chroot", "ptrace", "openat2", "clone"} <= names


def test_capability_opens_its_calls() -> None:
    rules = rules_of(
        read_rules(default_profile(["CAP_SYS_ADMIN"], "x86_64", KERNEL)), "SCMP_ARCH_X86_64"
    )
    table = numbers("SCMP_ARCH_X86_64")
    assert rules[table["mount"]] == rules[table["clone3"]] == (((), ALLOW),)


def test_old_kernel_gets_no_ptrace() -> None:
    table = numbers("SCMP_ARCH_X86_64")
    for kernel, present in (("4.7.0", False), ("4.8.0-rc1", True), ("4.19.3", True)):
        rules = rules_of(read_rules(default_profile((), "x86_64", kernel)), "SCMP_ARCH_X86_64")
        assert (table["ptrace"] in rules) == present, kernel


def test_clone3_and_unknown_numbers_are_not_implemented() -> None:
    code = decode(compile_profile(default_profile(CAPABILITIES, "x86_64", KERNEL), "x86_64"))
    audit = AUDIT["SCMP_ARCH_X86_64"]
    for number in (numbers("SCMP_ARCH_X86_64")["clone3"], 1000, 0x3FFFFFFF, X32_BIT + 5000):
        assert execute(code, number, audit, (0,) * 6) == ERRNO | 38
    new_user_namespace = 0x10000000
    clone = numbers("SCMP_ARCH_X86_64")["clone"]
    assert execute(code, clone, audit, (new_user_namespace, 0, 0, 0, 0, 0)) == ERRNO | 1
    assert execute(code, clone, audit, (17, 0, 0, 0, 0, 0)) == ALLOW


def test_foreign_architecture_is_killed() -> None:
    code = decode(compile_profile(default_profile(CAPABILITIES, "x86_64", KERNEL), "x86_64"))
    assert execute(code, 0, AUDIT["SCMP_ARCH_AARCH64"], (0,) * 6) == 0


def random_profile(random_: random.Random) -> dict[str, Any]:
    names = list(numbers("SCMP_ARCH_X86_64"))
    actions = list(ACTIONS)
    operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]
    rules = []
    for _ in range(random_.randrange(12)):
        rule: dict[str, Any] = {
            "names": random_.sample(names, random_.randrange(1, 30)),
            "action": random_.choice(actions),
            "errnoRet": random_.randrange(100),
        }
        if random_.random() < 0.7:
            rule["args"] = [
                {
                    "index": random_.randrange(6),
                    "op": "SCMP_CMP_" + random_.choice(operators),
                    "value": random_.choice([0, 1, 38, 1 << 31, 1 << 32, random_.getrandbits(64)]),
                    "valueTwo": random_.choice([0, 1, 1 << 32, random_.getrandbits(64)]),
                }
                for _ in range(random_.randrange(1, 4))
            ]
        rules.append(rule)
    return {
        "defaultAction": random_.choice(actions),
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }


@pytest.mark.parametrize("seed", range(6))
def test_random_profiles_decide_as_they_say(seed: int) -> None:
    check(random_profile(random.Random(seed)), "x86_64")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_profiles_decide_as_they_say(seed: int) -> None:
    check(random_profile(random.Random(seed)), "x86_64", (0xFFFFFFFF, 0x7FFFFFFF))


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"defaultAction": "SCMP_ACT_FLY"}, InvalidInput, "unknown action"),
        ({"defaultAction": None}, InvalidInput, "unknown action"),
        ({"listenerPath": "/run/x"}, Unsupported, "listenerPath"),
        ({"architectures": ["SCMP_ARCH_PDP11"]}, Unsupported, "PDP11"),
        ({"syscalls": [{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}]}, Unsupported, "NOTIFY"),
        (
            {
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ]
            },
            InvalidInput,
            "index: expected a number from 0 to 5",
        ),
        (
            {
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}],
                    }
                ]
            },
            InvalidInput,
            "value: expected a number",
        ),
    ],
)
def test_bad_profile_is_refused(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []} | change
    with pytest.raises(kind, match=text):
        compile_profile(profile, "x86_64")


def test_profile_that_the_kernel_would_not_take_is_refused() -> None:
    argument = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 3, "valueTwo": 1}
    rules = [
        {
            "names": [name],
            "action": "SCMP_ACT_ALLOW",
            "args": [argument | {"value": number}, argument | {"index": 1}],
        }
        for number, name in enumerate(numbers("SCMP_ARCH_X86_64"))
    ]
    with pytest.raises(InvalidInput, match="4096 instructions"):
        compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, "x86_64")


def test_other_machine_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="riscv64"):
        default_profile(CAPABILITIES, "riscv64", KERNEL)


def test_flags_are_those_of_the_kernel() -> None:
    assert filter_flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}) == 2
    with pytest.raises(Unsupported, match="NEW_LISTENER"):
        filter_flags({"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]})


def test_filter_is_small_and_always_the_same() -> None:
    program = compile_profile(default_profile(CAPABILITIES, "x86_64", KERNEL), "x86_64")
    assert len(program) // 8 < 450
    assert struct.unpack_from("HBBI", program) == (0x20, 0, 0, 4)  # the architecture comes first
    again = compile_profile(default_profile(CAPABILITIES, "x86_64", KERNEL), "x86_64")
    assert hashlib.sha256(program).digest() == hashlib.sha256(again).digest()
