"""From a tag's document to the image of one platform: through indexes, down to its config.

Pull walks a registry with it, load an archive; the rules are the same.
"""

from collections.abc import Callable

from engine.errors import Conflict, InvalidInput, NotFound, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci import config, manifest, platform
from engine.oci.config import ImageDocument
from engine.oci.descriptor import CONFIGS, Descriptor, document_kind
from engine.oci.digest import Digest, ImageID
from engine.oci.manifest import Index, Manifest
from engine.oci.platform import Platform

MAX_INDEX_DEPTH = 4
_UNKNOWN = Platform("", "")

Read = Callable[[Descriptor], bytes]
"""The verified bytes of a document: an index, a manifest or a config."""


class Selection(NamedTuple):
    """One image, its documents read and checked against each other."""

    descriptor: Descriptor  # of the manifest
    manifest: Manifest
    config: ImageDocument
    indexes: tuple[Descriptor, ...]  # passed on the way, outermost first
    warning: str  # "" or what a person should know

    @property
    def image_id(self) -> ImageID:
        return ImageID(self.manifest.config.digest)

    @property
    def index_digest(self) -> Digest | None:
        """What the tag names, when that is an index."""
        return self.indexes[0].digest if self.indexes else None


def select(root: Descriptor, read: Read, wanted: Platform | None = None) -> Selection:
    """The image below `root` that satisfies `wanted`, or that this host runs best when None.

    `root.media_type` may be whatever its sender called it. Raises NotFound (with the platforms that
    are there), Conflict (the config contradicts `wanted`), InvalidInput, Unsupported.
    """
    accepted = (
        platform.compatible_with(wanted) if wanted else platform.runs_on(platform.host_platform())
    )
    search = _Search(read, accepted)
    found = search.visit(root, ())
    if found is None:
        raise search.failure()
    descriptor, document, indexes = found
    return _check(descriptor, document, indexes, read, accepted, wanted is not None)


class _Search:
    """The walk down; remembers where it was and which platforms it saw."""

    def __init__(self, read: Read, accepted: tuple[Platform, ...]) -> None:
        self._read = read
        self._accepted = accepted
        self._seen: set[Digest] = set()
        self._offered: set[str] = set()

    def visit(
        self, here: Descriptor, above: tuple[Descriptor, ...]
    ) -> tuple[Descriptor, Manifest, tuple[Descriptor, ...]] | None:
        if here.digest in self._seen:
            raise InvalidInput(f"index: {here.digest} is part of itself")
        self._seen.add(here.digest)
        if len(above) > MAX_INDEX_DEPTH:
            raise InvalidInput(f"index: nested deeper than {MAX_INDEX_DEPTH}")
        document = manifest.parse_manifest(self._read(here), here.media_type)
        here = here._replace(media_type=document.media_type)
        if isinstance(document, Manifest):
            return here, document, above
        return self._choose(document, (*above, here))

    def _choose(
        self, index: Index, above: tuple[Descriptor, ...]
    ) -> tuple[Descriptor, Manifest, tuple[Descriptor, ...]] | None:
        candidates = [child for child in index.manifests if not child.is_attestation]
        offered = [child.platform or self._platform_within(child) for child in candidates]
        position = platform.best(self._accepted, offered)
        if position is not None:
            return self.visit(candidates[position], above)
        self._offered.update(str(known) for known in offered if known != _UNKNOWN)
        for child in candidates:  # an index below may say nothing of platforms: look into it
            if child.platform is None and document_kind(child.media_type) == "index":
                found = self.visit(child, above)
                if found:
                    return found
        return None

    def _platform_within(self, child: Descriptor) -> Platform:
        """The platform of a manifest whose descriptor names none: its config's."""
        if document_kind(child.media_type) != "manifest":
            return _UNKNOWN
        document = manifest.parse_manifest(self._read(child), child.media_type)
        if not isinstance(document, Manifest) or document.config.media_type not in CONFIGS:
            return _UNKNOWN
        return config.parse_config(self._read(document.config)).platform

    def failure(self) -> NotFound | Unsupported:
        wanted, names = self._accepted[0], ", ".join(sorted(self._offered))
        if self._offered and all(name.startswith("windows/") for name in self._offered):
            return Unsupported(f"image is for Windows only: {names}")
        return NotFound(
            f"no image for {wanted}, there is {names or 'none'}",
            "choose one of them with --platform" if names else "",
        )


def _check(
    descriptor: Descriptor,
    found: Manifest,
    indexes: tuple[Descriptor, ...],
    read: Read,
    accepted: tuple[Platform, ...],
    asked: bool,
) -> Selection:
    manifest.check_runnable(found)
    if found.config.size_bytes > config.MAX_BYTES:
        raise InvalidInput(f"image config: larger than {config.MAX_BYTES >> 20} MiB")
    document = config.parse_config(read(found.config))
    config.check_layers(document, len(found.layers))
    own = document.platform
    if own.os not in ("", "linux"):
        raise Unsupported(f"image is for {own.os[:40]!r}, not linux")
    warning = ""
    # Variants are often left out of configs, so only the architecture has to agree.
    if own.architecture and own.architecture not in {known.architecture for known in accepted}:
        warning = f"image config says {own}, expected {accepted[0]}"
        if asked:
            raise Conflict(warning, "choose the platform that it has with --platform")
    return Selection(descriptor, found, document, indexes, warning)
