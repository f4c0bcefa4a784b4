"""Digests: parsed at the border, trusted inside.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NewType

from engine.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from hashlib import _Hash

Digest = NewType("Digest", str)  # of the stored (compressed) bytes, "sha256:<64 hex>"
DiffID = NewType("DiffID", str)  # of the uncompressed tar
ChainID = NewType("ChainID", str)  # of a stack of diff_ids
ImageID = NewType("ImageID", str)  # of the image config: what docker calls the image's id

_LENGTHS = {"sha256": 64, "sha512": 128}
_GRAMMAR = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+"
_HEX = r"[0-9a-f]+"


def parse_digest(text: str) -> Digest:
    """`text` as a digest that is safe in a path or URL. Raises InvalidInput, Unsupported."""
    algorithm, _, value = text.partition(":")
    length = _LENGTHS.get(algorithm)
    if length is None:
        if re.fullmatch(_GRAMMAR, text):
            raise Unsupported(f"digest {text[:80]!r}: algorithm {algorithm!r}", "use sha256")
        raise InvalidInput(f"digest {text[:80]!r}: expected sha256:<64 hex digits>")
    if len(value) != length or not re.fullmatch(_HEX, value):
        raise InvalidInput(f"digest {text[:160]!r}: expected {algorithm}:<{length} hex digits>")
    return Digest(text)


def hasher(algorithm: str, data: bytes = b"") -> "_Hash":
    """A running hash that has seen `data`."""
    import hashlib  # here: it loads OpenSSL, which a list needs not wait for

    return hashlib.new(algorithm, data)


def sha256_of(data: bytes) -> Digest:
    """The sha256 digest of `data`."""
    return Digest("sha256:" + hasher("sha256", data).hexdigest())


def chain_ids(diff_ids: Iterable[DiffID]) -> list[ChainID]:
    """The chain_id of every prefix of `diff_ids`, bottom layer first.

    https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
    """
    chains: list[ChainID] = []
    for diff_id in diff_ids:
        if chains:
            text = f"{chains[-1]} {diff_id}".encode()
            chains.append(ChainID("sha256:" + hasher("sha256", text).hexdigest()))
        else:
            chains.append(ChainID(diff_id))
    return chains
