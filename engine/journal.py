"""The event journal: one line of JSON per state change, appended by every process.

Lean on purpose (`os` and `json`'s encoder alone): monitors write here too. A line is below 4 KiB
and one O_APPEND write, so writers need no lock; rotation (2 x 8 MiB) holds one.
"""

from __future__ import annotations

import fcntl
import os
import time
from _json import encode_basestring_ascii as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:  # it costs a monitor 2 ms
    from collections.abc import Mapping

MAX_LINE_BYTES = 4095
MAX_VALUE_CHARACTERS = 256
ROTATE_BYTES = 8 << 20


def append(
    path: str,
    kind: str,
    action: str,
    id: str,
    name: str,
    attributes: Mapping[str, str] | None = None,
    *,
    time_ns: int | None = None,
) -> None:
    """One more line at the end of the journal. Attributes that do not fit are cut or left out."""
    stamp = time.time_ns() if time_ns is None else time_ns
    head = (
        f'{{"time_ns":{stamp},"kind":{_quote(kind)},"action":{_quote(action[:128])},'
        f'"id":{_quote(id[:128])},"name":{_quote(name[:128])},"attributes":{{'
    )
    parts: list[str] = []
    room = MAX_LINE_BYTES - len(head) - 3
    for key, value in (attributes or {}).items():
        part = f"{_quote(key[:64])}:{_quote(value[:MAX_VALUE_CHARACTERS])}"
        if len(part) + 1 > room:
            break
        parts.append(part)
        room -= len(part) + 1
    line = (head + ",".join(parts) + "}}\n").encode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line)
        if os.fstat(descriptor).st_size > ROTATE_BYTES:
            _rotate(path)
    finally:
        os.close(descriptor)


def _rotate(path: str) -> None:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.stat(path).st_size > ROTATE_BYTES:  # nobody else did it meanwhile
            os.rename(path, f"{path}.1")
    finally:
        os.close(lock)
