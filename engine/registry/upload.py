"""Blobs and documents into a repository: one function per row of the specification's part on push.

    HEAD: is it there → POST: mount it from a neighbour, or begin → PUT, or PATCH … and PUT

A blob goes up in one PUT. When that breaks, the registry is asked how much it has: then the rest
follows in pieces, so that a bad link makes progress. What it does not take up begins anew.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from email.message import Message
from functools import partial
from typing import NoReturn
from urllib.parse import quote

from engine.errors import (
    Conflict,
    Corrupt,
    EngineError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from engine.oci.descriptor import OCI_INDEX, Descriptor
from engine.oci.digest import Digest
from engine.registry.client import Repository
from engine.registry.origin import join_url
from engine.registry.refusal import named, raise_if_transient, words
from engine.registry.retry import Retry, Transient
from engine.registry.subject import read_index, subject_of, with_referrer
from engine.registry.timeouts import Timeouts
from engine.registry.transport import Response
from engine.storage.file_bytes import ReadAt

PIECE_BYTES = 16 << 20  # where a registry does not want more
_MANY_BYTES = 10 << 20  # worth more than one try to mount
_MOUNT_TRIES = 3
_REFERRER_TRIES = 3
_OCTETS = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
# They answer a PATCH, and lose what came with it (aws/containers-roadmap#2831), or know none.
_WHOLE_ONLY = re.compile(r"\.dkr\.ecr[.-]|^public\.ecr\.aws$|(?:^|\.)gcr\.io$|\.pkg\.dev$")
_FORGOTTEN = frozenset(("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"))


class MissingBlobs(Exception):
    """The registry says that a manifest names what it does not have."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


class _Session:
    """An upload that the registry has begun; `url` changes with every answer."""

    def __init__(self, url: str, piece_bytes: int) -> None:
        self.url = url
        self.piece_bytes = piece_bytes
        self.offset = 0


class _Piece:
    """Part of a blob, as the body of a request."""

    def __init__(
        self, source: ReadAt, start: int, size_bytes: int, on_bytes: Callable[[int], None]
    ) -> None:
        self.size_bytes = size_bytes
        self._source = source
        self._start = start
        self._done = 0
        self._on_bytes = on_bytes

    def rewind(self) -> None:
        self._done = 0

    def read(self, size: int = -1, /) -> bytes:
        left = self.size_bytes - self._done
        data = self._source.read_at(self._start + self._done, left if size < 0 else min(size, left))
        if left and not data:
            raise Corrupt("layer: it is shorter than its descriptor says", "pydock fsck --repair")
        self._done += len(data)
        self._on_bytes(self._start + self._done)
        return data


class _Nothing:
    def read_at(self, offset: int, size: int) -> bytes:
        return b""

    def close(self) -> None:
        pass


_NOTHING = _Nothing()


class Uploads:
    """What goes into one repository. Safe from any thread."""

    def __init__(self, repository: Repository, timeouts: Timeouts) -> None:
        self._repository = repository
        self._timeouts = timeouts

    def has_blob(self, digest: Digest) -> bool:
        """True when the repository has it; False also where it does not say."""
        with self._repository.request("HEAD", f"blobs/{digest}") as response:
            raise_if_transient(response, b"", self._repository.reference.domain)
            return response.status == 200

    def put_blob(
        self,
        blob: Descriptor,
        source: ReadAt,
        retry: Retry,
        on_bytes: Callable[[int], None],
        neighbours: Sequence[str] = (),
    ) -> str:
        """The repository has the blob: shared with one of `neighbours`, repositories of the same
        registry, which comes back then; or sent, which is "". Raises Unavailable, Corrupt (other
        bytes arrived), NotFound (no such repository), InvalidInput, Unsupported, Cancelled."""
        upload = _Upload(self._repository, self._timeouts, blob, source, retry, on_bytes)
        return upload.run(neighbours)

    def mount_blob(self, blob: Descriptor, retry: Retry, neighbours: Sequence[str]) -> str:
        """As `put_blob`, but "" when none of them lends it: nothing is sent."""
        upload = _Upload(self._repository, self._timeouts, blob, _NOTHING, retry, lambda sent: None)
        return upload.mount_only(neighbours)

    def put_manifest(self, target: str, document: Descriptor, data: bytes) -> None:
        """The repository has the document, under `target` (a tag, or its digest), and what it is
        about leads to it. Raises MissingBlobs, and as `put_blob`."""
        headers = self._put_document(target, document.media_type, data)
        stored = headers.get("Docker-Content-Digest", "").strip()
        if stored and stored != document.digest:
            raise Corrupt(
                f"manifest {target}: digest mismatch: sent {document.digest}, the registry stored "
                f"{stored[:80]}",
                "a proxy on the way changes what it carries",
            )
        subject = subject_of(document, data)
        if subject is not None and "OCI-Subject" not in headers:
            self._add_referrer(subject.replace(":", "-"), document, data)

    def _put_document(self, target: str, media_type: str, data: bytes, etag: str = "") -> Message:
        headers = {"Content-Type": media_type} | ({"If-Match": etag} if etag else {})
        response = self._repository.request("PUT", f"manifests/{target}", headers, data)
        if response.status not in (200, 201, 202):
            refuse(self._repository, self._timeouts, response, f"manifest {target}")
        response.close()
        return response.headers

    def _add_referrer(self, tag: str, document: Descriptor, data: bytes) -> None:
        """Where the registry says so, nobody else's change is lost: then it is read again."""
        for left in reversed(range(_REFERRER_TRIES)):
            index, etag = read_index(self._repository, tag)
            more = with_referrer(index, document, data)
            if more is None:
                return
            try:
                self._put_document(tag, OCI_INDEX, more, etag)
                return
            except Conflict:
                if not left:
                    raise


