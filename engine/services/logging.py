"""`--log-driver` and `--log-opt`: where a container's output goes, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Mapping

from engine.errors import InvalidInput, Unsupported
from engine.monitor.logs import MAX_BYTES, MAX_FILES
from engine.units import parse_size

_DOCKERS = (
    "json-file", "local", "journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "etwlogs",
    "gcplogs",
)  # fmt: skip
_HINT = "k8s-file or none"
_UNLIMITED_BYTES = 1 << 62


def log_limits(driver: str, options: Mapping[str, str]) -> tuple[int, int]:
    """Bytes of a file, and the number of files, 0 when nothing is kept. Raises InvalidInput,
    Unsupported."""
    if driver in _DOCKERS:
        raise Unsupported(f"log driver {driver}: not supported by pydock yet", _HINT)
    if driver not in ("k8s-file", "none"):
        raise InvalidInput(f"logger: no log driver named '{driver}' is registered", _HINT)
    known = () if driver == "none" else ("max-size", "max-file")
    for name in options:
        if name not in known:
            raise InvalidInput(
                f"unknown log opt '{name}' for {driver} log driver",
                f"{' and '.join(known)} are known" if known else "leave it out",
            )
    if driver == "none":
        return 0, 0
    return _size(options.get("max-size", "")), _count(options.get("max-file", ""))


def _size(text: str) -> int:
    if not text:
        return MAX_BYTES
    if text == "-1":
        return _UNLIMITED_BYTES
    size = parse_size(text)
    if not size:
        raise InvalidInput("max-size must be a positive number", "for example 10m; -1 has no end")
    return size


def _count(text: str) -> int:
    if not text:
        return MAX_FILES
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:6]) <= 10_000:
        raise InvalidInput(f"invalid value for max-file: {text}", "a number from 1 to 10000")
    return int(text)
