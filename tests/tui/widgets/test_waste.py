"""Which layers paid for a path: the matrix, and words where it has no room."""

from engine.model.layer import WasteRow
from tests.support.stage import Stage, text_of
from tui.widgets.waste import WasteView

ROWS = [
    WasteRow("usr/lib/gcc", 74_200_000, (1,), 10),
    WasteRow("var/lib/dpkg/status", 1_900_000, (0, 1, 10), -1),
]


def view(rows: list[WasteRow], layers: int) -> tuple[WasteView, list[WasteRow]]:
    went: list[WasteRow] = []
    made = WasteView(went.append)
    made.put(rows, layers)
    return made, went


async def test_knots_stand_where_it_was_written_and_removed() -> None:
    made, _ = view(ROWS, 11)
    async with Stage(made).run_test(size=(100, 5)):
        lines = text_of(made)
    assert lines[0] == "    WASTE    1  2  3  4  5  6  7  8  9 10 11   PATH"
    assert lines[1] == "▌   74.2M    ·  ●──────────────────────────×   /usr/lib/gcc"
    assert lines[2] == "    1.90M    ●──●──────────────────────────●   /var/lib/dpkg/status"


async def test_many_layers_are_written_as_numbers() -> None:
    made, _ = view(ROWS, 60)
    async with Stage(made).run_test(size=(100, 5)):
        lines = text_of(made)
    assert "LAYERS" in lines[0]
    assert "2 × 11" in lines[1]
    assert "1 2 11" in lines[2]


async def test_the_row_under_the_cursor_is_opened() -> None:
    made, went = view(ROWS, 11)
    async with Stage(made).run_test(size=(100, 2)):
        made.move(5)
        made.open_file()
        assert went == [ROWS[1]]
        assert "dpkg" in text_of(made)[1]


async def test_nothing_wasted_is_said() -> None:
    made, went = view([], 3)
    async with Stage(made).run_test(size=(80, 3)):
        made.open_file()
        assert not went
        assert "Nothing is stored twice or hidden." in text_of(made)[0]
