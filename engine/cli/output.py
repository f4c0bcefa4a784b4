"""What goes to standard output and error: text made harmless, tables, `--format`, errors.

Only this file writes. Foreign strings never reach a terminal with their control characters; in a
pipe, data stays what it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Generic, NamedTuple, TypeVar  # noqa: TID251  # a generic one

from engine.errors import EngineError, InvalidInput, Unavailable

Row = TypeVar("Row")

_MINIMUM, _PADDING = 10, 3  # docker's tabwriter
# C0, DEL, C1; marks and isolates that reorder what a person reads.
_UNSAFE = frozenset(
    map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, 0x2028, 0x2029,
              *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)  # fmt: skip


def scrub(text: str, keep: str = "") -> str:
    """`text` as one harmless line: control and reordering characters become visible escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(each) if _is_unsafe(each, keep) else each for each in text)


def _is_unsafe(character: str, keep: str) -> bool:
    return (character in _UNSAFE and character not in keep) or 0xD800 <= ord(character) < 0xE000


def _visible(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8: see PEP 383
        return f"\\x{number - 0xDC00:02x}"
    escapes = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return escapes.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


class Output:
    """Standard output and error of one command."""

    def __init__(self, out: BinaryIO, err: BinaryIO, *, terminal: bool) -> None:
        self._out = out
        self._err = err
        self.is_terminal = terminal

    def line(self, text: str, *, keep: str = "") -> None:
        """A line; on a terminal harmless, but for the characters in `keep`."""
        if self.is_terminal:
            text = scrub(text, keep)
        self.data(f"{text}\n".encode("utf-8", "surrogateescape"))

    def text(self, text: str) -> None:
        """Lines of text, as `line`; a newline at the end is not doubled."""
        for line in text.removesuffix("\n").split("\n"):
            self.line(line, keep="\t")

    def data(self, data: bytes) -> None:
        """Bytes as they are. Raises BrokenPipeError, Unavailable (a full disk, a lost terminal)."""
        with _writing("standard output"):
            self._out.write(data)

    def stream(self) -> BinaryIO:
        """Standard output itself, for what is too long to be held; all before it is out."""
        self.flush()
        return self._out

    def flush(self) -> None:
        """What was said is out. Raises as `data`."""
        with _writing("standard output"):
            self._out.flush()

    def error(self, error: EngineError) -> None:
        """Two lines on standard error: what is wrong, and the next step."""
        self.warn(f"pydock: {error.message}")
        if error.hint:
            self.warn(error.hint if error.hint.startswith("See '") else f"hint: {error.hint}")

    def warn(self, text: str) -> None:
        """A line on standard error."""
        self.error_data(f"{scrub(text)}\n".encode("utf-8", "replace"))

    def error_data(self, data: bytes) -> None:
        """Bytes on standard error, behind all that was said before, if that could be said."""
        with contextlib.suppress(OSError):
            self._out.flush()
        with _writing("standard error"):
            self._err.write(data)
            self._err.flush()


@contextlib.contextmanager
def _writing(where: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unavailable(f"{where}: {reason}", "") from error


class Listing(NamedTuple, Generic[Row]):
    """How rows of one kind are shown: every field by its name in templates, with its header, and
    the fields of the usual table."""

    fields: Mapping[str, tuple[str, Callable[[Row], str]]]
    table: Sequence[str]
    quiet: str = ""  # the field that `-q` shows alone


class Fields(Generic[Row], Mapping[str, str]):
    """A row as a mapping, its values made when a template asks for them."""

    def __init__(self, listing: Listing[Row], row: Row) -> None:
        self._fields = listing.fields
        self._row = row

    def __getitem__(self, name: str) -> str:
        return self._fields[name][1](self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._fields))

    def __len__(self) -> int:
        return len(self._fields)


def print_rows(
    output: Output,
    listing: Listing[Row],
    rows: Sequence[Row],
    *,
    style: str = "",
    quiet: bool = False,
) -> None:
    """Rows by `--format`: nothing or `table`, `table TEMPLATE`, `json`, or a template; `quiet` is
    `-q`. Raises InvalidInput."""
    if quiet and not style:
        for row in rows:
            output.line(listing.fields[listing.quiet][1](row))
        return
    if style in ("", "table"):
        fields = [listing.fields[name] for name in listing.table]
        cells = [[header for header, _ in fields]]
        cells += [[show(row) for _, show in fields] for row in rows]
        print_table(output, cells)
        return
    from engine.cli import templates  # only for who asks for it

    if style == "json":
        for row in rows:
            output.line(templates.to_json(Fields(listing, row)))
        return
    body = style.removeprefix("table").lstrip() if style.startswith("table ") else style
    render = templates.parse(body.replace("\\t", "\t").replace("\\n", "\n"))
    try:
        lines = [render(Fields(listing, row)) for row in rows]
        if body is style:
            for line in lines:
                output.text(line)
            return
        headers = {name: header for name, (header, _) in listing.fields.items()}
        print_table(output, [line.split("\t") for line in (render(headers), *lines)])
    except InvalidInput as error:
        known = ", ".join(sorted(listing.fields))
        raise InvalidInput(error.message, f"fields: {known}") from error


def print_table(output: Output, rows: Sequence[Sequence[str]], *, minimum: int = _MINIMUM) -> None:
    """Columns with docker's widths: at least `minimum`, three blanks between them."""
    clean = [[scrub(cell) for cell in row] for row in rows]
    widths: dict[int, int] = {}
    for row in clean:
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths.get(column, minimum), len(cell) + _PADDING)
    lines = []
    for row in clean:
        cells = [f"{cell:<{widths[column]}}" for column, cell in enumerate(row[:-1])]
        lines.append("".join(cells) + row[-1] + "\n")
    output.data("".join(lines).encode("utf-8", "surrogateescape"))  # a thousand lines in one go


def quoted(text: str) -> str:
    """`text` in Go's quotes, as docker shows commands."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{scrub(escaped)}"'


def ellipsis(text: str, width: int) -> str:
    """The first `width` characters; the last of them is … when something was cut."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
