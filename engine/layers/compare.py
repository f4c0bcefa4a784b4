"""What differs between two images: layers, files, packages, config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.layers.files import Files
from engine.model.analysis import Analysis, Package
from engine.model.comparison import Comparison, FileChange, PackageChange
from engine.model.layer import DIRECTORY, FILE, HARDLINK
from engine.named_tuple import NamedTuple
from engine.oci.config import ImageDocument

_SHOWN = 10_000


class _Entry(NamedTuple):
    """What is at a path at the end. Times do not count."""

    size_bytes: int
    content: tuple[object, ...]
    metadata: tuple[int, ...]


def compare(
    before: tuple[Analysis, Files, ImageDocument | None],
    after: tuple[Analysis, Files, ImageDocument | None],
) -> Comparison:
    """What becomes of `before` in `after`."""
    one, files, document = before
    two, other_files, other_document = after
    changes = sorted(
        _changes(_entries(files), _entries(other_files)),
        key=lambda change: (-abs(change.grown_bytes), change.path),
    )
    shared = _shared(one, two)
    return Comparison(
        before=one,
        after=two,
        shared_layers=shared,
        shared_bytes=sum(one.layers[position].size_bytes for position, _ in shared),
        added=sum(change.before_bytes < 0 for change in changes),
        changed=sum(change.before_bytes >= 0 <= change.after_bytes for change in changes),
        gone=sum(change.after_bytes < 0 for change in changes),
        files=tuple(changes[:_SHOWN]),
        packages=tuple(_packages(one.packages, two.packages)),
        config=tuple(_config(document, other_document)),
    )


def _shared(one: Analysis, two: Analysis) -> tuple[tuple[int, int], ...]:
    """Each layer with the first of the same content that is still free."""
    free: dict[str, list[int]] = {}
    for layer in two.layers:
        free.setdefault(layer.diff_id, []).append(layer.position)
    return tuple(
        (layer.position, free[layer.diff_id].pop(0))
        for layer in one.layers
        if free.get(layer.diff_id)
    )


def _entries(files: Files) -> dict[bytes, _Entry]:
    """All but directories, by path."""
    merged = files.merged
    found: dict[bytes, _Entry] = {}
    for node, key in enumerate(merged.keys):
        layer, row = merged.entry_of(node)
        if layer < 0:
            continue
        index = files.indexes[layer]
        kind = index.kind[row]
        if kind == DIRECTORY:
            continue
        if kind in (FILE, HARDLINK):
            content: tuple[object, ...] = (FILE, index.hash_name, index.hash(row))
        else:
            content = (kind, index.link(row))
        metadata = (index.mode[row], index.uid[row], index.gid[row], index.xattrs[row])
        path = key[1:].replace(b"\0", b"/")
        found[path] = _Entry(index.size[row], content, metadata)
    return found


def _changes(before: Mapping[bytes, _Entry], after: Mapping[bytes, _Entry]) -> Iterator[FileChange]:
    for path, old in before.items():
        new = after.get(path)
        if new is None:
            yield FileChange(_text(path), old.size_bytes, -1, True)
        elif old.content != new.content:
            yield FileChange(_text(path), old.size_bytes, new.size_bytes, True)
        elif old.metadata != new.metadata:
            yield FileChange(_text(path), old.size_bytes, new.size_bytes, False)
    for path in after.keys() - before.keys():
        yield FileChange(_text(path), -1, after[path].size_bytes, True)


def _packages(before: Sequence[Package], after: Sequence[Package]) -> list[PackageChange]:
    old = {(each.kind, each.name): each for each in before}
    new = {(each.kind, each.name): each for each in after}
    found = []
    for key in sorted(old.keys() | new.keys()):
        one, two = old.get(key), new.get(key)
        if one is not None and two is not None and one.version == two.version:
            continue
        found.append(
            PackageChange(
                *key, one.version if one else "", two.version if two else "",
                one.size_bytes if one else 0, two.size_bytes if two else 0,
            )
        )  # fmt: skip
    found.sort(key=lambda each: (-abs(each.after_bytes - each.before_bytes), each.name))
    return found


def _config(
    before: ImageDocument | None, after: ImageDocument | None
) -> Iterator[tuple[str, str, str]]:
    """What is run, and how; variables and labels one by one."""
    old, new = _settings(before), _settings(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key, "") != new.get(key, ""):
            yield key, old.get(key, ""), new.get(key, "")


def _settings(document: ImageDocument | None) -> dict[str, str]:
    if document is None:
        return {}
    settings = {
        "Entrypoint": " ".join(document.entrypoint), "Cmd": " ".join(document.cmd),
        "User": document.user, "WorkingDir": document.working_directory,
        "ExposedPorts": " ".join(sorted(document.exposed_ports)),
        "Volumes": " ".join(sorted(document.volumes)), "StopSignal": document.stop_signal,
        "Platform": str(document.platform),
    }  # fmt: skip
    for variable in document.env:
        name, _, value = variable.partition("=")
        settings[f"Env {name}"] = value
    settings |= {f"Label {name}": value for name, value in document.labels}
    return settings


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
