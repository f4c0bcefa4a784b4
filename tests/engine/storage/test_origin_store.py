"""Where blobs have been seen."""

from collections.abc import Iterator

import pytest

from engine.home import open_home
from engine.oci.digest import Digest
from engine.storage.metadata import Database
from engine.storage.origin_store import OriginStore

pytestmark = pytest.mark.root
BLOB, ABSENT = Digest(f"sha256:{'a' * 64}"), Digest(f"sha256:{'b' * 64}")


@pytest.fixture
def origins(roots: tuple[str, str]) -> Iterator[OriginStore]:
    database = Database(open_home(*roots))
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO blob VALUES(?,1,'',0)", (BLOB,))
    yield OriginStore(database)
    database.close()


def test_the_nearest_neighbour_comes_first(origins: OriginStore) -> None:
    for path in ("other/x", "team/tool", "team/tool/base", "team/app"):
        origins.record([BLOB], "h:5000", path)
    origins.record([BLOB], "elsewhere", "team/tool/next")
    assert origins.neighbours(BLOB, "h:5000", "team/tool/next")[:3] == [
        "team/tool", "team/tool/base", "team/app",
    ]  # fmt: skip
    assert "team/tool" not in origins.neighbours(BLOB, "h:5000", "team/tool")
    assert ("elsewhere", "team/tool/next") in origins.find(BLOB)


def test_blobs_without_a_row_are_left_out(origins: OriginStore) -> None:
    origins.record([BLOB, ABSENT, BLOB], "h", "r")
    assert origins.find(BLOB) == [("h", "r")]
    assert origins.find(ABSENT) == []
