"""Tables, `--format`, and what of a foreign string reaches a terminal."""

import io

import pytest

from engine.cli.output import Listing, Output, ellipsis, print_rows, print_table, quoted, scrub
from engine.errors import InvalidInput, NotFound

Row = tuple[str, int]
LISTING: Listing[Row] = Listing(
    {
        "ID": ("THING ID", lambda row: row[0]),
        "Size": ("SIZE", lambda row: str(row[1])),
        "Bad": ("BAD", lambda row: str(1 // row[1])),
    },
    ("ID", "Size"),
    quiet="ID",
)
ROWS: list[Row] = [("first-of-them", 1), ("b", 22)]


def output(*, terminal: bool = False) -> tuple[Output, io.BytesIO, io.BytesIO]:
    out, err = io.BytesIO(), io.BytesIO()
    return Output(out, err, terminal=terminal), out, err


def printed(style: str = "", *, quiet: bool = False) -> str:
    to, out, _ = output()
    print_rows(to, LISTING, ROWS, style=style, quiet=quiet)
    return out.getvalue().decode()


def test_columns_are_ten_wide_or_more_with_three_between() -> None:
    assert printed() == "THING ID        SIZE\nfirst-of-them   1\nb               22\n"
    assert printed("table") == printed()
    to, out, _ = output()
    print_table(to, [["A", "B", "C"], ["1", "2", "3"]])
    assert out.getvalue() == b"A         B         C\n1         2         3\n"


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("{{.ID}}", "first-of-them\nb\n"),
        (r"{{.ID}}\t{{.Size}}", "first-of-them\t1\nb\t22\n"),
        (
            r"table {{.Size}}\t{{.ID | upper}}",
            "SIZE      THING ID\n1         FIRST-OF-THEM\n22        B\n",
        ),
        ("table{{.ID}}", "tablefirst-of-them\ntableb\n"),
    ],
)  # fmt: skip
def test_format_chooses_fields(style: str, text: str) -> None:
    assert printed(style) == text


def test_json_has_every_field_sorted() -> None:
    to, out, _ = output()
    print_rows(to, LISTING, [("a", 1)], style="json")
    assert out.getvalue() == b'{"Bad":"1","ID":"a","Size":"1"}\n'


def test_fields_are_made_only_when_asked_for() -> None:
    to, out, _ = output()
    print_rows(to, LISTING, [("a", 0)], style="{{.ID}}")
    assert out.getvalue() == b"a\n"


def test_quiet_shows_ids_unless_a_format_is_given() -> None:
    assert printed(quiet=True) == "first-of-them\nb\n"
    assert printed("{{.Size}}", quiet=True) == "1\n22\n"


def test_an_unknown_field_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as failure:
        printed("{{.Colour}}")
    assert failure.value.hint == "fields: Bad, ID, Size"


HOSTILE = "a\x1b]0;title\x07b\nc\x9b31md\u202ee\udcfff\x7f"


def test_a_terminal_gets_no_control_characters() -> None:
    to, out, err = output(terminal=True)
    to.line(HOSTILE)
    expected = r"a\x1b]0;title\x07b\nc\x9b31md\u202ee\xfff\x7f"
    assert out.getvalue().decode() == expected + "\n"
    to.error(NotFound(HOSTILE, HOSTILE))
    assert err.getvalue().decode() == f"pydock: {expected}\nhint: {expected}\n"
    assert scrub("größe ✓") == "größe ✓"


def test_a_pipe_gets_data_as_it_is() -> None:
    to, out, _ = output()
    to.line(HOSTILE)
    assert out.getvalue() == HOSTILE.encode("utf-8", "surrogateescape") + b"\n"


def test_tables_stay_tables_in_a_pipe_too() -> None:
    to, out, _ = output()
    print_table(to, [["a\nb", "c"]])
    assert out.getvalue() == b"a\\nb      c\n"


def test_errors_come_after_what_was_said_before() -> None:
    both = io.BytesIO()
    to = Output(io.BufferedWriter(both), both, terminal=False)
    to.line("said")
    to.error(NotFound("gone", "look again"))
    assert both.getvalue() == b"said\npydock: gone\nhint: look again\n"


def test_commands_are_cut_and_quoted() -> None:
    assert quoted('say "hi"\n\\') == r'"say \"hi\"\n\\"'
    assert ellipsis("abcdef", 4) == "abc…"
    assert ellipsis("abcd", 4) == "abcd"
