"""Writing a container's log in the CRI form, rotated.

`2026-01-01T00:00:00.000000000Z stdout F text`: F ends a line, P is a part of one that goes on.
kubernetes.io/docs: CRI logging; podman calls it k8s-file. Lean: monitors import this.
"""

import os
import time

MAX_BYTES = 10 << 20
MAX_FILES = 3
PART_BYTES = 1 << 14

_NAMES = {1: b"stdout", 2: b"stderr"}


class LogWriter:
    """Appends what the streams say. `close` writes what is left of a line."""

    def __init__(self, path: str, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._pending = {1: b"", 2: b""}
        self._last_ns = 0
        self._second = -1
        self._prefix = b""
        self._lost_bytes = 0
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    def write(self, stream: int, data: bytes) -> None:
        """`data` is in the file, but for a last line without its end. Never raises for a full
        disk: the container's output must go on being taken; what was lost is said later."""
        data = self._pending[stream] + data
        whole = data.rfind(b"\n") + 1
        rest = data[whole:]
        lines = data[:whole].split(b"\n")[:-1]
        head = self._stamp() + b" " + _NAMES[stream] + b" "
        parts: list[bytes] = []
        for line in lines:
            self._add(parts, head, line, b"F ")
        while len(rest) > PART_BYTES:
            parts += (head, b"P ", rest[:PART_BYTES], b"\n")
            rest = rest[PART_BYTES:]
        self._pending[stream] = rest
        if parts:
            self._append(b"".join(parts))

    def close(self) -> None:
        """Everything is written; what is left of a line is marked as a part."""
        for stream, rest in self._pending.items():
            if rest:
                self._append(self._stamp() + b" " + _NAMES[stream] + b" P " + rest + b"\n")
                self._pending[stream] = b""
        os.close(self._descriptor)

    def _add(self, parts: list[bytes], head: bytes, line: bytes, mark: bytes) -> None:
        while len(line) > PART_BYTES:
            parts += (head, b"P ", line[:PART_BYTES], b"\n")
            line = line[PART_BYTES:]
        parts += (head, mark, line, b"\n")

    def _stamp(self) -> bytes:
        """Now, in the form of the log; never before the last one, whatever the clock does."""
        now = self._last_ns = max(time.time_ns(), self._last_ns)
        second, rest = divmod(now, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return self._prefix + b"%09dZ" % rest

    def _append(self, data: bytes) -> None:
        if self._lost_bytes:
            note = b"pydock: %d bytes of log lost: the disk was full" % self._lost_bytes
            data = self._stamp() + b" stderr F " + note + b"\n" + data
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):  # cut by a full disk: no torn line stays
                os.ftruncate(self._descriptor, self._size)
                self._lost_bytes += len(data)
                return
        except OSError:
            self._lost_bytes += len(data)
            return
        self._lost_bytes = 0
        self._size += len(data)
        if self._size >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        """The file is log.1 now, that was log.1 is log.2 …; readers keep what they have open."""
        os.close(self._descriptor)
        for number in range(self._max_files - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            try:
                os.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                continue
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
