"""Themes are data; LOOK's tables of contrast and of colour-blind sight are computed from them."""

from pathlib import Path

import pytest

from engine.errors import InvalidInput, NotFound
from tui import theme

TONAL = ("night", "day", "night-contrast", "day-contrast", "night-safe", "day-safe")
INKS = ("strong", "text", "dim", "faint", "line", "accent", "ok", "warn", "bad", "info")
CONTRAST = {
    "night": (12.9, 9.4, 4.8, 3.1, 1.2, 6.4, 6.9, 7.4, 5.5, 6.5),
    "day": (15.6, 10.9, 4.8, 3.1, 1.2, 5.2, 4.8, 4.9, 5.2, 4.9),
    "night-contrast": (12.8, 11.4, 7.7, 5.3, 3.3, 6.9, 9.0, 9.1, 5.9, 8.3),
    "day-contrast": (15.7, 14.2, 7.7, 5.2, 2.9, 7.8, 7.0, 7.0, 7.1, 7.1),
    "night-safe": (12.9, 9.4, 4.8, 3.1, 1.2, 7.7, 5.7, 9.7, 5.1, 6.8),
    "day-safe": (15.6, 10.9, 4.8, 3.1, 1.2, 9.8, 4.8, 4.6, 7.0, 5.4),
}
APART = {"night": 9, "day": 7, "night-safe": 19, "day-safe": 42}
# Machado, Oliveira, Fernandes 2009, full strength.
SIGHT = {
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(value: theme.Value) -> list[float]:
    assert isinstance(value, str)
    parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def luminance(value: theme.Value) -> float:
    red, green, blue = linear(value)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(ink: theme.Value, ground: theme.Value) -> float:
    high, low = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(value: theme.Value, sight: str) -> tuple[float, float, float]:
    light = linear(value)
    seen = [sum(m * v for m, v in zip(row, light, strict=True)) for row in SIGHT[sight]]
    red, green, blue = (max(0.0, min(1.0, v)) for v in seen)
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("name", TONAL)
def test_contrast_is_what_the_look_says(name: str) -> None:
    values = theme.load(name, {}).values
    grounds = [values[g] for g in ("ground", "surface", "selection")]
    for ink, wanted in zip(INKS, CONTRAST[name], strict=True):
        worst = min(ratio(values[ink], ground) for ground in grounds)
        assert worst == pytest.approx(wanted, abs=0.1), ink


@pytest.mark.parametrize("name", APART)
def test_ok_warn_and_bad_stay_apart_for_every_sight(name: str) -> None:
    values = theme.load(name, {}).values
    pairs = (("ok", "warn"), ("warn", "bad"), ("ok", "bad"))
    nearest = min(
        sum((p - q) ** 2 for p, q in zip(lab(values[a], s), lab(values[b], s), strict=True)) ** 0.5
        for s in SIGHT
        for a, b in pairs
    )
    assert round(nearest) == APART[name]


@pytest.mark.parametrize("name", [*TONAL, "ansi", "mono"])
def test_shipped_theme_has_every_token(name: str) -> None:
    assert set(theme.load(name, {}).values) == theme.TOKENS


def test_ansi_uses_only_colours_that_every_palette_shows() -> None:
    values = theme.load("ansi", {}).values.values()
    assert set(values) <= {"default", 1, 2, 3, 5, 6}


def test_unknown_token_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nkind = "dark"\n\n[text]\nstrong = "#ffffff"\nsalmon = "#fa8072"\n'
    )
    with pytest.raises(InvalidInput, match=r"line 6: salmon: unknown token"):
        theme.read(path)


def test_bad_value_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[tone]\nok = "green"\n')
    with pytest.raises(InvalidInput, match="line 2: ok: expected"):
        theme.read(path)


def test_missing_tokens_come_from_day_for_a_light_theme(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "light"\n[tone]\nok = "#005500"\n')
    mine, day = theme.read(path), theme.load("day", {})
    assert mine.values == day.values | {"ok": "#005500"}


def test_a_persons_own_theme_goes_before_a_shipped_one(tmp_path: Path) -> None:
    directory = tmp_path / "pydock" / "themes"
    directory.mkdir(parents=True)
    (directory / "night.toml").write_text('title = "Mine"\n')
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert theme.load("night", environ).title == "Mine"
    with pytest.raises(NotFound, match="no such theme"):
        theme.load("../night", environ)


def test_default_theme_follows_the_terminal() -> None:
    assert theme.default_name({}, 1 << 24) == "night"
    assert theme.default_name({"SSH_CONNECTION": "a 1 b 2"}, 1 << 24) == "ansi"
    assert theme.default_name({}, 16) == "ansi"
    assert theme.default_name({"SSH_CONNECTION": "a 1 b 2", "NO_COLOR": "1"}, 256) == "mono"
