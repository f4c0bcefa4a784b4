"""Writing a container's log in the CRI form, rotated.

`2026-01-01T00:00:00.000000000Z stdout F text`: F ends a line, P is a part of one that goes on.
kubernetes.io/docs/concepts/cluster-administration/logging; podman calls it k8s-file. Lean: monitors
import this.
"""

import os
import time

MAX_BYTES = 10 << 20
MAX_FILES = 3
PART_BYTES = 1 << 14

STAMP_BYTES = len(b"2026-01-01T00:00:00.000000000Z")
_RECORD_BYTES = STAMP_BYTES + len(b" stdout P \n") + PART_BYTES  # the longest
_NAMES = {1: b"stdout", 2: b"stderr"}


class LogWriter:
    """Appends what the streams say; whatever `write` took before it is in the file when `flush`
    returns. Never raises for a full disk: the container's output must go on being taken, and what
    was lost is said later."""

    def __init__(self, path: str, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._pending = {1: b"", 2: b""}
        self._last_stamp = b""
        self._second = -1
        self._prefix = b""
        self._lost_bytes = 0
        self._descriptor = _open(path)
        self._size = os.fstat(self._descriptor).st_size
        self._take_up()

    def write(self, stream: int, data: bytes) -> None:
        """`data` is in the file, but for the last line without its end."""
        pending = self._pending[stream]
        head = self._stamp() + b" " + _NAMES[stream]
        full, part = head + b" F ", head + b" P "
        records: list[bytes] = []
        end = data.rfind(b"\n")
        if end < 0:
            rest = pending + data
        else:
            body, rest = data[:end], data[end + 1 :]
            if _lines_are_short(len(pending), body):
                # One replace costs a fifth of a loop over the lines, a join as much as the write.
                records = [full, pending, body.replace(b"\n", b"\n" + full), b"\n"]
            else:
                lines = (pending + body).split(b"\n")
                records = [b"".join(_record(line, full, part) for line in lines)]
        while len(rest) > PART_BYTES:
            records += [part, rest[:PART_BYTES], b"\n"]
            rest = rest[PART_BYTES:]
        self._pending[stream] = rest
        if records:
            self._append(records)

    def flush(self) -> None:
        """What is left of a line is written, marked as a part."""
        for stream, rest in self._pending.items():
            if rest:
                self._append([self._stamp(), b" ", _NAMES[stream], b" P ", rest, b"\n"])
                self._pending[stream] = b""

    def keep_open(self) -> None:
        """Readers learn of the end by the file's close: it waits for that of the program that this
        process becomes."""
        os.set_inheritable(self._descriptor, True)

    def close(self) -> None:
        self.flush()
        os.close(self._descriptor)

    def _take_up(self) -> None:
        """A record that a crash or a full disk has cut goes; time runs on from the last one."""
        start = max(0, self._size - _RECORD_BYTES)
        with open(self._path, "rb") as file:
            file.seek(start)
            tail = file.read()
        end = tail.rfind(b"\n") + 1
        if end < len(tail):
            self._size = start + end
            os.ftruncate(self._descriptor, self._size)
        if end:
            line = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]
            if line[STAMP_BYTES - 1 : STAMP_BYTES] == b"Z":
                self._last_stamp = line[:STAMP_BYTES]

    def _stamp(self) -> bytes:
        """Now, in the form of the log; never before the last one, whatever the clock does."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        self._last_stamp = max(self._prefix + b"%09dZ" % rest, self._last_stamp)
        return self._last_stamp

    def _append(self, records: list[bytes]) -> None:
        own_bytes = sum(map(len, records))
        if self._lost_bytes:
            note = b"pydock: %d bytes of log lost: the disk was full" % self._lost_bytes
            records = [self._stamp(), b" stderr F ", note, b"\n", *records]
        try:
            written = os.writev(self._descriptor, records)
        except OSError:
            written = 0
        if written < sum(map(len, records)):
            if written:  # no torn record stays
                size = os.fstat(self._descriptor).st_size
                os.ftruncate(self._descriptor, size - written)
            self._lost_bytes += own_bytes
            return
        self._lost_bytes = 0
        self._size += written
        if self._size >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        """The file is log.1 now, that was log.1 is log.2 …; readers keep what they have open."""
        fresh = -1
        try:
            fresh = _open(f"{self._path}.new")
            for number in range(self._max_files - 1, 0, -1):
                older = f"{self._path}.{number - 1}" if number > 1 else self._path
                if number == 1 or os.path.exists(older):
                    os.rename(older, f"{self._path}.{number}")
            os.rename(f"{self._path}.new", self._path)
        except OSError:  # no room for another file, or the directory is gone: this one grows on
            if fresh >= 0:
                os.close(fresh)
            return
        os.close(self._descriptor)
        self._descriptor = fresh
        self._size = 0


class NoLog:
    """Takes what a LogWriter takes, and keeps nothing of it."""

    def write(self, stream: int, data: bytes) -> None:
        pass

    def flush(self) -> None:
        pass

    def keep_open(self) -> None:
        pass

    def close(self) -> None:
        pass


def open_log(path: str, limits: "tuple[int, int] | None") -> "LogWriter | NoLog":
    """The log at `path`, with `limits` in files of so many bytes, and so many of them; with no
    files there is no log."""
    if limits is None:
        return LogWriter(path)
    return LogWriter(path, *limits) if limits[1] else NoLog()


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _lines_are_short(pending_bytes: int, body: bytes) -> bool:
    """Whether no line, the first one `pending_bytes` longer, has to be cut."""
    position = -pending_bytes
    while len(body) - position > PART_BYTES:
        newline = body.rfind(b"\n", max(0, position), position + PART_BYTES + 1)
        if newline < 0:
            return False
        position = newline + 1
    return True


def _record(line: bytes, full: bytes, part: bytes) -> bytes:
    parts = b""
    while len(line) > PART_BYTES:
        parts += part + line[:PART_BYTES] + b"\n"
        line = line[PART_BYTES:]
    return parts + full + line + b"\n"
