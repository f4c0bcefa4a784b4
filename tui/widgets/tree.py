"""A file tree of any size: rows that are open stand in one flat array, and only what is visible is
drawn. A million entries cost four bytes a visible row."""

import stat
from array import array
from collections.abc import Callable
from typing import ClassVar

from textual.message import Message
from textual.strip import Strip

from engine.model.layer import (
    ADDED,
    CHANGED,
    DEVICE,
    DIRECTORY,
    FIFO,
    GONE,
    HARDLINK,
    SYMLINK,
    FileTree,
)
from tui import format
from tui.actions import Action
from tui.format import ABSENT
from tui.widgets.canvas import EDGE, Canvas, Part, middle, width_of
from tui.widgets.drawn import Movable

SHARE_FROM, MODE_FROM = 84, 100
CHANGES = {ADDED: ("+", "added"), CHANGED: ("~", "modified"), GONE: ("-", "removed")}
TYPES = {DIRECTORY: stat.S_IFDIR, SYMLINK: stat.S_IFLNK, DEVICE: stat.S_IFCHR, FIFO: stat.S_IFIFO}


class TreeView(Movable):
    """Directories open and close; siblings go by size (largest first) or by name.

    `note(node)` gives what stands at a row's right end. `Chosen` is posted when the cursor comes to
    another node.
    """

    SCOPES = ("tree", "move")
    ACTIONS: ClassVar[tuple[Action, ...]]

    class Chosen(Message):
        """The cursor stands on another node (-1: there is none)."""

        def __init__(self, tree: "TreeView", node: int) -> None:
            super().__init__()
            self.tree_view = tree
            self.node = node

        @property
        def control(self) -> "TreeView":
            return self.tree_view

    def __init__(self, note: Callable[[int], Part] | None = None) -> None:
        super().__init__()
        self.files: FileTree | None = None
        self.by_size = True
        self.cursor = 0
        self.top = 0
        self.empty: tuple[Part, ...] = ()  # what stands there instead of a tree
        self._note = note
        self._open: set[int] = set()
        self._rows = array("I")
        self._node = -1

    # -- what is shown

    def put(self, files: FileTree | None, *, keep: bool = False) -> None:
        """Show this tree, its root open. With `keep`, paths that are open and the one under the
        cursor stay so where the new tree has them too: another view of the same files."""
        paths: list[str] = []
        here = ""
        if keep and self.files is not None:
            paths = [self.files.path(node) for node in self._open]
            here = self.files.path(self._node) if self._node >= 0 else ""
        self.files = files
        self._open = {0} if files is not None and len(files) else set()
        self.cursor = self.top = 0
        if files is not None:
            self._open |= {node for path in paths if (node := find(files, path)) >= 0}
        self._build()
        if here and files is not None:
            self.seek(find(files, here))
        self._moved()

    @property
    def node(self) -> int:
        """The node under the cursor, -1 when there is none."""
        return self._node

    def seek(self, node: int) -> bool:
        """The cursor on this node, its parents open; False when there is no such node."""
        if self.files is None or not 0 <= node < len(self.files):
            return False
        closed, parent = False, node
        while parent:
            parent = self.files.parent[parent]
            if parent not in self._open:
                self._open.add(parent)
                closed = True
        if closed:
            self._build()
        self.cursor = self._rows.index(node)
        self._moved()
        return True

    def _build(self) -> None:
        self._rows = array("I")
        if self.files is not None and len(self.files):
            self._rows.append(0)
            self._rows.extend(self._below(0))

    def _below(self, node: int) -> "array[int]":
        """What is visible below `node`, were it open."""
        files, opened = self.files, self._open
        rows = array("I")
        if files is None or node not in opened:
            return rows
        if not self.by_size and len(opened) * 4 > len(files):
            # Nearly all is open: pre-order is the order of rows already.
            child, stop = node + 1, files.end[node]
            end, kind = files.end, files.kind
            while child < stop:
                rows.append(child)
                shut = kind[child] == DIRECTORY and child not in opened
                child = end[child] if shut else child + 1
            return rows
        size = files.size_bytes
        stack = [node]
        first = True
        while stack:
            here = stack.pop()
            if not first:
                rows.append(here)
            if first or here in opened:
                children = files.children(here)
                if self.by_size:
                    children.sort(key=size.__getitem__, reverse=True)
                stack.extend(reversed(children))
            first = False
        return rows

    def _depth_end(self, row: int) -> int:
        """The row after everything visible below the one at `row`."""
        assert self.files is not None
        depth, rows = self.files.depth, self._rows
        here, end = depth[rows[row]], row + 1
        while end < len(rows) and depth[rows[end]] > here:
            end += 1
        return end

    # -- keys

    def move(self, rows: int) -> None:
        self.cursor += rows
        self._moved()

    def toggle(self) -> None:
        """Open or close the directory under the cursor."""
        files, node = self.files, self._node
        if files is None or node < 0 or files.end[node] == node + 1:
            return
        if node in self._open:
            end = self._depth_end(self.cursor)
            self._open.discard(node)
            del self._rows[self.cursor + 1 : end]
        else:
            self._open.add(node)
            self._rows[self.cursor + 1 : self.cursor + 1] = self._below(node)
        self._moved()

    def sideways(self, direction: int) -> None:
        files, node = self.files, self._node
        if files is None or node < 0:
            return
        opened = node in self._open
        if direction > 0:
            if opened and files.end[node] > node + 1:
                self.move(1)
            elif not opened:
                self.toggle()
        elif opened and node:
            self.toggle()
        elif node:
            self.seek(files.parent[node])

    def expand_all(self) -> None:
        """Every directory open; all but the root closed when they were."""
        files, node = self.files, self._node
        if files is None:
            return
        every = {n for n, kind in enumerate(files.kind) if kind == DIRECTORY}
        self._open = {0} if self._open >= every else every
        self._build()
        while node > 0 and files.parent[node] not in self._open:
            node = files.parent[node]
        if node >= 0:
            self.cursor = self._rows.index(node)
        self._moved()

    def sort(self) -> None:
        """By name instead of size, or back."""
        self.by_size = not self.by_size
        node = self._node
        self._build()
        if node >= 0:
            self.cursor = self._rows.index(node)
        self._moved()

    def _moved(self) -> None:
        rows = self._rows
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        node = rows[self.cursor] if rows else -1
        if node != self._node:
            self._node = node
            self.post_message(self.Chosen(self, node))
        self.redraw()

    # -- drawing

    def lines(self, width: int, height: int) -> list[Strip]:
        files, rows, room = self.files, self._rows, max(0, height - 1)
        if files is None or not rows:
            canvas = Canvas(width, height)
            canvas.spans(EDGE, 0, self.empty, width - 1)
            return canvas.strips(self.look)
        self.top = max(min(self.top, self.cursor), self.cursor - room + 1)
        self.top = max(0, min(self.top, len(rows) - room))
        canvas = Canvas(width, height)
        share, mode, name = _columns(width)
        left = EDGE
        size_title = ("SIZE ↓", "text") if self.by_size else ("SIZE", "faint")
        canvas.right(left + 6, 0, *size_title)
        if share:
            canvas.put(share, 0, "SHARE", "faint")
        if mode:
            canvas.put(mode, 0, "MODE", "faint")
        name_title = ("NAME", "faint") if self.by_size else ("NAME ↑", "text")
        canvas.put(name + 2, 0, *name_title)
        whole = max(1, files.size_bytes[0])
        for y, row in enumerate(range(self.top, min(self.top + room, len(rows))), 1):
            self._row(canvas, y, files, rows[row], row == self.cursor, whole)
        if len(rows) > room > 1:
            long = max(1, room * room // len(rows))
            start = 1 + (room - long) * self.top // (len(rows) - room)
            for y in range(start, start + long):
                canvas.put(width - 1, y, "▐", "faint")
        return canvas.strips(self.look)

    def _row(
        self, canvas: Canvas, y: int, files: FileTree, node: int, here: bool, whole: int
    ) -> None:
        width = canvas.width
        share, mode, x = _columns(width)
        kind, change, size = files.kind[node], files.change[node], files.size_bytes[node]
        gone = change == GONE
        ink = "text" if size >= format.M and not gone else "faint"
        canvas.right(EDGE + 6, y, ABSENT if gone else format.size(size), ink)
        if share and not gone and size:
            canvas.spans(share, y, format.bar(size / whole, 10, "info", ""))
        if mode and not gone:
            bits = TYPES.get(kind, stat.S_IFREG) | files.mode[node]
            canvas.put(mode, y, stat.filemode(bits), "faint")
        if change in CHANGES:
            canvas.put(x, y, *CHANGES[change])
        x += 1 + 2 * files.depth[node]
        if kind == DIRECTORY:
            canvas.put(x, y, "▾" if node in self._open else "▸", "dim")
        name = files.name(node) if node else ""
        if kind == DIRECTORY:
            name += "/"
        elif kind in (SYMLINK, HARDLINK) and node in files.link:
            name += f" {'→' if kind == SYMLINK else '='} {files.link[node]}"
        note, note_ink = self._note(node) if self._note else ("", "faint")
        end = width - 2
        if note:
            end -= width_of(note) + 2
            canvas.put(end + 2, y, note, note_ink)
        ink = CHANGES[change][1] if change in (CHANGED, GONE) else "text"
        ink = "strong bold" if here else ink
        canvas.put(x + 2, y, middle(name, max(8, end - x - 2)), ink, width - 2)
        if here:
            focused = self.active
            canvas.put(0, y, "▌" if focused else "▏", "accent" if focused else "dim")
            if focused:
                canvas.ground(0, y, width, "selection")


def _columns(width: int) -> tuple[int, int, int]:
    """Where share, mode (0: no room) and the change before the name stand."""
    at = EDGE + 8
    share = mode = 0
    if width >= SHARE_FROM:
        share, at = at, at + 12
    if width >= MODE_FROM:
        mode, at = at, at + 12
    return share, mode, at


def find(files: FileTree, path: str) -> int:
    """The node at `path`, -1 when there is none."""
    node = 0
    for name in path.split("/") if path else ():
        for child in files.children(node):
            if files.name(child) == name:
                node = child
                break
        else:
            return -1
    return node if len(files) else -1


TreeView.ACTIONS = (
    Action("tree.toggle", "open", TreeView.toggle, "or close", hint=True),
    Action("tree.expand", "expand all", TreeView.expand_all, "or none", hint=True),
    Action("tree.sort", "sort", TreeView.sort, "by size or name", hint=True),
)
