"""Docker's sizes, durations and moments. What is expected was taken from docker's own tests."""

import time
from collections.abc import Iterator

import pytest

from engine import units
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("size", "digits", "shown"),
    [
        (0, 4, "0B"),
        (999, 4, "999B"),
        (1000, 4, "1kB"),
        (1024, 4, "1.024kB"),
        (1_000_000, 4, "1MB"),
        (1_048_576, 4, "1.049MB"),
        (2 * 10**6, 4, "2MB"),
        (3.42 * 10**9, 4, "3.42GB"),
        (5.372 * 10**12, 4, "5.372TB"),
        (2.22 * 10**15, 4, "2.22PB"),
        (77_812_345, 3, "77.8MB"),
        (123_900_000, 3, "124MB"),
        (1_234_000_000, 3, "1.23GB"),
    ],
)
def test_sizes_are_decimal(size: float, digits: int, shown: str) -> None:
    assert units.human_size(size, digits) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (1024, "1KiB"), (1 << 20, "1MiB"), (13_107_200, "12.5MiB"),
     (16_660_553_728, "15.52GiB"), (int(3.42 * 2**30), "3.42GiB"),
     (int(5.372 * 2**40), "5.372TiB")],
)  # fmt: skip
def test_memory_is_binary(size: int, shown: str) -> None:
    assert units.binary_size(size) == shown


@pytest.mark.parametrize(
    ("text", "size"),
    [("32", 32), ("32b", 32), ("32B", 32), ("32k", 32 << 10), ("32K", 32 << 10), ("32kb", 32 << 10),
     ("32Kb", 32 << 10), ("32Kib", 32 << 10), ("32KIB", 32 << 10), ("32Mb", 32 << 20),
     ("32Gb", 32 << 30), ("32Tb", 32 << 40), ("32Pb", 32 << 50), ("32.5kB", int(32.5 * 1024)),
     ("32.5 kB", int(32.5 * 1024)), ("32.5 B", 32), (".5m", 512 << 10), ("512m", 512 << 20)],
)  # fmt: skip
def test_memory_is_read(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "invalid size: ''"), ("hello", "invalid size: 'hello'"), ("-32", "invalid size"),
     (" 32 ", "invalid size"), ("32 mm", "invalid suffix: 'mm'"), ("32kbb", "invalid suffix"),
     ("32f", "invalid suffix: 'f'"), ("1_0k", "invalid size"), (".m", "invalid size")],
)  # fmt: skip
def test_a_bad_memory_size_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("1", 10**9), ("1.5", 1_500_000_000), ("0.01", 10_000_000), (".5", 500_000_000),
     ("1/2", 500_000_000), ("2.", 2 * 10**9), ("0", 0)],
)  # fmt: skip
def test_cpus_are_read(text: str, nano: int) -> None:
    assert units.parse_cpus(text) == nano


@pytest.mark.parametrize("text", ["", "x", "-1", "1/0", "1,5", "1.2.3"])
def test_bad_cpus_are_told(text: str) -> None:
    with pytest.raises(InvalidInput, match="rational number"):
        units.parse_cpus(text)
    with pytest.raises(InvalidInput, match="too precise"):
        units.parse_cpus("0.0000000001")


HOUR, DAY = 3600, 24 * 3600


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.45, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (180, "3 minutes"),
        (3599, "59 minutes"),
        (HOUR, "About an hour"),
        (1.4 * HOUR, "About an hour"),
        (1.6 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (731 * DAY, "2 years"),
        (3 * 365 * DAY, "3 years"),
    ],
)
def test_durations_are_rough(seconds: float, shown: str) -> None:
    assert units.human_duration(seconds) == shown


def test_durations_are_read() -> None:
    assert units.parse_duration("1h30m") == 5400
    assert units.parse_duration("1.5h") == 5400
    assert units.parse_duration("1m5s300ms") == pytest.approx(65.3)
    assert units.parse_duration("-10s") == -10
    assert units.parse_duration("0") == 0
    for text in ("", "10", "s", "1x", "1h 2m", "-"):
        with pytest.raises(InvalidInput, match="invalid duration"):
            units.parse_duration(text)


def test_durations_are_written_as_go_does() -> None:
    assert units.go_duration(0) == "0s"
    assert units.go_duration(1.5) == "1.5s"
    assert units.go_duration(65) == "1m5s"
    assert units.go_duration(3605) == "1h0m5s"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", 1_000_000_000_000_000_000 - 600 * 10**9),
        ("1767225600", 1_767_225_600 * 10**9),
        ("1767225600.25", 1_767_225_600_250_000_000),
        ("2026-01-01", 1_767_222_000 * 10**9),  # midnight in Berlin
        ("2026-01-01Z", 1_767_225_600 * 10**9),
        ("2026-01-01T00:00:00Z", 1_767_225_600 * 10**9),
        ("2026-01-01T00:00", 1_767_222_000 * 10**9),
        ("2026-01-01T01:00:00.5+01:00", 1_767_225_600_500_000_000),
        ("2026-01-01T00:00:00-05:00", (1_767_225_600 + 5 * 3600) * 10**9),
        ("2026-07-01T12:00:00", 1_782_900_000 * 10**9),  # summer time
    ],
)
def test_moments_are_read(text: str, moment: int) -> None:
    assert units.parse_moment(text, 1_000_000_000_000_000_000) == moment


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "2026-01-01T25:00", "1.2.3"])
def test_a_bad_moment_is_told(text: str) -> None:
    with pytest.raises(InvalidInput, match="time or duration"):
        units.parse_moment(text, 0)


@pytest.mark.usefixtures("berlin")
def test_moments_are_written() -> None:
    moment = 1_767_225_600_120_000_000
    assert units.rfc3339(moment) == "2026-01-01T00:00:00.12Z"
    assert units.rfc3339(moment, digits=9) == "2026-01-01T00:00:00.120000000Z"
    assert units.rfc3339(1_767_225_600 * 10**9) == "2026-01-01T00:00:00Z"
    assert units.local_rfc3339(moment) == "2026-01-01T01:00:00.120000000+01:00"
    assert units.local_time(moment) == "2026-01-01 01:00:00 +0100 CET"
