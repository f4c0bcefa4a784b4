"""The file tree: what opens, in which order, where the cursor stays."""

from engine.model.layer import ADDED, CHANGED, DIRECTORY, FILE, GONE, SAME, SYMLINK, FileTree
from tests.support.stage import Stage, text_of
from tui.widgets.tree import TreeView, find

Entry = tuple[str, int, int]  # path, size or -1 for a directory, change


def make(*entries: Entry) -> FileTree:
    """A tree of these, which are in pre-order."""
    tree = FileTree()
    tree.name_offset.append(0)
    nodes = {"": 0}
    for path, size, change in (("", -1, SAME), *entries):
        parent, _, name = path.rpartition("/")
        nodes[path] = node = len(tree)
        tree.parent.append(nodes[parent])
        tree.depth.append(path.count("/") + 1 if path else 0)
        tree.size_bytes.append(max(size, 0))
        tree.kind.append(DIRECTORY if size < 0 else FILE)
        tree.change.append(change)
        tree.mode.append(0o755 if size < 0 else 0o644)
        for column in (tree.layer, tree.uid, tree.gid, tree.mtime_seconds):
            column.append(0)
        tree.end.append(node + 1)
        tree.name_blob += name.encode("utf-8", "surrogateescape")
        tree.name_offset.append(len(tree.name_blob))
    for node in range(len(tree) - 1, 0, -1):
        parent_node = tree.parent[node]
        tree.size_bytes[parent_node] += tree.size_bytes[node]
        tree.end[parent_node] = max(tree.end[parent_node], tree.end[node])
    return tree


FILES = make(
    ("app", -1, ADDED),
    ("app/node", -1, ADDED),
    ("app/node/big.js", 60_000_000, ADDED),
    ("app/node/small.js", 900, ADDED),
    ("app/run.sh", 1200, CHANGED),
    ("etc", -1, SAME),
    ("etc/passwd", 1000, GONE),
)


async def test_rows_are_sorted_by_size_and_indented_by_depth() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 9)):
        widget.put(FILES)
        widget.expand_all()
        assert text_of(widget)[:8] == [
            "   SIZE ↓    NAME",
            "▌   60.0M   ▾ /",
            "    60.0M  +  ▾ app/",
            "    60.0M  +    ▾ node/",
            "    60.0M  +        big.js",
            "     900B  +        small.js",
            "    1.20K  ~      run.sh",
            "    1.00K     ▾ etc/",
        ]


async def test_wide_tree_shows_shares_and_modes() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(110, 6)):
        widget.put(FILES)
        lines = text_of(widget)
        assert lines[0].split() == ["SIZE", "↓", "SHARE", "MODE", "NAME"]
        assert "━━━━━━━━━━  drwxr-xr-x  +  ▸ app/" in lines[2]


async def test_opening_and_closing_keeps_what_is_inside() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 12)):
        widget.put(FILES)
        widget.move(1)
        widget.toggle()
        widget.move(1)
        widget.toggle()
        assert len(widget._rows) == 7
        widget.seek(find(FILES, "app"))
        widget.toggle()
        assert len(widget._rows) == 3
        widget.toggle()
        assert len(widget._rows) == 7


async def test_left_closes_then_goes_to_the_parent() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 12)):
        widget.put(FILES)
        widget.expand_all()
        widget.seek(find(FILES, "app/node"))
        widget.sideways(-1)
        assert len(widget._rows) == 6
        widget.sideways(-1)
        assert FILES.path(widget.node) == "app"


async def test_right_opens_then_steps_in() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 12)):
        widget.put(FILES)
        widget.move(1)
        widget.sideways(1)
        widget.sideways(1)
        assert FILES.path(widget.node) == "app/node"


async def test_order_by_name_keeps_the_cursor_on_its_file() -> None:
    tree = make(("a", 1, SAME), ("b", 5, SAME), ("c", 3, SAME))
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 8)):
        widget.put(tree)
        widget.seek(find(tree, "c"))
        assert widget.cursor == 2
        widget.sort()
        assert (tree.path(widget.node), widget.cursor) == ("c", 3)
        assert text_of(widget)[0].split() == ["SIZE", "NAME", "↑"]


async def test_another_view_of_the_same_files_keeps_the_place() -> None:
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 12)):
        widget.put(FILES)
        widget.seek(find(FILES, "app/node/big.js"))
        other = make(("app", -1, SAME), ("app/node", -1, SAME), ("app/node/big.js", 7, SAME))
        widget.put(other, keep=True)
        assert other.path(widget.node) == "app/node/big.js"


async def test_hostile_names_are_shown_as_text() -> None:
    tree = make(("a\x1b[31m\udcff", 5, SAME))
    tree.kind[1] = SYMLINK
    tree.link[1] = "[bold]x"
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 4)):
        widget.put(tree)
        assert "a\ufffd[31m\ufffd → [bold]x" in text_of(widget)[2]


async def test_a_long_directory_is_drawn_at_its_end() -> None:
    tree = make(*((f"{n:06}", 1, SAME) for n in range(20_000)))
    widget = TreeView()
    async with Stage(widget).run_test(size=(60, 10)):
        widget.put(tree)
        widget.sort()
        widget.leap(1)
        assert tree.name(widget.node) == "019999"
