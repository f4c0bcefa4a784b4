"""docker's rules for `--filter`."""

from collections.abc import Sequence

import pytest

from engine.errors import EngineError, InvalidInput, NotFound
from engine.model.container import ContainerID, ContainerSummary, Mount, PortMapping, State
from engine.services.filters import filter_containers, has_label


def container(
    name: str, number: int, state: State = "running", **fields: object
) -> ContainerSummary:
    made = ContainerSummary(
        ContainerID(f"{number:x}".ljust(64, "0")), name, "app:1", "sha256:abc", ("sh",), state,
        number,
    )  # fmt: skip
    return made._replace(**fields)  # type: ignore[arg-type]


ROWS = [
    container(
        "web-1", 0xC1, labels=(("role", "web"), ("zone", "a")), networks=("bridge",),
        ports=(PortMapping(80, "tcp", "", 8080), PortMapping(53, "udp", "", 5353)),
    ),
    container("web-2", 0xB1, labels=(("role", "web"),), networks=("mine",),
              mounts=(Mount("volume", "data", "/v/data", "/srv", False),)),
    container("db", 0xA1, "exited", exit_code=137, image="localhost/db:2", image_id="sha256:def"),
    container("new", 0xD1, "created", ports=(PortMapping(80),)),
    container("still", 0xE1, "paused"),
]  # fmt: skip


def names(*filters: tuple[str, str], all: bool = True) -> set[str]:
    return {row.name for row in filter_containers(ROWS, filters, all=all)}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], {"web-1", "web-2", "db", "new", "still"}),
        ([("name", "web")], {"web-1", "web-2"}),
        ([("name", "^web-1$")], {"web-1"}),
        ([("name", "^/web-1$")], {"web-1"}),
        ([("name", "/db")], {"db"}),
        ([("name", "web-1"), ("name", "db")], {"web-1", "db"}),
        ([("name", "[")], set()),
        ([("id", "c1")], {"web-1"}),
        ([("id", "c1" + "0" * 62)], {"web-1"}),
        ([("label", "role")], {"web-1", "web-2"}),
        ([("label", "role=web"), ("label", "zone=a")], {"web-1"}),
        ([("label", "role=")], set()),
        ([("status", "exited"), ("status", "created")], {"db", "new"}),
        ([("status", "dead")], set()),
        ([("exited", "137")], {"db"}),
        ([("exited", "0")], set()),
        ([("ancestor", "app:1")], {"web-1", "web-2", "new", "still"}),
        ([("ancestor", "localhost/db:2")], {"db"}),
        ([("ancestor", "sha256:de")], {"db"}),
        ([("ancestor", "")], set()),
        ([("ancestor", "NOT A NAME")], set()),
        ([("volume", "data")], {"web-2"}),
        ([("volume", "/srv")], {"web-2"}),
        ([("volume", "/")], set()),
        ([("network", "mine")], {"web-2"}),
        ([("before", "web-1")], {"web-2", "db"}),
        ([("since", "/web-1")], {"new", "still"}),
        ([("since", "b1"), ("before", "new")], {"web-1"}),
        ([("publish", "8080")], {"web-1"}),
        ([("publish", "80")], set()),
        ([("publish", "5000-6000/udp")], {"web-1"}),
        ([("expose", "80")], {"web-1", "new"}),
        ([("expose", "53")], set()),
    ],
)
def test_containers_are_chosen(filters: Sequence[tuple[str, str]], found: set[str]) -> None:
    assert names(*filters) == found


def test_only_a_state_brings_in_what_does_not_run() -> None:
    assert names(all=False) == {"web-1", "web-2", "still"}
    assert names(("name", "."), all=False) == {"web-1", "web-2", "still"}
    assert names(("exited", "137"), all=False) == set()
    assert names(("status", "exited"), all=False) == {"db"}
    assert names(("before", "db"), all=False) == set()  # one that is not shown may be named


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("colour", "red", InvalidInput, "invalid filter 'colour'"),
        ("status", "up", InvalidInput, "invalid filter 'status=up'"),
        ("exited", "x", InvalidInput, "invalid filter 'exited=x'"),
        ("before", "nobody", NotFound, "no such container: nobody"),
        ("since", "", NotFound, "no such container"),
        ("publish", "http", InvalidInput, "invalid port in filter: http"),
        ("expose", "1-x", InvalidInput, "invalid port in filter: 1-x"),
    ],
)
def test_what_is_no_filter_is_told(
    name: str, value: str, kind: type[EngineError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        names((name, value))
    assert caught.value.hint


@pytest.mark.parametrize("wanted", [("colour", "red"), ("status", "up"), ("publish", "x")])
def test_a_bad_filter_is_told_of_an_empty_list_too(wanted: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput, match="invalid"):
        filter_containers([], [wanted], all=True)


def test_labels_are_keys_or_pairs() -> None:
    labels = {"a": "1", "b": ""}
    assert has_label(labels, "a")
    assert has_label(labels, "a=1")
    assert has_label(labels, "b=")
    assert not has_label(labels, "a=")
    assert not has_label(labels, "c")
