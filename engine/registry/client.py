"""A repository on a registry: one function per row of the distribution specification that we use.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NoReturn
from urllib.parse import quote

from engine.engine import Cancel
from engine.errors import Corrupt, EngineError, InvalidInput, NotFound, Unavailable, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci import manifest
from engine.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from engine.oci.digest import Digest, parse_digest, sha256_of
from engine.oci.reference import TAG, Reference
from engine.registry.hosts import Hosts
from engine.registry.pages import MAX_PAGES, follow_pages, next_page
from engine.registry.refusal import named, raise_if_transient, words
from engine.registry.retry import Transient
from engine.registry.secret import quote_foreign
from engine.registry.server import Server
from engine.registry.servers import OnNotice, Servers
from engine.registry.timeouts import Timeouts
from engine.registry.transport import Body, Response, Transport

_ACCEPT = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_PAGE = 100  # tags asked for at once
_HINTS = 100


class Document(NamedTuple):
    """A manifest or index as the registry sent it."""

    descriptor: Descriptor
    data: bytes


class Repository:
    """What a reference names, on its registry. Safe from any thread; all of it ends on cancel.

    `actions` is what tokens are asked for ("pull", "pull,push", "delete"); `readable` names other
    repositories of the registry whose blobs are mounted from. What a person should know meanwhile
    (a mirror that is passed over, a registry's warning) is passed to `notice`.
    """

    def __init__(
        self,
        reference: Reference,
        hosts: Hosts,
        timeouts: Timeouts,
        cancel: Cancel,
        *,
        actions: str = "pull",
        readable: Sequence[str] = (),
        notice: OnNotice | None = None,
    ) -> None:
        self.reference = reference
        self.transport = Transport(hosts, timeouts, cancel)
        self._timeouts = timeouts
        self._servers = Servers(
            reference, actions, readable, self.transport, hosts, timeouts, cancel, notice
        )

    @property
    def server(self) -> Server:
        """The registry itself."""
        return self._servers.registry

    @property
    def places(self) -> list[str]:
        """host[:port] of all who are asked, in their order: mirrors, then the registry."""
        servers = (*self._servers.mirrors, self._servers.registry)
        return [server.source.name for server in servers]

    def close(self) -> None:
        self.transport.close()
        self._servers.close()

    def head_manifest(self, target: str) -> Descriptor | None:
        """What a tag names now, without fetching it (Docker Hub does not count it). None when the
        registry does not say it: then GET, which also has the reason."""
        with self._ask_manifest("HEAD", target) as response:
            digest = response.headers.get("Docker-Content-Digest", "")
            size = response.headers.get("Content-Length", "")
            if response.status != 200 or not size.isdecimal():
                raise_if_transient(response, b"", self.reference.domain)
                return None
            try:
                return Descriptor(_media_type(response), parse_digest(digest.strip()), int(size))
            except (InvalidInput, Unsupported):
                return None

    def get_manifest(self, target: str) -> Document:
        """The manifest or index that a tag or digest names, its digest checked."""
        while True:
            try:
                return self._get_manifest(target)
            except (Corrupt, InvalidInput, Unavailable, Transient):
                if not self._servers.distrust(f"manifests/{target}", "gave no such manifest"):
                    raise

    def _get_manifest(self, target: str) -> Document:
        with self._ask_manifest("GET", target) as response:
            if response.status != 200:
                self._fail(response, "manifest", target)
            data = response.read(manifest.MAX_BYTES, "manifest")
            media_type = _media_type(response)
            claimed = response.headers.get("Docker-Content-Digest", "").strip()
        if media_type.startswith("text/html"):
            raise self._no_registry("it answers with a web page")
        wanted = target if ":" in target else claimed
        digest = _digest_like(data, wanted)
        if wanted and digest != wanted:
            raise Corrupt(
                f"manifest {target}: digest mismatch: expected {wanted[:80]}, got {digest}",
                "pull again; a proxy may have altered it",
            )
        return Document(Descriptor(media_type, digest, len(data)), data)

    def _ask_manifest(self, method: str, target: str) -> Response:
        is_tag = ":" not in target
        headers = {"Accept": _ACCEPT}
        return self._servers.ask(method, f"manifests/{target}", headers, names_tag=is_tag)

    def get_blob(self, descriptor: Descriptor, limit_bytes: int) -> bytes:
        """A small blob, its size and digest checked."""
        if descriptor.size_bytes > limit_bytes:
            raise InvalidInput(f"blob {descriptor.digest}: larger than {limit_bytes} bytes")
        while True:
            try:
                return self._get_blob(descriptor)
            except (Corrupt, Unavailable, Transient):
                if not self._servers.distrust(f"blobs/{descriptor.digest}", "gave other bytes"):
                    raise

    def _get_blob(self, descriptor: Descriptor) -> bytes:
        with self.open_blob(descriptor, 0) as blob:
            data = blob.response.read_up_to(descriptor.size_bytes + 1)
        if len(data) != descriptor.size_bytes or _digest_like(data, descriptor.digest) != (
            descriptor.digest
        ):
            raise Corrupt(
                f"blob {descriptor.digest}: the registry sent other bytes",
                "pull again; a proxy may have altered it",
            )
        return data

    def open_blob(self, descriptor: Descriptor, offset: int) -> Blob:
        """The blob's bytes from `offset` on, or from an earlier one if the server cannot: always
        asked of the registry itself, since an address that it once gave may have expired."""
        path = f"blobs/{descriptor.digest}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        self._servers.asked_before(path, offset)
        response = self._servers.ask("GET", path, headers, offset=offset)
        if offset and not _starts_at(response, offset, descriptor.size_bytes):
            response.close()
            offset = 0
            self._servers.distrust(path, "does not give what a Range asks for")
            response = self._servers.ask("GET", path, {})
        elif offset and response.status == 200:
            offset = 0
        try:
            if response.status not in (200, 206):
                self._fail(response, "blob", descriptor.digest)
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding.lower() not in ("", "identity"):
                raise Corrupt(
                    f"blob {descriptor.digest}: sent with Content-Encoding "
                    f"{quote_foreign(encoding, 40)}",
                    "a proxy on the way changes what it carries",
                )
        except BaseException:
            response.close()
            raise
        return Blob(response, offset)

    def find_tags(self) -> list[str]:
        """Some tags for a hint, of the first page; empty when the registry does not tell."""
        try:
            return list(islice(self.tags(), _HINTS))
        except (EngineError, Transient):
            return []

    def tags(self) -> Iterator[str]:
        """All tags, page by page, in the registry's order. Raises NotFound, Transient …"""

        def fail(response: Response, body: bytes) -> NoReturn:
            self._raise(response.status, body, "repository", self.reference.path)

        pages = follow_pages(
            lambda target: self.server.request("GET", target, {}),
            f"tags/list?n={_PAGE}",
            "tags",
            self.reference.domain,
            fail,
        )
        return (tag for tag in pages if isinstance(tag, str) and re.fullmatch(TAG, tag))

    def referrers(self, digest: Digest, artifact_type: str = "") -> list[Descriptor]:
        """What refers to the manifest `digest` as its subject: signatures, SBOMs …, of one type
        when that is given. A registry without the referrers API keeps them in the index under the
        tag `sha256-<hex>`. Raises Transient …"""
        found = self._ask_referrers(digest, artifact_type)
        if found is None:
            found = self._read_referrers_tag(digest)
        return [each for each in found if artifact_type in ("", each.artifact_type)]

    def _ask_referrers(self, digest: Digest, artifact_type: str) -> list[Descriptor] | None:
        """None where the API is missing. Some say so in their own way (GHCR: 303 to a page that is
        not there, or 429): whatever is no index counts."""
        target = f"referrers/{digest}"
        if artifact_type:
            target += f"?artifactType={quote(artifact_type, safe='')}"
        found: list[Descriptor] = []
        for _ in range(MAX_PAGES):
            with self.server.request("GET", target, {"Accept": OCI_INDEX}) as response:
                if response.status != 200 or _media_type(response) != OCI_INDEX:
                    return None
                data = response.read(manifest.MAX_BYTES, "referrers")
                url = next_page(response, self.reference.domain)
            found += _children(data)
            if url is None:
                return found
            target = url
        raise Unavailable(f"registry {self.reference.domain}: its pages of referrers have no end")

    def _read_referrers_tag(self, digest: Digest) -> list[Descriptor]:
        target = f"manifests/{digest.replace(':', '-')}"
        with self.server.request("GET", target, {"Accept": OCI_INDEX}) as response:
            if response.status == 404:
                return []
            if response.status != 200:
                self._fail(response, "referrers of", digest)
            return _children(response.read(manifest.MAX_BYTES, "referrers"))

    # Asked of the registry itself, never of a mirror.

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
    ) -> Response:
        """The answer, any status, after we are let in. `target` is a path below the repository
        ("blobs/uploads/"), or a URL that the registry gave (join_url of a Location): credentials
        go there only if it is the registry's own. Raises Transient, Unavailable, Cancelled …"""
        return self.server.request(method, target, headers or {}, body)

    def check(self, response: Response, good: Collection[int], what: str, target: str) -> None:
        """Nothing when the status is one of `good`. Else raises what a person is told of it, or
        Transient; closes `response` then."""
        if response.status not in good:
            with response:
                self._fail(response, what, target)

    def delete(self, target: str, kind: Literal["manifests", "blobs"] = "manifests") -> None:
        """A manifest (by digest: with every tag of it), a tag, or a blob is gone. Raises NotFound,
        Unsupported where the registry does not delete, Transient …"""
        with self.server.request("DELETE", f"{kind}/{target}", {}) as response:
            status = response.status
            if status in (200, 202, 204):
                return
            domain, what = self.reference.domain, kind.removesuffix("s")
            if status == 404:
                raise NotFound(f"{what} {target} is not in {domain}/{self.reference.path}")
            if status not in (400, 405):
                self._fail(response, what, target)
        if status == 400 and ":" not in target:
            raise Unsupported(
                f"registry {domain}: does not delete tags",
                "delete the manifest by its digest: all tags of it go then",
            )
        raise Unsupported(
            f"registry {domain}: does not delete, it answers {named(status)}",
            "who runs the registry can allow it",
        )

    # Failing.

    def _fail(self, response: Response, what: str, target: str) -> NoReturn:
        body = response.read(self._timeouts.error_bytes, "error")
        raise_if_transient(response, body, self.reference.domain)
        self._raise(response.status, body, what, target)

    def _raise(self, status: int, body: bytes, what: str, target: str) -> NoReturn:
        reference = self.reference
        name = f"{reference.domain}/{reference.path}"
        if status in (401, 403):
            raise self.server.authorizer.refusal()
        if status == 404 and what == "manifest":
            if not body.strip().startswith(b"{"):
                raise self._no_registry("it knows nothing of /v2/")
            raise NotFound(f"manifest for {reference.familiar} not found", self._hint(name))
        if status == 404 and what == "repository":
            raise NotFound(f"repository {name} not found", "check the name")
        if status == 404:
            raise NotFound(
                f"layer {target}: the manifest names it, but the registry does not have it",
                "push the image again",
            )
        raise Unavailable(
            f"registry {reference.domain}: answers {named(status)} for {what} {target}{words(body)}"
        )

    def _hint(self, name: str) -> str:
        """The next step when a tag is not there."""
        import difflib  # here: only a failure needs it

        tag = self.reference.tag or ""
        tags = self.find_tags() if tag and not self.reference.digest else []
        near = difflib.get_close_matches(tag, tags, n=3, cutoff=0.5) or tags[:3]
        if near:
            return f"it has {', '.join(near)}"
        return f"check the name; if {name} is private: pydock login {self.reference.domain}"

    def _no_registry(self, reason: str) -> EngineError:
        return Unavailable(
            f"{self.reference.domain} is not a registry: {reason}", "check the registry's name"
        )


class Blob:
    """A blob on its way: `offset` says where in it the first byte of `response` stands."""

    def __init__(self, response: Response, offset: int) -> None:
        self.response = response
        self.offset = offset

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, *exception: object) -> None:
        self.response.close()


def _starts_at(response: Response, offset: int, size_bytes: int) -> bool:
    """False for an answer to a Range request that must not be believed."""
    if response.status == 416:
        return False
    if response.status != 206:
        return True
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match or (int(match[1]), int(match[2])) != (offset, size_bytes - 1):
        return False
    return match[3] in ("*", str(size_bytes))


def _children(data: bytes) -> list[Descriptor]:
    document = manifest.parse_manifest(data, OCI_INDEX)
    return list(document.manifests) if isinstance(document, manifest.Index) else []


def _media_type(response: Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _digest_like(data: bytes, wanted: str) -> Digest:
    """The digest of `data`, by the algorithm that `wanted` names."""
    if wanted.startswith("sha512:"):
        return Digest(f"sha512:{hashlib.sha512(data).hexdigest()}")
    return sha256_of(data)
