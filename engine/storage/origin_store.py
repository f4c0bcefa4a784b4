"""Where blobs have been seen: the repositories that we pulled them from or pushed them to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

from engine.oci.digest import Digest

if TYPE_CHECKING:
    from engine.storage.metadata import Database


class OriginStore:
    """Rows of (blob, registry host, repository)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, digest: Digest) -> list[tuple[str, str]]:
        """Host and repository, sorted."""
        return self._database.query(
            "SELECT host, repository FROM origin WHERE digest=? ORDER BY host, repository",
            (digest,),
        )

    def neighbours(self, digest: Digest, host: str, repository: str) -> list[str]:
        """Other repositories of that registry that had the blob; those with the longest path in
        common come first: who may push here, may most likely read there."""
        found = [path for at, path in self.find(digest) if at == host and path != repository]
        own = repository.split("/")

        def in_common(path: str) -> int:
            pairs = zip(path.split("/"), own, strict=False)
            return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

        return sorted(found, key=in_common, reverse=True)

    def record(self, digests: Iterable[Digest], host: str, repository: str) -> None:
        """These blobs are in the repository; those that the store has none of are left out."""
        with self._database.transaction() as cursor:
            cursor.executemany(
                "INSERT OR IGNORE INTO origin SELECT digest, ?2, ?3 FROM blob WHERE digest=?1",
                [(digest, host, repository) for digest in digests],
            )
