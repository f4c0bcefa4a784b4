"""Themes: semantic inks → styles. `themes/*.toml` are data; the user's own lie in the configuration
directory.

Everything that draws names an *ink*, never a colour: `"accent bold"` is the token `accent` with the
attribute bold on a ground (`ground`, `surface` or `selection`).
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from rich.color import Color
from rich.style import Style

from engine.errors import InvalidInput, NotFound

SHIPPED = Path(__file__).resolve().parent.parent / "themes"
TABLES = {
    "ground": ("ground", "surface", "selection"),
    "text": ("strong", "text", "dim", "faint", "line", "edge"),
    "tone": ("accent", "focus", "ok", "warn", "bad", "info"),
    "change": ("added", "modified", "removed"),
}
TOKENS = frozenset(token for tokens in TABLES.values() for token in tokens)
ATTRIBUTES = frozenset({"bold", "faint", "reverse", "underline"})
BASES = {"dark": "night", "light": "day", "ansi": "ansi", "mono": "mono"}
_RGB = re.compile(r"#[0-9a-fA-F]{6}")

Value = str | int


class Theme:
    """Tokens and their colours (`#rrggbb`, an ANSI index 0 … 15, or "default")."""

    def __init__(
        self, name: str, title: str, kind: str, values: dict[str, Value], attributes: dict[str, str]
    ) -> None:
        self.name = name
        self.title = title
        self.kind = kind
        self.values = values
        self.attributes = attributes
        self._styles: dict[tuple[str, str], Style] = {}

    @property
    def tonal(self) -> bool:
        """True where the screen has a ground of its own: it wants 24 or 8 bits of colour."""
        return self.values["ground"] != "default"

    def style(self, ink: str, ground: str = "ground") -> Style:
        """The style of `ink`: a token, then any of `bold`, `under`, `reverse`."""
        style = self._styles.get((ink, ground))
        if style is None:
            token, *flags = ink.split()
            attributes = self.attributes.get(token, "").split()
            style = Style(
                color=_color(self.values[token]),
                bgcolor=_color(self.values[ground]),
                bold="bold" in flags or "bold" in attributes,
                dim="faint" in attributes,
                underline="under" in flags or "underline" in attributes,
                reverse="reverse" in flags or "reverse" in attributes,
            )
            self._styles[ink, ground] = style
        return style


def _color(value: Value) -> Color:
    return Color.from_ansi(value) if isinstance(value, int) else Color.parse(value)


def default_name(environ: Mapping[str, str], colours: int) -> str:
    """`mono` under NO_COLOR, `ansi` over SSH and where there are only 16 colours, else `night`."""
    if environ.get("NO_COLOR"):
        return "mono"
    if environ.get("SSH_CONNECTION") or colours < 256:
        return "ansi"
    return "night"


def user_directory(environ: Mapping[str, str]) -> Path:
    """Where a person's own themes lie."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    return Path(base) / "pydock" / "themes"


def names(environ: Mapping[str, str]) -> list[str]:
    """Every theme there is, by name."""
    found: set[str] = set()
    for directory in (SHIPPED, user_directory(environ)):
        if directory.is_dir():
            found |= {path.stem for path in directory.glob("*.toml")}
    return sorted(found)


def load(name: str, environ: Mapping[str, str]) -> Theme:
    """The theme called `name`; a user's own goes before a shipped one. Raises NotFound, and
    InvalidInput with the line of what cannot be understood."""
    for directory in (user_directory(environ), SHIPPED):
        path = directory / f"{name}.toml"
        if os.sep not in name and path.is_file():
            return read(path)
    raise NotFound(f"theme {name!r}: no such theme", f"there are: {', '.join(names(environ))}")


def read(path: Path) -> Theme:
    """The theme of a file; tokens that are missing come from night or day, by its kind."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"theme {path}: {error}", "a theme is TOML: see night.toml") from error

    def fail(key: str, why: str) -> InvalidInput:
        pattern = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[\]=]")
        lines = (n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line))
        return InvalidInput(
            f"theme {path}, line {next(lines, 1)}: {key}: {why}",
            "night.toml has all that may be set",
        )

    kind = data.pop("kind", "dark")
    if kind not in BASES:
        raise fail("kind", f"expected one of {', '.join(BASES)}, found {kind!r}")
    name = data.pop("name", path.stem)
    title = data.pop("title", name)
    if not isinstance(name, str) or not isinstance(title, str):
        raise fail("name", "name and title are strings")
    attributes = data.pop("attr", {})
    values: dict[str, Value] = {}
    for table, content in data.items():
        if table not in TABLES or not isinstance(content, dict):
            raise fail(table, f"unknown table, expected one of {', '.join(TABLES)}, attr")
        for token, value in content.items():
            if token not in TABLES[table]:
                raise fail(token, f"unknown token in [{table}]")
            if not _valid(value):
                raise fail(token, f'expected "#rrggbb", 0 … 15 or "default", found {value!r}')
            values[token] = value
    for token, attribute in attributes.items():
        if token not in TOKENS:
            raise fail(token, "unknown token in [attr]")
        if not isinstance(attribute, str) or not set(attribute.split()) <= ATTRIBUTES:
            raise fail(token, f"expected {', '.join(sorted(ATTRIBUTES))}, found {attribute!r}")
    base = SHIPPED / f"{BASES[kind]}.toml"
    if set(values) != TOKENS and path != base:
        parent = read(base)
        values = parent.values | values
        attributes = parent.attributes | attributes
    return Theme(name, title, kind, values, attributes)


def _valid(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value <= 15
    return isinstance(value, str) and (value == "default" or bool(_RGB.fullmatch(value)))
