"""Images opened for looking inside: those of the store, and those that lie in files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from engine.errors import NotFound
from engine.named_tuple import NamedTuple
from engine.oci.reference import parse_reference

if TYPE_CHECKING:
    from engine.engine import Cancel, LayerView, OnProgress
    from engine.home import Home
    from engine.layers.contents import Contents
    from engine.layers.tree import ImageLayers
    from engine.model.analysis import Analysis
    from engine.model.comparison import Comparison
    from engine.model.gate import Verdict
    from engine.model.image import HistoryEntry
    from engine.oci.config import ImageDocument
    from engine.storage.image_store import ImageRow, ImageStore
    from engine.storage.metadata import Database

Scratch = Callable[[], AbstractContextManager[str]]
_TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:", "dir:")


class _Opened(NamedTuple):
    """An image, wherever it lies."""

    view: ImageLayers
    document: ImageDocument | None  # a plain directory has none
    contents: Contents


class _Looking(ABC):
    """The verbs of the face's `layers`, over whatever `opened` opens."""

    @abstractmethod
    def opened(
        self,
        ref: str,
        platform: str | None,
        progress: OnProgress | None,
        cancel: Cancel | None,
    ) -> AbstractContextManager[_Opened]:
        """The image; its view is the caller's, files and contents are there until the end."""

    def open(
        self,
        ref: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> LayerView:
        with self.opened(ref, platform, progress, cancel) as opened:
            opened.view.contents = opened.contents
            return opened.view

    def analyze(
        self,
        ref: str,
        *,
        advice: bool = False,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Analysis:
        with (
            self.opened(ref, platform, progress, cancel) as opened,
            contextlib.closing(opened.view),
        ):
            return _analyze(opened, advice)

    def check(
        self,
        ref: str,
        *,
        config: str = "",
        config_name: str = ".dive-ci",
        against: str = "",
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Verdict:
        """See layers.gate, and layers.gate_config for what `config` may say."""
        from datetime import UTC, datetime

        from engine.layers.files import Files
        from engine.layers.gate import judge
        from engine.layers.gate_config import parse_config

        rules = parse_config(config, config_name)
        base = None
        if against:
            base = self.analyze(against, platform=platform, progress=progress, cancel=cancel)
        with (
            self.opened(ref, platform, progress, cancel) as opened,
            contextlib.closing(opened.view) as view,
        ):
            paths: Sequence[str] = ()
            if "forbid_paths" in rules.rules:
                files = Files(view.merged, view.indexes)
                paths = [os.fsdecode(path) for path in files.all_paths()]
            return judge(
                _analyze(opened, rules.needs_advice),
                paths,
                rules,
                against=base,
                today=datetime.now(UTC).date(),
            )

    def compare(
        self,
        before: str,
        after: str,
        *,
        platform: str | None = None,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> Comparison:
        """See layers.compare."""
        from engine.layers.compare import compare
        from engine.layers.files import Files

        with contextlib.ExitStack() as stack:
            sides = []
            for ref in (before, after):
                opened = stack.enter_context(self.opened(ref, platform, progress, cancel))
                view = stack.enter_context(contextlib.closing(opened.view))
                files = Files(view.merged, view.indexes)
                sides.append((_analyze(opened, True), files, opened.document))
            return compare(*sides)


class LayerFiles(_Looking):
    """The face's `layers` over files alone: archives, layouts, directories. Needs no root and no
    store; indexes are kept below `cache`."""

    def __init__(self, cache: str, scratch: Scratch = tempfile.TemporaryDirectory) -> None:
        self._cache = cache
        self._scratch = scratch

    @contextlib.contextmanager
    def opened(
        self,
        ref: str,
        platform: str | None,
        progress: OnProgress | None,
        cancel: Cancel | None,
    ) -> Iterator[_Opened]:
        """The image at the path `ref`; the view stays open. Raises as layers.source."""
        from engine.layers.cache import IndexCache
        from engine.layers.contents import BlobContents, UnpackedContents
        from engine.layers.source import is_root_directory, open_source
        from engine.layers.tree import open_layers
        from engine.layers.walk import index_directory
        from engine.oci.platform import parse_platform

        path, name = split(ref)
        with self._scratch() as scratch:
            if is_root_directory(path):
                index_directory(path, f"{scratch}/directory.pdl")
                # The index is mapped: it may go when the scratch directory does.
                view = open_layers(ref, "", [f"{scratch}/directory.pdl"], ())
                yield _Opened(view, None, UnpackedContents([path]))
                return
            wanted = parse_platform(platform) if platform else None
            found = open_source(path, name, scratch=scratch, wanted=wanted)
            os.makedirs(self._cache, mode=0o700, exist_ok=True)
            cache = IndexCache(self._cache)
            indexes = cache.indexes(found.layers, progress=progress, cancel=cancel)
            view = open_layers(found.name or ref, found.image_id, indexes, _steps(found.document))
            offsets = [index.data_offset for index in view.indexes]
            yield _Opened(view, found.document, BlobContents(found.layers, offsets))


class LayerService(_Looking):
    """The face's `layers`: a reference means an image of the store, a path one in a file."""

    def __init__(self, home: Home, database: Database, store: ImageStore) -> None:
        self._home = home
        self._database = database
        self._store = store
        self._files = LayerFiles(f"{home.root}/index", self._scratch)

    @contextlib.contextmanager
    def opened(
        self,
        ref: str,
        platform: str | None,
        progress: OnProgress | None,
        cancel: Cancel | None,
    ) -> Iterator[_Opened]:
        if not is_path(ref):
            try:
                row = self._store.get(ref)
            except NotFound:
                if not os.path.exists(split(ref)[0]):
                    raise
            else:
                yield self._from_store(row)
                return
        with self._files.opened(ref, platform, progress, cancel) as opened:
            yield opened

    def _from_store(self, row: ImageRow) -> _Opened:
        from engine.layers.contents import UnpackedContents
        from engine.layers.tree import open_layers

        layers = self._store.layers_of(row)
        sharers = self._store.sharers([layer[0] for layer in layers], row.id)
        names = self._store.references(row.id)
        document = self._store.config(row)
        directories = [self._home.layer_dir(layer[0]) for layer in layers]
        view = open_layers(
            parse_reference(names[0]).familiar if names else row.id[7:19],
            row.id,
            [f"{directory}/layer.pdl" for directory in directories],
            _steps(document),
            [tuple(sharers.get(layer[0], ())) for layer in layers],
        )
        contents = UnpackedContents([f"{directory}/diff" for directory in directories])
        return _Opened(view, document, contents)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[str]:
        """A directory that is gone afterwards, if need be with the next command."""
        from engine.storage.leases import Lease
        from engine.storage.trash import discard, remove_tree

        with Lease(self._database, "analyze") as lease:
            directory = f"{self._home.root}/staging/{lease.id}"
            os.mkdir(directory, 0o700)
            try:
                yield directory
            finally:
                if place := discard(self._home, directory):
                    remove_tree(place)


def is_path(ref: str) -> bool:
    """Whether `ref` can only mean a file: no reference of an image looks like it."""
    return ref.startswith(("/", "./", "../", *_TRANSPORTS)) or ref in (".", "..")


def split(ref: str) -> tuple[str, str]:
    """Path, and the name of the image in it: `app.tar:app:1`, `oci:layout:1`, `layout`."""
    for transport in _TRANSPORTS:
        ref = ref.removeprefix(transport)
    path, _, name = ref.partition(":")
    while name and not os.path.exists(path):
        more, _, name = name.partition(":")
        path += ":" + more
    return (path, name) if os.path.exists(path) else (ref, "")


def _steps(document: ImageDocument) -> Sequence[HistoryEntry]:
    from engine.services.images import history_of

    return history_of(document)


def _analyze(opened: _Opened, advice: bool) -> Analysis:
    from engine.layers.analyze import analyze

    return analyze(
        opened.view,
        history=_steps(opened.document) if opened.document else (),
        config=opened.document,
        contents=opened.contents if advice else None,
    )
