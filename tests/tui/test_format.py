"""Numbers as LOOK, part 7, writes them."""

import pytest

from tui import format


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (88, "88B"),
        (900_000, "900K"),
        (74_800_000, "74.8M"),
        (412_000_000, "412M"),
        (999_600_000, "1.00G"),
        (1_210_000_000, "1.21G"),
        (9_996, "10.0K"),
    ],
)
def test_sizes_have_three_digits_and_a_letter(count: int, text: str) -> None:
    assert format.size(count) == text


def test_memory_is_binary_and_does_not_jitter() -> None:
    assert format.memory(412 << 20) == "412M"
    assert format.memory(1002 << 20) == "1.0G"
    assert format.memory(1200 << 20) == "1.2G"
    assert format.memory(0) == "0"


def test_rates_have_no_unit() -> None:
    assert [format.rate(n) for n in (0, 0.4, 300, 820_000, 1_300_000)] == [
        "0",
        "0",
        "1K",
        "820K",
        "1.3M",
    ]


def test_counts_are_short_from_ten_thousand_on() -> None:
    assert [format.count(n) for n in (0, 1180, 38_114)] == ["0", "1,180", "38.1k"]


def test_ages_have_one_unit() -> None:
    ages = [format.age(seconds) for seconds in (8, 37, 250, 7300, 3 * 86400 + 1)]
    assert ages == ["8s", "30s", "4m", "2h", "3d"]
    assert format.still_age(8) == "<1m"
    assert format.span(3 * 86400 + 4 * 3600) == "3d 4h"


def test_a_failed_container_says_its_code() -> None:
    assert format.state("exited", 1)[:3] == ("×", "bad", "exited 1")
    assert format.state("exited", 0)[:3] == ("○", "faint", "exited 0")
    assert format.state("running")[:3] == ("●", "ok", "running")


def test_bar_is_drawn_in_half_cells() -> None:
    assert format.bar(0.5, 5) == [("━━╸", "info"), ("──", "line")]
    assert format.bar(0.001, 5)[0] == ("╸", "info")
    assert format.bar(0, 5) == [("", "info"), ("─────", "line")]
    assert format.bar(1, 5, "warn", "")[0] == ("━━━━━", "warn")


def test_braille_fills_a_flow_and_leaves_gaps_blank() -> None:
    assert format.braille([-1, -1, 0, 1], 2, 1) == ["\u2800\u28f8"]
    top, bottom = format.braille([1, 1], 1, 2)
    assert (top, bottom) == ("\u28ff", "\u28ff")


def test_a_level_is_a_line() -> None:
    top, bottom = format.braille([0.5, 0.5], 1, 2, fill=False)
    assert (top, bottom) == ("\u2800", "\u2809")


def test_blocks_stand_in_for_braille() -> None:
    assert format.blocks([0.5, 0.5, 1, 1, -1, -1], 3, 1) == ["▄█ "]


def test_scale_is_one_two_or_five() -> None:
    assert [format.scale(v) for v in (0, 3, 7, 91, 130)] == [1, 5, 10, 100, 200]
