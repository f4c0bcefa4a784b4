"""The image config: how to run it, what its layers unpack to, how it came to be.

https://github.com/opencontainers/image-spec/blob/main/config.md
"""

import re
from typing import Any

from engine.errors import InvalidInput, Unsupported
from engine.named_tuple import NamedTuple
from engine.oci import json_strict, platform
from engine.oci.digest import DiffID, parse_digest
from engine.oci.manifest import MAX_LAYERS
from engine.oci.platform import Platform

MAX_BYTES = 8 << 20
# RFC 3339 as Go writes it.
_TIME = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9})[0-9]*)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


class HistoryStep(NamedTuple):
    """One step of the build, oldest first. A step without a layer changed the config only."""

    created_ns: int
    created_by: str
    comment: str
    author: str
    empty_layer: bool


class ImageDocument(NamedTuple):
    """The config, checked. Strings are the image's own words: data, not to be trusted."""

    platform: Platform
    created_ns: int  # 0 when unknown
    author: str
    comment: str
    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_directory: str
    user: str
    exposed_ports: tuple[str, ...]  # "80/tcp"
    volumes: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    stop_signal: str
    diff_ids: tuple[DiffID, ...]  # bottom first
    history: tuple[HistoryStep, ...]


def parse_config(data: bytes) -> ImageDocument:
    """The config in `data`. Raises InvalidInput, Unsupported (digest algorithm)."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"image config: larger than {MAX_BYTES >> 20} MiB")
    document = json_strict.parse_object(data, "image config")
    what = "image config"
    run = json_strict.get_object(document, "config", what) or {}
    parsed = platform.normalise(
        json_strict.get_text(document, "os", what),
        json_strict.get_text(document, "architecture", what),
        json_strict.get_text(document, "variant", what),
    )
    return ImageDocument(
        platform=parsed,
        created_ns=_time_ns(document, what),
        author=json_strict.get_text(document, "author", what),
        comment=json_strict.get_text(document, "comment", what),
        env=_for_execve(json_strict.get_texts(run, "Env", what), "Env"),
        entrypoint=_words(run, "Entrypoint"),
        cmd=_words(run, "Cmd"),
        working_directory=_for_execve(
            (json_strict.get_text(run, "WorkingDir", what),), "WorkingDir"
        )[0],
        user=_for_execve((json_strict.get_text(run, "User", what),), "User")[0],
        exposed_ports=tuple(json_strict.get_object(run, "ExposedPorts", what) or {}),
        volumes=_for_execve(tuple(json_strict.get_object(run, "Volumes", what) or {}), "Volumes"),
        labels=json_strict.get_pairs(run, "Labels", what),
        stop_signal=json_strict.get_text(run, "StopSignal", what),
        diff_ids=_parse_diff_ids(document),
        history=_parse_history(document),
    )


def check_layers(config: ImageDocument, layers: int) -> None:
    """Nothing, when the config has a diff_id for each of the manifest's `layers`. Raises
    InvalidInput."""
    if len(config.diff_ids) != layers:
        raise InvalidInput(
            f"image config: {len(config.diff_ids)} diff_ids for the manifest's {layers} layers"
        )


def _words(run: dict[str, Any], key: str) -> tuple[str, ...]:
    """A command; docker also takes a single string there."""
    if isinstance(run.get(key), str):
        return _for_execve((run[key],), key)
    return _for_execve(json_strict.get_texts(run, key, "image config"), key)


def _for_execve(values: tuple[str, ...], key: str) -> tuple[str, ...]:
    for value in values:
        if "\0" in value:
            raise InvalidInput(f"image config: {key}: a NUL cannot reach a process")
    return values


def _parse_diff_ids(document: dict[str, Any]) -> tuple[DiffID, ...]:
    what = "image config: rootfs"
    rootfs = json_strict.get_object(document, "rootfs", "image config")
    if rootfs is None:
        raise InvalidInput("image config: no rootfs")
    kind = json_strict.get_text(rootfs, "type", what)
    if kind not in ("", "layers"):
        raise InvalidInput(f"{what}: type: expected layers, got {kind[:40]!r}")
    texts = json_strict.get_texts(rootfs, "diff_ids", what)
    if not 1 <= len(texts) <= MAX_LAYERS:
        raise InvalidInput(f"{what}: {len(texts)} diff_ids, expected 1 to {MAX_LAYERS}")
    try:
        return tuple(DiffID(parse_digest(text)) for text in texts)
    except (InvalidInput, Unsupported) as error:
        raise type(error)(f"{what}: diff_ids: {error.message}", error.hint) from error


def _parse_history(document: dict[str, Any]) -> tuple[HistoryStep, ...]:
    steps: list[HistoryStep] = []
    for number, value in enumerate(json_strict.get_list(document, "history", "image config") or []):
        what = f"image config: history {number}"
        if not isinstance(value, dict):
            raise InvalidInput(f"{what}: expected an object")
        steps.append(
            HistoryStep(
                _time_ns(value, what),
                json_strict.get_text(value, "created_by", what),
                json_strict.get_text(value, "comment", what),
                json_strict.get_text(value, "author", what),
                value.get("empty_layer") is True,
            )
        )
    return tuple(steps)


def _time_ns(document: dict[str, Any], what: str) -> int:
    """`created` as nanoseconds since 1970; 0 when absent, or before that (Go's zero time)."""
    text = json_strict.get_text(document, "created", what)
    if not text:
        return 0
    match = re.fullmatch(_TIME, text)
    if not match:
        raise InvalidInput(f"{what}: created: {text[:60]!r} is not a time")
    from datetime import UTC, datetime  # here: most reads of a config need no time

    fields = [int(field) for field in match.groups()[:6]]
    fields[5] = min(fields[5], 59)  # a leap second
    try:
        moment = datetime(*fields, tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise InvalidInput(f"{what}: created: {text[:60]!r}: {error}") from error
    seconds = int(moment.timestamp())
    if match[8]:
        offset = int(match[9]) * 3600 + int(match[10]) * 60
        seconds -= offset if match[8] == "+" else -offset
    return max(0, seconds * 10**9 + int((match[7] or "").ljust(9, "0")))
