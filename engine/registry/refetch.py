"""A blob of the store fetched once more, from where it was seen before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.engine import Cancel
from engine.errors import Corrupt, EngineError, NotFound
from engine.oci.descriptor import Descriptor, document_kind
from engine.oci.reference import Reference
from engine.registry.client import Repository
from engine.registry.hosts import Hosts
from engine.registry.timeouts import Timeouts

if TYPE_CHECKING:
    from engine.storage.content import Content

_READ_BYTES = 256 << 10


def refetch(
    content: Content,
    blob: Descriptor,
    origins: Sequence[tuple[str, str]],
    *,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> None:
    """The blob is in its place, right and on the disk; there was no file before. `origins` are
    registry hosts and repositories, tried in turn. Raises NotFound without any, else what the last
    one raised."""
    failure: EngineError = NotFound(
        f"blob {blob.digest}: nobody knows where it came from", "pull or load its image again"
    )
    for host, path in origins:
        reference = Reference(host, path, None, blob.digest)
        repository = Repository(reference, hosts or Hosts(), timeouts or Timeouts(), Cancel())
        with contextlib.closing(repository):
            try:
                _fetch(content, blob, repository)
            except EngineError as error:
                failure = error
            else:
                return
    raise failure


def _fetch(content: Content, blob: Descriptor, repository: Repository) -> None:
    ingest = content.ingest(blob.digest, blob.size_bytes)
    if ingest is None:  # somebody pulls it just now
        return
    with ingest:
        ingest.restart()
        if document_kind(blob.media_type) is not None:
            ingest.write(repository.get_manifest(blob.digest).data)
        else:
            with repository.open_blob(blob, 0) as answer:
                while data := answer.response.read1(_READ_BYTES):
                    ingest.write(data)
        if ingest.offset < blob.size_bytes:
            raise Corrupt(f"blob {blob.digest}: the answer ended too early", "try again")
        if os.environ.get("PYDOCK_SYNC") != "off":
            os.fsync(ingest.descriptor)
        ingest.commit()
