"""docker's `--filter` for lists: values of one name are alternatives, names must all hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.oci.reference import parse_reference

if TYPE_CHECKING:
    from engine.model.container import ContainerSummary
    from engine.model.image import ImageSummary

Filters = Sequence[tuple[str, str]]


def matches(row: ContainerSummary, filters: Filters) -> bool:
    """Whether `ps` shows this container. Raises InvalidInput for a filter it does not know."""
    tests: dict[str, Callable[[str], bool]] = {
        "id": row.id.startswith,
        "name": lambda value: value.removeprefix("/") in row.name,
        "status": lambda value: row.state == value,
        "exited": lambda value: row.state == "exited" and str(row.exit_code) == value,
        "label": lambda value: _has_label(dict(row.labels), value),
        "ancestor": lambda value: _is_ancestor(row, value),
        "volume": lambda value: any(value in (each.name, each.target) for each in row.mounts),
        "network": lambda value: value in row.networks,
    }
    return _all(tests, filters)


def image_matches(
    row: ImageSummary, filters: Filters, labels: Callable[[str], dict[str, str]]
) -> bool:
    """Whether `images` shows this image. Raises InvalidInput for a filter it does not know."""
    tests: dict[str, Callable[[str], bool]] = {
        "dangling": lambda value: (not row.references) == (value.lower() in ("true", "1")),
        "reference": lambda value: any(_refers(name, value) for name in row.references),
        "label": lambda value: _has_label(labels(row.id), value),
    }
    return _all(tests, filters)


def _all(tests: dict[str, Callable[[str], bool]], filters: Filters) -> bool:
    wanted: dict[str, list[str]] = {}
    for name, value in filters:
        if name not in tests:
            raise InvalidInput(
                f"invalid filter '{name}'", f"known ones: {', '.join(sorted(tests))}"
            )
        wanted.setdefault(name, []).append(value)
    return all(any(tests[name](value) for value in values) for name, values in wanted.items())


def _has_label(labels: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _is_ancestor(row: ContainerSummary, wanted: str) -> bool:
    if row.image_id.removeprefix("sha256:").startswith(wanted.removeprefix("sha256:")):
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
