"""docker's `--filter` for lists: values of one name are alternatives, names must all hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from engine.errors import InvalidInput
from engine.oci.reference import parse_reference

if TYPE_CHECKING:
    from engine.model.container import ContainerSummary
    from engine.model.image import ImageSummary

Filters = Sequence[tuple[str, str]]
T = TypeVar("T")
Test = Callable[[T, str], bool]


def filter_containers(rows: Iterable[ContainerSummary], filters: Filters) -> list[ContainerSummary]:
    """The containers that `ps` shows. Raises InvalidInput for a filter it does not know."""
    return _filter(_CONTAINER_TESTS, rows, filters)


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
    return [
        row
        for row in rows
        if all(any(tests[name](row, value) for value in values) for name, values in wanted.items())
    ]


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether a label is there, with its value if `wanted` names one."""
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


_CONTAINER_TESTS: dict[str, Test[ContainerSummary]] = {
    "id": lambda row, value: row.id.startswith(value),
    "name": lambda row, value: value.removeprefix("/") in row.name,
    "status": lambda row, value: row.state == value,
    "exited": lambda row, value: row.state == "exited" and str(row.exit_code) == value,
    "label": lambda row, value: has_label(dict(row.labels), value),
    "ancestor": _is_ancestor,
    "volume": lambda row, value: any(value in (each.name, each.target) for each in row.mounts),
    "network": lambda row, value: value in row.networks,
}
