"""Who hangs on which network, drawn."""

from tui.widgets.canvas import Canvas
from tui.widgets.netmap import MapRow, draw_map, lanes_for

OK = ("●", "ok")
ROWS = [
    MapRow("web-1", OK, {"shop": "10.89.0.2"}, "0.0.0.0:8080 → 80"),
    MapRow("db-1", OK, {"shop": "10.89.0.4", "back": "10.91.0.2"}, "127.0.0.1:5432 → 5432", True),
    MapRow("probe", OK, {"back": "10.91.0.9"}),
]


def drawn(width: int, height: int, rows: list[MapRow] = ROWS) -> list[str]:
    canvas = Canvas(width, height)
    draw_map(canvas, 0, 0, width, height, ["shop", "back"], rows)
    return [canvas.text(y).rstrip() for y in range(height)]


def test_narrow_map_has_ports_only_and_a_row_for_each() -> None:
    assert drawn(80, 5) == [
        "   FROM OUTSIDE      shop  back  CONTAINER        ADDRESS",
        "             :8080 ▸──●─────│─── ● web-1          10.89.0.2",
        "    localhost:5432 ▸──●─────●─── ● db-1           10.89.0.4",
        "                            ●─── ● probe          10.91.0.9",
        "",
    ]


def test_wide_map_has_addresses_and_air() -> None:
    lines = drawn(112, 9)
    assert "0.0.0.0:8080 → 80 ▸" in lines[2]
    assert "127.0.0.1:5432 → 5432 ▸" in lines[4]
    assert lines[3].split() == ["│", "│"]


def test_what_has_no_room_is_counted() -> None:
    many = [MapRow(f"c-{n}", OK, {"shop": f"10.0.0.{n}"}) for n in range(20)]
    lines = drawn(80, 8, many)
    assert lines[-1].strip() == "14 more"


def test_lanes_leave_room_for_names_and_addresses() -> None:
    for width in (80, 95, 96, 112, 160):
        names = [f"net-{n}" for n in range(lanes_for(width))]
        row = MapRow("container", OK, {names[-1]: "255.255.255.255"})
        canvas = Canvas(width, 3)
        draw_map(canvas, 0, 0, width, 3, names, [row])
        assert "255.255.255.255" in canvas.text(1)
