"""P: what package managers leave behind, and packages that nobody needs at run time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from engine.layers.advisor.commands import appended
from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path, main_layer
from engine.layers.contents import read
from engine.layers.packages import Installed, parse_stanzas

P01 = Rule("P01", "lists of apt", "certain", "S1")
P02 = Rule("P02", "caches of apt", "certain", "S1")
P03 = Rule("P03", "packages that are only recommended", "likely", "S3")
P04 = Rule("P04", "packages that nothing needs any more", "likely", "S3")
P05 = Rule("P05", "compilers and build tools", "likely", "S3")
P06 = Rule("P06", "cache of apk", "certain", "S1", "apk add --no-cache PACKAGES")
P07 = Rule("P07", "caches of dnf, yum or zypper", "certain", "S1")
P09 = Rule("P09", "logs, backups and caches of the system", "certain", "S1")
P10 = Rule(
    "P10", "lastlog blown up by a high uid", "certain", "S1",
    "useradd --no-log-init (-l), or a uid below 60000",
)  # fmt: skip

_APT_LISTS = b"var/lib/apt/lists/.+"
_APT_CACHE = b"var/cache/apt/.+"
_LOGS = (
    rb"var/log/.+|var/lib/dpkg/[^/]+-old|var/cache/debconf/[^/]+-old"
    rb"|var/cache/(?:man|ldconfig|fontconfig)/.+"
)
_BUILD = re.compile(
    r"(?!.+-base$)(?:gcc|g\+\+|cpp|clang|llvm|lld|binutils|make|cmake|meson|ninja-build|build-essential|"
    r"build-base|dpkg-dev|autoconf|automake|libtool|pkg-?config|pkgconf|patch|bison|flex|gdb|strace|"
    r"git|subversion|mercurial|musl-dev|gcc-c\+\+|gfortran|kernel-headers|glibc-devel|"
    r"lib(?:a|t|ub|l)san\d*|libgcc-\d+-dev|libcc1-\d+|"
    r"(?:gcc|g\+\+|cpp|clang|llvm|lld|binutils|gfortran)-.+|linux-(?:headers|libc-dev|kbuild).*|"
    r".+-(?:dev|devel|headers))"
)
_NAME_END = re.compile(r"[ (:]")


def find_caches(case: Case, ledger: Ledger) -> None:
    """What is left over after an installation."""
    lists = "rm -rf /var/lib/apt/lists/*"
    rules = [
        _rule(P01, _APT_LISTS, lists, f"RUN apt-get update && … && {lists}"),
        _rule(P02, _APT_CACHE, "rm -rf /var/cache/apt/*", "RUN … && apt-get clean"),
        PathRule(P06, rb"(?:var/cache|etc)/apk/cache/.+|var/cache/apk/.+"),
        _rule(
            P07,
            rb"var/cache/(?:yum|dnf|zypp|libdnf5)/.+|var/lib/dnf/history.*",
            "dnf clean all",
            "RUN … && dnf clean all",
        ),
        PathRule(P10, rb"var/log/(?:lastlog|faillog)", least_bytes=1_000_000),
        _rule(
            P09, _LOGS, "rm -rf /var/log/* /var/cache/debconf/*-old", "RUN … && rm -rf /var/log/*"
        ),
    ]
    claim_by_path(case, ledger, rules)


def _rule(rule: Rule, pattern: bytes, command: str, other: str) -> PathRule:
    return PathRule(
        rule, pattern, fix=lambda case, layer: appended(case.line(layer), command) or other
    )


def find_packages_without_need(case: Case, ledger: Ledger) -> None:
    """Packages by how they came, and by what they are for."""
    debs = [each for each in case.packages if each.kind == "deb"]
    if debs:
        _find_unneeded_debs(case, ledger, debs)
    tools = [each for each in case.packages if _BUILD.fullmatch(each.name)]
    _claim(
        case, ledger, P05, tools,
        "Build in a stage of its own, and copy what it made:\n"
        "FROM … AS build\nRUN …\nFROM …\nCOPY --from=build /app /app",
    )  # fmt: skip


def _find_unneeded_debs(case: Case, ledger: Ledger, debs: Sequence[Installed]) -> None:
    """By what apt knows of why each is here; an image without its notes says nothing."""
    states = case.files.by_path.get(b"var/lib/apt/extended_states")
    if states is None:
        return
    text = read(case.contents, [states]).get(states.node, b"").decode("utf-8", "replace")
    automatic = {
        fields["Package"]
        for fields in parse_stanzas(text)
        if fields.get("Auto-Installed") == "1" and "Package" in fields
    }
    graph = _Graph(debs)
    wanted = [
        each.name
        for each in debs
        if each.name not in automatic
        or each.fields.get("Essential") == "yes"
        or each.fields.get("Priority") in ("required", "important")
    ]
    hard = graph.closure(wanted, ("Depends", "Pre-Depends"))
    soft = graph.closure(wanted, ("Depends", "Pre-Depends", "Recommends", "Suggests"))
    only_recommended = [each for each in debs if each.name in soft - hard]
    orphans = [each for each in debs if each.name not in soft | hard]
    if only_recommended:
        files = [file for each in only_recommended for file in each.files]
        line = case.line(main_layer(files)) if files else ""
        changed = line.replace(
            "apt-get install", "apt-get install --no-install-recommends"
        ).replace("apt install", "apt install --no-install-recommends")
        fix = (
            f"-{line}\n+{changed}" if changed != line else "apt-get install --no-install-recommends"
        )
        _claim(case, ledger, P03, only_recommended, fix)
    _claim(case, ledger, P04, orphans, "RUN … && apt-get autoremove --purge -y")


def _claim(case: Case, ledger: Ledger, rule: Rule, packages: Sequence[Installed], fix: str) -> None:
    names = ", ".join(each.name for each in packages[:12])
    more = f" and {len(packages) - 12} more" if len(packages) > 12 else ""
    files = [file for each in packages for file in each.files]
    ledger.claim(rule, files, fix=f"{fix}\npackages: {names}{more}")


class _Graph:
    """Which packages need which."""

    def __init__(self, packages: Sequence[Installed]) -> None:
        self._fields: Mapping[str, Mapping[str, str]] = {
            each.name: each.fields for each in packages
        }
        self._provided: dict[str, list[str]] = {}
        for each in packages:
            for name in _names(each.fields.get("Provides", "")):
                self._provided.setdefault(name, []).append(each.name)

    def closure(self, names: Iterable[str], fields: Sequence[str]) -> set[str]:
        """All that `names` lead to, themselves included; of alternatives every one that is here."""
        seen: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name in seen or name not in self._fields:
                continue
            seen.add(name)
            for field in fields:
                for each in _names(self._fields[name].get(field, "")):
                    left += [each, *self._provided.get(each, ())]
        return seen


def _names(relation: str) -> list[str]:
    """Names of `a (>= 1), b | c`. deb-control(5)."""
    return [
        _NAME_END.split(each.strip())[0]
        for group in relation.split(",")
        for each in group.split("|")
        if each.strip()
    ]
