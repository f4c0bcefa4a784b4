"""The files of a tree that a filter keeps, as a tree of its own."""

from engine.model.layer import DIRECTORY, GONE, FileTree
from tui.filters import compile_filter

_COLUMNS = ("depth", "kind", "change", "layer", "mode", "uid", "gid", "mtime_seconds")


def matching(files: FileTree, text: str) -> tuple[FileTree, set[int], int]:
    """What matches `text` and the directories above it; those directories; how many match.

    A directory that matches keeps what is in it. Directories are as big as what is kept of them. A
    term with a slash in it is compared with the path, others with the name.
    """
    matches, by_path = compile_filter(text), "/" in text
    count = len(files)
    keep = bytearray(count)
    above: set[int] = set()
    found, node = 0, 1
    while node < count:
        if not matches([files.path(node) if by_path else files.name(node)]):
            node += 1
            continue
        found += 1
        stop = files.end[node]
        keep[node:stop] = b"\1" * (stop - node)
        parent = files.parent[node]
        while parent not in above:
            above.add(parent)
            keep[parent] = 1
            parent = files.parent[parent]
        node = stop
    keep[:1] = b"\1"[:count]
    return *_picked(files, keep, above), found


def _picked(files: FileTree, keep: bytearray, above: set[int]) -> tuple[FileTree, set[int]]:
    picked = FileTree()
    place: dict[int, int] = {}
    for node in range(len(files)):
        if not keep[node]:
            continue
        here = place[node] = len(picked)
        picked.parent.append(place[files.parent[node]])
        for column in _COLUMNS:
            getattr(picked, column).append(getattr(files, column)[node])
        picked.size_bytes.append(0 if files.kind[node] == DIRECTORY else files.size_bytes[node])
        picked.name_offset.append(len(picked.name_blob))
        picked.name_blob += files.name_blob[files.name_offset[node] : files.name_offset[node + 1]]
        picked.end.append(here + 1)
        if node in files.link:
            picked.link[here] = files.link[node]
    picked.name_offset.append(len(picked.name_blob))
    for here in range(len(picked) - 1, 0, -1):
        parent = picked.parent[here]
        picked.end[parent] = max(picked.end[parent], picked.end[here])
        if picked.change[here] != GONE or picked.change[parent] == GONE:
            picked.size_bytes[parent] += picked.size_bytes[here]
    return picked, {place[node] for node in above}
