"""Docker's words for sizes, durations and moments, both ways.

The forms are https://github.com/docker/go-units's and Go's; clients that show docker's columns and
the options that take such values use them. Pure; nothing is imported that a start would notice.
"""

import time

from engine.errors import InvalidInput

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_POWERS = "kmgtp"
_DURATIONS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def human_size(size_bytes: float, digits: int = 4) -> str:
    """`77.8MB`: base 1000, so many significant digits."""
    return _scaled(size_bytes, 1000.0, _DECIMAL, digits)


def binary_size(size_bytes: float) -> str:
    """`12.5MiB`: base 1024, four significant digits."""
    return _scaled(size_bytes, 1024.0, _BINARY, 4)


def _scaled(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    power = 0
    while size >= base and power < len(units) - 1:
        size /= base
        power += 1
    return f"{size:.{digits}g}{units[power]}"


def parse_size(text: str) -> int:
    """Bytes of `512m`, `1.5GiB`, `64 kb`: base 1024 whatever is written. Raises InvalidInput."""
    end = max(text.rfind(character) for character in "0123456789. ")
    if end < 0:
        raise InvalidInput(f"invalid size: '{text}'", "for example 512m, 1g")
    number, suffix = text[: end + 1].removesuffix(" "), text[end + 1 :].lower()
    try:
        size = _float(number)
    except ValueError as error:
        raise InvalidInput(f"invalid size: '{text}'", "for example 512m, 1g") from error
    if suffix in ("", "b"):
        return int(size)
    if suffix[0] not in _POWERS or suffix[1:] not in ("", "b", "ib"):
        raise InvalidInput(f"invalid suffix: '{suffix}'", "b, k, m, g, t or p")
    return int(size * (1 << 10 * (_POWERS.index(suffix[0]) + 1)))


def _float(text: str) -> float:
    """What float() takes, without signs, names, underscores and blanks."""
    if not text or text.strip("0123456789.eE"):
        raise ValueError(text)
    return float(text)


def parse_cpus(text: str) -> int:
    """Billionths of a core of `1.5`, `0.25` or `1/2`. Raises InvalidInput."""
    numerator, slash, denominator = text.partition("/")
    whole, _, fraction = numerator.partition(".")
    digits = whole + fraction
    divisor = denominator if slash else "1"
    sane = len(text) < 40 and digits.isdecimal() and divisor.isdecimal() and int(divisor) > 0
    if not sane:
        raise InvalidInput(f"failed to parse {text} as a rational number", "for example 1.5")
    parts: int = 10 ** len(fraction) * int(divisor)
    nano, rest = divmod(int(digits) * 1_000_000_000, parts)
    if rest:
        raise InvalidInput("value is too precise", "at most nine digits after the point")
    return nano


def human_duration(seconds: float) -> str:
    """`About a minute`, `3 hours`: how long, roughly."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    for limit, length, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < limit * 24:
            return f"{days // length} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def go_duration(seconds: float) -> str:
    """`1h0m5s`, `1.5s`: Go's Duration.String for whole milliseconds and above."""
    milliseconds = round(seconds * 1000)
    if not milliseconds:
        return "0s"
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail


def parse_duration(text: str) -> float:
    """Seconds of Go's `1h30m`, `10s`, `1.5h`. Raises InvalidInput."""
    rest = text.removeprefix("+").removeprefix("-")
    if rest == "0":
        return 0.0
    seconds = 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        tail = rest[len(number) :]
        unit = tail[: len(tail) - len(tail.lstrip("hmsuµn"))]
        # 1h30m: a unit ends where its own letters do.
        unit = next((u for u in (unit[:2], unit[:1]) if u in _DURATIONS), "")
        try:
            seconds += _float(number) * _DURATIONS[unit]
        except (ValueError, KeyError) as error:
            raise InvalidInput(
                f"invalid duration {text!r}", "for example 10s, 5m, 1h30m"
            ) from error
        rest = tail[len(unit) :]
    if not text.strip("+-"):
        raise InvalidInput(f"invalid duration {text!r}", "for example 10s, 5m, 1h30m")
    return -seconds if text.startswith("-") else seconds


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 of `--since` and `--until`: `10m` before `now_ns`, seconds since
    1970, or a date (`2026-01-31`, `2026-01-31T12:00:00.5`, with `Z` or `+01:00`, else local).

    Raises InvalidInput."""
    bare = text.replace(".", "", 1)
    if bare.isdecimal():
        seconds, _, fraction = text.partition(".")
        return int(seconds or 0) * 1_000_000_000 + int(f"{fraction[:9]:0<9}")
    try:
        return now_ns - int(parse_duration(text) * 1e9)
    except InvalidInput:
        pass
    try:
        return _parse_date(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"failed to parse value as time or duration: {text!r}",
            "for example 10m, 2026-01-31T12:00:00, 1767225600",
        ) from error


def _parse_date(text: str) -> int:
    date, t, clock = text.partition("T")
    zone = _zone_seconds(clock if t else date[10:])
    if t:
        clock = clock[: -len(_zone_text(clock)) or None]
    else:
        date = date[:10]
    hours_minutes_seconds, _, fraction = clock.partition(".")
    if fraction and not fraction.isdecimal():
        raise ValueError(text)
    parts = [*date.split("-"), *hours_minutes_seconds.split(":")] if clock else date.split("-")
    if not 3 <= len(parts) <= 6 or not all(part.isdecimal() for part in parts):
        raise ValueError(text)
    year, month, day, *clock_parts = [int(part) for part in parts]
    hour, minute, second = [*clock_parts, 0, 0, 0][:3]
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(text)
    moment = (year, month, day, hour, minute, second, 0, 0, -1)
    if zone is None:
        seconds = int(time.mktime(moment))
    else:
        import calendar  # brings datetime: only for dates with a zone

        seconds = calendar.timegm(moment) - zone
    return seconds * 1_000_000_000 + int(f"{fraction[:9]:0<9}")


def _zone_text(clock: str) -> str:
    if clock.endswith("Z"):
        return "Z"
    sign = max(clock.rfind("+"), clock.rfind("-"))
    return clock[sign:] if sign >= 0 else ""


def _zone_seconds(clock: str) -> int | None:
    """Seconds east of Greenwich, None for local time."""
    zone = _zone_text(clock)
    if not zone:
        if clock and not clock[0].isdecimal():
            raise ValueError(clock)
        return None
    if zone == "Z":
        return 0
    hours, _, minutes = zone[1:].partition(":")
    seconds = int(hours) * 3600 + int(minutes) * 60
    return -seconds if zone[0] == "-" else seconds


def rfc3339(time_ns: int, *, digits: int | None = None) -> str:
    """`2026-01-31T12:00:00.5Z`: UTC; zeros at the end of the fraction are cut unless `digits` are
    asked for."""
    seconds, nano = divmod(time_ns, 1_000_000_000)
    fraction = f"{nano:09}"
    fraction = fraction.rstrip("0") if digits is None else fraction[:digits]
    dot = "." if fraction else ""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{dot}{fraction}Z"


def local_rfc3339(time_ns: int) -> str:
    """`2026-01-31T13:00:00.500000000+01:00`: in this host's zone, nine digits."""
    seconds, nano = divmod(time_ns, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    shown = f"{zone[:3]}:{zone[3:]}" if zone.strip("+-0") else "Z"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nano:09}{shown}"


def local_time(time_ns: int) -> str:
    """`2026-01-31 13:00:00 +0100 CET`: Go's Time.String, in this host's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(time_ns // 1_000_000_000))
