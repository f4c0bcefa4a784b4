"""F: the base image, stages, and what the config says."""

from __future__ import annotations

import re

from engine.layers.advisor.commands import dockerfile_line
from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path
from engine.layers.files import LiveFile

F01 = Rule("F01", "heavy base image", "advice", "S4")
F02 = Rule(
    "F02", "built and run in one stage", "advice", "S3",
    "FROM … AS build\nCOPY . /src\nRUN build\nFROM …-slim\nCOPY --from=build /src/app /app",
)  # fmt: skip
F04 = Rule("F04", "tag that moves", "advice", "S1")
F05 = Rule(
    "F05", "variables of the build", "advice", "S1",
    "ARG NAME=value instead of ENV, or RUN NAME=value command",
)  # fmt: skip
F06 = Rule(
    "F06", "files below a VOLUME", "likely", "S3",
    "They are copied into every new volume: leave them out, or drop the VOLUME.",
)  # fmt: skip

_SLIM = {
    "debian": "debian:{}-slim", "python": "python:{}-slim", "node": "node:{}-slim",
    "openjdk": "openjdk:{}-slim", "ruby": "ruby:{}-slim", "perl": "perl:{}-slim",
    "php": "php:{}-alpine", "golang": "golang:{}-alpine", "ubuntu": "debian:stable-slim",
    "rust": "rust:{}-slim", "nginx": "nginx:{}-alpine", "postgres": "postgres:{}-alpine",
}  # fmt: skip
_BUILD_ONLY = re.compile(
    r"DEBIAN_FRONTEND|[A-Z0-9_]*(?:_SHA256|_SHA512|_GPG_KEYS?|_CHECKSUM|_DOWNLOAD_URL)"
)
_COMPILERS = (
    b"usr/bin/gcc",
    b"usr/local/go/bin/go",
    b"usr/local/cargo/bin/cargo",
    b"usr/bin/javac",
)


def find_volume_files(case: Case, ledger: Ledger) -> None:
    volumes = case.config.volumes if case.config else ()
    prefixes = tuple(
        volume.strip("/").encode("utf-8", "surrogateescape") + b"/"
        for volume in volumes
        if volume.strip("/")
    )
    if prefixes:
        claim_by_path(
            case, ledger,
            (PathRule(F06, b"(?:" + b"|".join(map(re.escape, prefixes)) + b").+"),),
        )  # fmt: skip


def note_choices(case: Case, ledger: Ledger) -> None:
    """Advice whose bytes only another build could tell."""
    _note_base(case, ledger)
    compilers = [path for path in _COMPILERS if path in case.files.by_path]
    copied = any("--from=" in dockerfile_line(step) for step in case.history)
    if compilers and not copied:
        ledger.note(F02, paths=compilers)
    tag = case.reference.rpartition("/")[2].partition(":")[2]
    if tag == "latest":
        ledger.note(F04, fix=f"Name a version, or a digest, instead of {case.reference}.")
    variables = case.config.env if case.config else ()
    names = [each.partition("=")[0] for each in variables]
    names = [name for name in names if _BUILD_ONLY.fullmatch(name)]
    if names:
        ledger.note(F05, fix=f"{F05.fix}\nvariables: {', '.join(names)}")


def _note_base(case: Case, ledger: Ledger) -> None:
    """A smaller variant of what the base seems to be."""
    base = range(case.base_layers)
    layers = {at: _live_bytes(case, at) for at in base}
    name, version = _base_name(case)
    template = _SLIM.get(name)
    if template is None or not layers:
        return
    slim = template.format(version or "stable")
    ledger.note(F01, layers=layers, fix=f"FROM {slim}")


def _live_bytes(case: Case, layer: int) -> int:
    files: list[LiveFile] = case.files.live
    return sum(file.size_bytes for file in files if file.layer == layer)


def _base_name(case: Case) -> tuple[str, str]:
    """(name, version) by what official images set: PYTHON_VERSION, NODE_VERSION …"""
    variables = dict(each.partition("=")[::2] for each in (case.config.env if case.config else ()))
    for name in ("python", "node", "golang", "ruby", "php", "rust", "perl"):
        version = variables.get(f"{name.upper()}_VERSION")
        if version and "SLIM" not in version.upper():
            return name, version
    if b"etc/debian_version" in case.files.by_path:
        return "debian", ""
    return "", ""
