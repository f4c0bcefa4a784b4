"""docker's `--filter` for lists: values of one name are alternatives, but labels and names must all
hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from engine.errors import InvalidInput, NotFound
from engine.oci.reference import parse_reference

if TYPE_CHECKING:
    from engine.model.container import ContainerSummary
    from engine.model.image import ImageSummary

Filters = Sequence[tuple[str, str]]
T = TypeVar("T")
Test = Callable[[T, str], bool]


def filter_containers(
    rows: Sequence[ContainerSummary], filters: Filters, *, all: bool
) -> list[ContainerSummary]:
    """The containers that `ps` shows, of all that there are: running ones, unless `all` or a state
    is asked for. Raises InvalidInput for a filter, or a value, that it does not know, NotFound for
    a container in one."""
    for name, value in filters:
        if (name == "status" and value not in _STATES) or (
            name == "exited" and not value.removeprefix("-").isdecimal()
        ):
            raise InvalidInput(f"invalid filter '{name}={value}'", _VALUES[name])
        if name in ("publish", "expose"):
            _ports(value)
    moments = {
        value: _find(rows, value).created_ns
        for name, value in filters
        if name in ("before", "since")
    }
    tests: dict[str, Test[ContainerSummary]] = _CONTAINER_TESTS | {
        "before": lambda row, value: row.created_ns < moments[value],
        "since": lambda row, value: row.created_ns > moments[value],
    }
    shown = all or any(name == "status" for name, _ in filters)
    return _filter(tests, [row for row in rows if shown or row.state in _LIVE], filters)


def _find(rows: Iterable[ContainerSummary], ref: str) -> ContainerSummary:
    name = ref.removeprefix("/")
    found = [row for row in rows if row.name == name or (ref and row.id.startswith(ref))]
    if not found:
        raise NotFound(f"no such container: {ref[:200]}", "pydock ps -a lists them")
    return min(found, key=lambda row: row.name != name)


def filter_images(
    rows: Iterable[ImageSummary], filters: Filters, labels: Callable[[str], dict[str, str]]
) -> list[ImageSummary]:
    """The images that `images` shows; `labels` by image id. Raises InvalidInput for a filter it
    does not know."""
    tests: dict[str, Test[ImageSummary]] = {
        "dangling": lambda row, value: (not row.references) == (value.lower() in ("true", "1")),
        "reference": lambda row, value: any(_refers(name, value) for name in row.references),
        "label": lambda row, value: has_label(labels(row.id), value),
    }
    return _filter(tests, rows, filters)


def _filter(tests: dict[str, Test[T]], rows: Iterable[T], filters: Filters) -> list[T]:
    wanted: dict[str, list[str]] = {}
    for name, value in filters:
        if name not in tests:
            raise InvalidInput(
                f"invalid filter '{name}'", f"known ones: {', '.join(sorted(tests))}"
            )
        wanted.setdefault(name, []).append(value)

    def takes(row: T) -> bool:
        return all(
            (all if name == "label" else any)(tests[name](row, value) for value in values)
            for name, values in wanted.items()
        )

    return [row for row in rows if takes(row)]


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether a label is there, with its value if `wanted` names one."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _is_ancestor(row: ContainerSummary, wanted: str) -> bool:
    digits = wanted.removeprefix("sha256:")
    if digits and row.image_id.removeprefix("sha256:").startswith(digits):
        return True
    try:
        return parse_reference(row.image).full == parse_reference(wanted).full
    except InvalidInput:
        return False


def _refers(name: str, pattern: str) -> bool:
    """docker's path.Match over the familiar name, with and without the tag."""
    from fnmatch import fnmatchcase  # brings re: only when asked for

    repository = name.rpartition(":")[0]
    return fnmatchcase(name, pattern) or fnmatchcase(repository, pattern)


def _matches(text: str, pattern: str) -> bool:
    """docker's: the same, or an expression that is found in it."""
    import re

    try:
        return text == pattern or re.search(pattern, text) is not None
    except re.error:
        return False


def _ports(text: str) -> tuple[int, int, str]:
    """`80`, `8000-8010/udp`: the first, the last, the protocol. Raises InvalidInput."""
    numbers, _, protocol = text.partition("/")
    first, dash, last = numbers.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise InvalidInput(f"invalid port in filter: {text}", "PORT[-PORT][/tcp|udp]")
    return int(first), int(last or first), protocol or "tcp"


def _publishes(row: ContainerSummary, wanted: str) -> bool:
    first, last, protocol = _ports(wanted)
    return any(
        port.host_port and first <= port.host_port <= last and port.protocol == protocol
        for port in row.ports
    )


def _exposes(row: ContainerSummary, wanted: str) -> bool:
    first, last, protocol = _ports(wanted)
    return any(
        first <= port.container_port <= last and port.protocol == protocol for port in row.ports
    )


_LIVE = ("running", "paused")
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_VALUES = {"status": ", ".join(_STATES), "exited": "an exit code"}
_CONTAINER_TESTS: dict[str, Test[ContainerSummary]] = {
    "id": lambda row, value: _matches(row.id, value),
    "name": lambda row, value: _matches(row.name, value) or _matches(f"/{row.name}", value),
    "status": lambda row, value: row.state == value,
    "exited": lambda row, value: row.state == "exited" and str(row.exit_code) == value,
    "label": lambda row, value: has_label(dict(row.labels), value),
    "ancestor": _is_ancestor,
    "volume": lambda row, value: any(value in (each.name, each.target) for each in row.mounts),
    "network": lambda row, value: value in row.networks,
    "publish": _publishes,
    "expose": _exposes,
}
