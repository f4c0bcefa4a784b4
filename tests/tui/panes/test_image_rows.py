"""Images by repository: what is one, and what stands behind a row."""

import pytest

from engine.model.image import ImageSummary
from tui.panes.image_rows import Target, by_image, by_repository, repository, together

IMAGE = ImageSummary(
    "sha256:aa", ("app:1", "app:2", "other/app:1"), "", 0, 10, 10, 0, "linux", "amd64", "", 1, ()
)
NAMELESS = IMAGE._replace(id="sha256:bb", references=())


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("debian:bookworm", "debian"),
        ("localhost:5000/app", "localhost:5000/app"),
        ("localhost:5000/app:1", "localhost:5000/app"),
        ("app@sha256:0123", "app"),
        ("app:1@sha256:0123", "app"),
    ],
)
def test_a_port_is_no_tag(reference: str, name: str) -> None:
    assert repository(reference) == name


def test_an_image_is_one_row_or_as_many_as_it_has_names() -> None:
    images = (IMAGE, NAMELESS)
    assert [row.key for row in by_image(images).rows] == ["sha256:aa", "sha256:bb"]
    rows = by_repository(images).rows
    assert [row.key for row in rows] == ["sha256:bb", "app/", "app:1", "app:2", "other/app:1"]
    assert [row.depth for row in rows] == [0, 0, 1, 1, 0]


def test_a_repository_stands_for_its_own_names_only() -> None:
    targets = by_repository((IMAGE,)).targets
    assert targets["app/"] == (Target(IMAGE, ("app:1", "app:2")),)
    assert not targets["app/"][0].is_whole
    everything = together(target for each in targets.values() for target in each)
    assert everything == (Target(IMAGE, ("app:1", "app:2", "other/app:1")),)
    assert everything[0].is_whole