class _Upload:
    """One blob on its way, over as many connections as it takes."""

    def __init__(
        self,
        repository: Repository,
        timeouts: Timeouts,
        blob: Descriptor,
        source: ReadAt,
        retry: Retry,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._repository = repository
        self._timeouts = timeouts
        self._blob = blob
        self._what = f"layer {blob.digest.partition(':')[2][:12]}"
        self._source = source
        self._retry = retry
        self._on_bytes = on_bytes
        self._most = 0  # that was sent at any time: a bar never runs back
        self._session: _Session | None = None
        self._is_broken = False  # it was, once: go on carefully
        self._in_pieces = takes_pieces(repository.reference.domain)

    def run(self, neighbours: Sequence[str]) -> str:
        try:
            if mounted := self._mount(neighbours):
                return mounted
            self._retry.run(self._try)
            return ""
        except BaseException:
            self._cancel()
            raise

    def mount_only(self, neighbours: Sequence[str]) -> str:
        try:
            return self._mount(neighbours)
        finally:
            self._cancel()

    def _mount(self, neighbours: Sequence[str]) -> str:
        """The neighbour that it is shared with now. A registry that cannot do it begins an upload
        instead, which is as good as another one."""
        tries = _MOUNT_TRIES if self._blob.size_bytes > _MANY_BYTES else 1
        for name in neighbours[:tries]:
            query = f"mount={quote(self._blob.digest)}&from={quote(name, safe='')}"
            try:
                response = self._retry.run(partial(self._post, f"blobs/uploads/?{query}"))
            except (NotFound, InvalidInput):  # we may not read there
                continue
            if response.status == 202:
                self._session = self._new_session(response)
                return ""
            response.close()
            if response.status == 201:
                return name
        return ""

    def _post(self, target: str) -> Response:
        response = self._repository.request("POST", target, {"Content-Length": "0"})
        raise_if_transient(response, b"", self._repository.reference.domain)
        return response

    def _try(self) -> None:
        if self._is_broken:
            if Uploads(self._repository, self._timeouts).has_blob(self._blob.digest):
                return  # only its answer was lost
            self._take_up()
        session = self._session or self._begin()
        self._session = session
        try:
            self._send(session)
        except Transient as failure:
            self._is_broken = True
            raise Transient(
                Unavailable(
                    f"{self._what}, {session.offset} of {self._blob.size_bytes} bytes are there: "
                    f"{failure.error.message}",
                    failure.error.hint,
                ),
                failure.after_seconds,
            ) from failure

    def _begin(self) -> _Session:
        response = self._post("blobs/uploads/")
        if response.status != 202:
            self._refuse(response)
        return self._new_session(response)

    def _new_session(self, response: Response) -> _Session:
        with response:
            wanted = response.headers.get("OCI-Chunk-Min-Length", "").strip()
            least = int(wanted[:18]) if wanted.isascii() and wanted.isdecimal() else 0
            session = _Session("", max(PIECE_BYTES, least))
            self._follow(session, response)
        return session

    def _follow(self, session: _Session, response: Response) -> None:
        """The address of the next request: as it comes, but absolute."""
        location = response.headers.get("Location", "")
        if location:
            session.url = join_url(response.url, location)
        elif not session.url:
            raise Unavailable(
                f"registry {self._repository.reference.domain}: it does not say where to upload to",
                "it may not be a registry",
            )

    def _take_up(self) -> None:
        """The session stands where the registry says that it does, or there is none."""
        session, self._session = self._session, None
        if session is None or not self._in_pieces:
            return
        with self._repository.request("GET", session.url) as response:
            raise_if_transient(response, b"", self._repository.reference.domain)
            end = self._end_of(response)
            if response.status not in (200, 202, 204) or end is None:
                return
            self._follow(session, response)
        if end > session.offset:
            self._retry.refill()
        session.offset = end
        self._session = session

    def _end_of(self, response: Response) -> int | None:
        """How many bytes the registry has. `0-0` may be none or one: a layer has more."""
        match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
        if not match or int(match[1]) >= self._blob.size_bytes:
            return None
        return int(match[1]) + 1 if int(match[1]) else 0

    def _sent(self, offset: int) -> None:
        self._most = max(self._most, offset)
        self._on_bytes(self._most)

    def _send(self, session: _Session) -> None:
        size = self._blob.size_bytes
        self._sent(session.offset)
        careful = self._is_broken and self._in_pieces and size > session.piece_bytes
        while session.offset < size and (session.offset or careful):
            self._send_piece(session)
        self._close_with(session, size - session.offset)

    def _send_piece(self, session: _Session) -> None:
        start, size = session.offset, self._blob.size_bytes
        count = min(session.piece_bytes, size - start)
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{start}-{start + count - 1}"}
        piece = _Piece(self._source, start, count, self._sent)
        response = self._repository.request("PATCH", session.url, headers, piece)
        if response.status not in (201, 202, 204):
            self._refuse(response)
        with response:
            self._follow(session, response)
            match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
        session.offset = int(match[1]) + 1 if match else start + count
        if not start < session.offset <= size:
            raise self._lost(f"it says that it has {session.offset} bytes after {start + count}")
        self._retry.refill()

    def _close_with(self, session: _Session, count: int) -> None:
        """The last request: with all of the blob, or with none of it."""
        url = f"{session.url}{'&' if '?' in session.url else '?'}digest={quote(self._blob.digest)}"
        headers = {"Content-Type": _OCTETS}
        piece = _Piece(self._source, session.offset, count, self._sent)
        response = self._repository.request("PUT", url, headers, piece)
        if response.status not in (200, 201, 204):
            self._refuse(response)
        response.close()
        self._session = None

    def _refuse(self, response: Response) -> NoReturn:
        """As `refuse`; but an upload that the registry has forgotten is only begun anew."""
        if response.status in (400, 404, 416) and self._session is not None:
            with response:
                body = response.read_up_to(self._timeouts.error_bytes)
            codes = _codes(body)
            is_mixed = "DIGEST_INVALID" in codes and self._is_broken and self._in_pieces
            if response.status == 416 or codes & _FORGOTTEN or is_mixed:
                self._in_pieces &= not is_mixed  # it does not put pieces together well
                raise self._lost(f"answers {named(response.status)}{words(body)}")
            refuse(self._repository, self._timeouts, response, self._what, body)
        refuse(self._repository, self._timeouts, response, self._what)

    def _lost(self, reason: str) -> Transient:
        self._session = None
        domain = self._repository.reference.domain
        return Transient(Unavailable(f"registry {domain}: it lost the upload: {reason}"))

    def _cancel(self) -> None:
        """Tells the registry that nothing more will come; whatever it answers."""
        session, self._session = self._session, None
        if session is not None:
            try:
                self._repository.request("DELETE", session.url).close()
            except (EngineError, Transient):
                return


def takes_pieces(domain: str) -> bool:
    """Whether a blob may go to that registry in more requests than one."""
    return not _WHOLE_ONLY.search(domain.partition(":")[0])


def refuse(
    repository: Repository,
    timeouts: Timeouts,
    response: Response,
    what: str,
    body: bytes | None = None,
) -> NoReturn:
    """Raises what a person is told when `what` is not taken, or Transient. Closes `response`."""
    with response:
        if body is None:
            body = response.read_up_to(timeouts.error_bytes)
    domain, path, status = repository.reference.domain, repository.reference.path, response.status
    raise_if_transient(response, body, domain)
    codes, text = _codes(body), words(body)
    said = f"registry {domain}: {what}: {named(status)}{text}"
    if codes & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}:
        raise MissingBlobs(Unavailable(said, "push again"))
    if status in (401, 402, 403, 507) and re.search("quota|exceed", text, re.IGNORECASE):
        raise Unavailable(said, "the quota is used up: delete images there, or have it raised")
    if status in (401, 403):
        raise repository.server.authorizer.refusal()
    if "DIGEST_INVALID" in codes:
        raise Corrupt(
            f"registry {domain}: {what}: digest mismatch: other bytes arrived there",
            "pydock fsck tells whether the store is damaged; else a proxy altered them",
        )
    if status == 413:
        raise InvalidInput(f"{said}: too large", "a proxy before the registry sets that limit")
    if status in (409, 412) or "immutable" in text.lower():
        raise Conflict(said, "the tag may be immutable: push under another one")
    if status == 405 or "UNSUPPORTED" in codes:
        raise Unsupported(said, "it may be a mirror, which only gives")
    if status == 415 or "MANIFEST_INVALID" in codes:
        raise Unsupported(said, "this registry does not take this kind of image")
    if status == 404 or "NAME_UNKNOWN" in codes:
        raise NotFound(said, f"check the name; some registries want {path} created first")
    raise Unavailable(said)


def _codes(body: bytes) -> frozenset[str]:
    """The specification's words for what went wrong: BLOB_UNKNOWN …"""
    try:
        return frozenset(str(error.get("code")) for error in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()
