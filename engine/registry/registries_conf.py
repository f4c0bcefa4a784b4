"""containers' registries.conf, version 2: other places for what a name begins with.

containers-registries.conf(5). Its short names are not used: a name without a registry is Docker
Hub's, as docker has it.
"""

from __future__ import annotations

import os

from engine.errors import InvalidInput, Unavailable
from engine.named_tuple import NamedTuple
from engine.registry.fields import Fields, read_toml
from engine.registry.source import Source, Trust, split_location

_PULL_FROM = ("all", "digest-only", "tag-only")
_UNCHECKED = Trust(unchecked=True)


class Mirror(NamedTuple):
    """A place to ask first."""

    location: str
    is_insecure: bool
    pull_from: str  # of _PULL_FROM


class Rule(NamedTuple):
    """What holds for names that begin with `prefix` ("*.example.com": for hosts that end so)."""

    prefix: str
    location: str  # takes the prefix's place; "" for the name as it is
    is_insecure: bool
    is_blocked: bool
    mirrors: tuple[Mirror, ...]
    file: str


class RegistriesConf:
    """The files of this machine and this person, later ones over earlier ones."""

    def __init__(self, etc: str, user: str) -> None:
        main = f"{user}/containers/registries.conf"
        if not os.path.exists(main):
            main = f"{etc}/containers/registries.conf"
        files = [main]
        for directory in (
            f"{etc}/containers/registries.conf.d",
            f"{user}/containers/registries.conf.d",
        ):
            names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
            files += [f"{directory}/{name}" for name in names if name.endswith(".conf")]
        self._rules: dict[str, Rule] = {}
        for file in files:
            document = read_toml(file)
            for fields in Fields(document or {}, file).array("registry"):
                rule = _parse(fields, file)
                self._rules[rule.prefix] = rule

    @property
    def rules(self) -> list[Rule]:
        return list(self._rules.values())

    def find(self, domain: str, path: str) -> tuple[Source, ...] | None:
        """The mirrors and the place of a repository; None when no rule is about it. Raises
        Unavailable when it is blocked."""
        name = f"{domain}/{path}"
        fitting = [rule for rule in self._rules.values() if _fits(rule.prefix, name)]
        if not fitting:
            return None
        rule = max(fitting, key=lambda each: len(each.prefix))
        if rule.is_blocked:
            raise Unavailable(
                f"registry {domain}: {rule.prefix} is blocked by {rule.file}",
                "whoever keeps that file has decided so",
            )
        found = []
        for mirror in rule.mirrors:
            source = _place(name, rule.prefix, mirror.location, mirror.is_insecure, rule.file)
            found.append(
                source._replace(
                    is_mirror=True,
                    resolves=mirror.pull_from != "digest-only",
                    pulls=mirror.pull_from != "tag-only",
                )
            )
        return (*found, _place(name, rule.prefix, rule.location, rule.is_insecure, rule.file))


def _fits(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        return name.partition("/")[0].endswith(prefix[1:])
    return name == prefix or name.startswith(f"{prefix}/")


def _place(name: str, prefix: str, location: str, is_insecure: bool, file: str) -> Source:
    if location and not prefix.startswith("*."):
        name = location + name[len(prefix) :]
    _, host, path = split_location(name, file)
    return Source(host, path, trust=_UNCHECKED if is_insecure else Trust())


def _parse(fields: Fields, file: str) -> Rule:
    location = fields.text("location").strip("/")
    prefix = fields.text("prefix").strip("/") or location
    if not prefix:
        raise InvalidInput(f"{file}: registry: neither a prefix nor a location")
    if "://" in prefix or "://" in location:
        raise InvalidInput(f"{file}: registry {prefix!r}: a name has no scheme", "drop it")
    if not location and not prefix.startswith("*."):
        location = prefix
    by_digest = fields.flag("mirror-by-digest-only")
    mirrors = []
    for each in fields.array("mirror"):
        place = each.text("location").strip("/")
        pull_from = each.text("pull-from-mirror", "digest-only" if by_digest else "all")
        if not place:
            raise InvalidInput(f"{file}: registry {prefix!r}: a mirror without a location")
        if pull_from not in _PULL_FROM:
            raise InvalidInput(
                f"{file}: registry {prefix!r}: pull-from-mirror {pull_from!r}",
                ", ".join(_PULL_FROM),
            )
        mirrors.append(Mirror(place, each.flag("insecure"), pull_from))
    return Rule(
        prefix, location, fields.flag("insecure"), fields.flag("blocked"), tuple(mirrors), file
    )
