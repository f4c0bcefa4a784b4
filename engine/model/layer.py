"""What is inside an image: layers and file trees, ready to be drawn row by row."""

from array import array

from engine.named_tuple import NamedTuple

DIRECTORY, FILE, SYMLINK, HARDLINK, DEVICE, FIFO = range(6)
SAME, ADDED, CHANGED, GONE = range(4)


class LayerInfo(NamedTuple):
    """One layer of an image, bottom first. Counts are of entries other than directories."""

    position: int  # 0 is the bottom
    diff_id: str
    digest: str
    command: str
    created_ns: int
    size_bytes: int  # unpacked
    blob_bytes: int  # as the registry stores it
    added: int
    changed: int
    gone: int
    waste_bytes: int  # bytes of this layer that later layers hide
    shared_with: tuple[str, ...]  # references of other images that have it


class FileTree:
    """A tree in pre-order, by columns; node 0 is the root.

    The children of `i` are `i + 1`, then `end[c]` of each child `c`, while below `end[i]`; they
    are in order of name. `size_bytes` of a directory is the sum of what is below it.
    """

    __slots__ = (
        "change",
        "depth",
        "end",
        "gid",
        "kind",
        "layer",
        "link",
        "mode",
        "mtime_seconds",
        "name_blob",
        "name_offset",
        "parent",
        "size_bytes",
        "uid",
    )

    def __init__(self) -> None:
        self.parent = array("I")
        self.end = array("I")
        self.depth = array("H")
        self.size_bytes = array("Q")
        self.kind = array("B")
        self.change = array("B")
        self.layer = array("H")  # index of the layer that wrote this state
        self.mode = array("H")  # the twelve permission bits
        self.uid = array("I")
        self.gid = array("I")
        self.mtime_seconds = array("q")
        self.name_offset = array("I")  # len + 1 entries into name_blob
        self.name_blob = bytearray()
        self.link: dict[int, str] = {}  # targets of symbolic and hard links

    def __len__(self) -> int:
        return len(self.parent)

    def name(self, node: int) -> str:
        """The last component; bytes that are not UTF-8 come out as surrogates."""
        offset = self.name_offset
        name = self.name_blob[offset[node] : offset[node + 1]]
        return bytes(name).decode("utf-8", "surrogateescape")

    def path(self, node: int) -> str:
        """The path below the root, without a leading slash; "" for the root."""
        names: list[str] = []
        while node:
            names.append(self.name(node))
            node = self.parent[node]
        return "/".join(reversed(names))

    def children(self, node: int) -> list[int]:
        """Direct children in order of name."""
        children: list[int] = []
        child, stop = node + 1, self.end[node]
        while child < stop:
            children.append(child)
            child = self.end[child]
        return children


class LifeStep(NamedTuple):
    """What one layer did to a path."""

    layer: int
    change: int  # ADDED, CHANGED, GONE; SAME where it was only written again
    content: bool  # whether it is other content than before; of GONE and SAME never
    kind: int  # of what is there, or was until then
    size_bytes: int
    mode: int
    uid: int
    gid: int
    mtime_seconds: int
    link: str


class WasteRow(NamedTuple):
    """A path whose bytes were paid for more than once, or are hidden."""

    path: str
    waste_bytes: int
    written_in: tuple[int, ...]  # layer indexes
    removed_in: int  # -1 when it is still there
