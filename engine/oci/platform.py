"""Which of an index's images runs on this host.

https://github.com/opencontainers/image-spec/blob/main/image-index.md · names and normal forms
as https://github.com/containerd/platforms writes them.
"""

import os
import re
from collections.abc import Iterable

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
}
_KNOWN = ("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")
# The psABI's levels by their names in /proc/cpuinfo.
_AMD64_LEVELS = (
    (2, frozenset(("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"))),
    (3, frozenset(("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"))),
    (4, frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))),
)
_NAME = r"[A-Za-z0-9_.-]{1,64}"


class Platform(NamedTuple):
    """In normal form: `amd64`, not `x86_64`; no variant where the first one is meant."""

    os: str
    architecture: str
    variant: str = ""
    features: tuple[str, ...] = ()  # what the image needs of the kernel; Windows uses it

    def __str__(self) -> str:
        return "/".join(filter(None, self[:3]))


def normalise(os_name: str, architecture: str, variant: str = "") -> Platform:
    """The platform in normal form."""
    architecture = architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant.lower() or implied
    if variant and not variant.startswith("v"):
        variant = f"v{variant}"
    if architecture == "arm" and not variant:
        variant = "v7"
    if (architecture, variant) in (("arm64", "v8"), ("arm64", "v8.0"), ("amd64", "v1")):
        variant = ""
    return Platform(os_name.lower(), architecture, variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64/v8`, or only a part of it: `arm64`, `linux/arm`. Raises InvalidInput."""
    parts = text.split("/")
    if len(parts) > 3 or not all(re.fullmatch(_NAME, part) for part in parts):
        raise InvalidInput(
            f"platform {text[:80]!r}: expected os/architecture[/variant]",
            "for example linux/amd64, linux/arm/v7",
        )
    if len(parts) > 1:
        return normalise(*parts)
    platform = normalise("linux", text)
    if platform.architecture in _KNOWN:
        return platform
    if text.lower() == "linux":
        return host_platform()
    raise InvalidInput(
        f"platform {text[:80]!r}: neither a known architecture nor linux",
        "for example linux/amd64, linux/arm/v7",
    )


def host_platform() -> Platform:
    """This host's, with the highest variant that its processor runs."""
    platform = normalise("linux", os.uname().machine)
    if platform.architecture != "amd64":
        return platform
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return platform._replace(variant=_amd64_variant(frozenset(line.split())))
    return platform


def _amd64_variant(flags: frozenset[str]) -> str:
    variant = ""
    for level, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        variant = f"v{level}"
    return variant


def runs_on(host: Platform) -> tuple[Platform, ...]:
    """What `host` runs, best first. 32-bit images on arm64 are left out: many servers cannot."""
    accepted = compatible_with(host)
    if host.architecture == "amd64":
        accepted += (Platform(host.os, "386"),)
    return accepted


def compatible_with(wanted: Platform) -> tuple[Platform, ...]:
    """`wanted` and its lesser variants, best first: what satisfies `--platform`."""
    variants: list[str] = [wanted.variant]
    match (wanted.architecture, re.fullmatch(r"v([0-9]{1,2})(?:\.([0-9]{1,2}))?", wanted.variant)):
        case "amd64", re.Match() as level:
            variants = [f"v{n}" for n in range(int(level[1]), 1, -1)] + [""]
        case "arm", re.Match() as level:
            variants = [f"v{n}" for n in range(int(level[1]), 4, -1)] or variants
        case "arm64", re.Match() as level:
            variants = _arm64_variants(int(level[1]), int(level[2] or 0))
    return tuple(Platform(wanted.os, wanted.architecture, variant) for variant in variants)


def _arm64_variants(major: int, minor: int) -> list[str]:
    """v9.x contains v8.(x+5), as the architecture's manual has it."""
    variants: list[str] = []
    if major >= 9:
        variants += [f"v9.{n}" if n else "v9" for n in range(minor, -1, -1)]
        minor += 5
    return variants + [f"v8.{n}" for n in range(minor, 0, -1)] + [""]


def best(accepted: tuple[Platform, ...], offered: Iterable[Platform]) -> int | None:
    """The position in `offered` of what `accepted` ranks first; ties go to the first listed."""
    ranks = {platform: rank for rank, platform in enumerate(accepted)}
    found = [
        (ranks[platform._replace(features=())], position)
        for position, platform in enumerate(offered)
        if platform._replace(features=()) in ranks and not platform.features
    ]
    return min(found)[1] if found else None
