"""All that a document leads to: what must be where it is, for it to be whole."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple
from engine.oci.descriptor import Descriptor
from engine.oci.manifest import Index, parse_manifest
from engine.oci.selection import MAX_INDEX_DEPTH, Read

MAX_DOCUMENTS = 2000


class Tree(NamedTuple):
    """Documents with their bytes, the root last and each behind all that it names; and the blobs
    (configs, layers) of all manifests, each once."""

    documents: tuple[tuple[Descriptor, bytes], ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Descriptor:
        return self.documents[-1][0]


def walk(
    root: Descriptor, read: Read, wanted: Callable[[Descriptor], bool] = lambda child: True
) -> Tree:
    """The tree below `root`, but for children of indexes that are not `wanted`. Raises what `read`
    raises, InvalidInput (nested too deep, part of itself, too large), Unsupported."""
    documents: dict[str, tuple[Descriptor, bytes]] = {}
    blobs: dict[str, Descriptor] = {}

    def visit(here: Descriptor, above: tuple[str, ...]) -> None:
        if here.digest in above:
            raise InvalidInput(f"index: {here.digest} is part of itself")
        if here.digest in documents:
            return
        if len(above) > MAX_INDEX_DEPTH or len(documents) >= MAX_DOCUMENTS:
            raise InvalidInput(f"index: deeper than {MAX_INDEX_DEPTH}, or of too many manifests")
        data = read(here)
        document = parse_manifest(data, here.media_type)
        if isinstance(document, Index):
            for child in document.manifests:
                if wanted(child):
                    visit(child, (*above, here.digest))
        else:
            for blob in (document.config, *document.layers):
                blobs.setdefault(blob.digest, blob)
        documents[here.digest] = here._replace(media_type=document.media_type), data

    visit(root, ())
    return Tree(tuple(documents.values()), tuple(blobs.values()))
