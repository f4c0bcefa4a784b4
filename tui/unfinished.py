"""Pulls and pushes that have not come to their end, for the next console to go on with.

The engine keeps the bytes that came (by digest, for a week), a registry those that arrived; neither
knows which name was asked for. So each transfer has a file while it is not finished. Whoever works
at it holds a flock(2) on that, which dies with its process: a file that nobody holds is an offer.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.named_tuple import NamedTuple

KEPT_SECONDS = 7 * 86400  # as long as the engine keeps what came


class Transfer(NamedTuple):
    """What was asked for."""

    verb: str  # pull, push
    subject: str  # what it is called
    names: tuple[str, ...]
    compression: str | None = None


class Mark:
    """One transfer that is at work. `finished`: nothing is left to go on with."""

    def __init__(self) -> None:
        self.finished = False


class Unfinished:
    """The files in `directory` of the engine whose root has `root_id`."""

    def __init__(self, directory: Path, root_id: str) -> None:
        self._directory = directory
        self._root_id = root_id

    @contextlib.contextmanager
    def begin(self, transfer: Transfer) -> Iterator[Mark]:
        """Noted until the block is left with `finished`. Where it cannot be noted it goes on all
        the same: it can only not be resumed later."""
        mark, path = Mark(), self._path(transfer)
        held = self._hold(path)
        if held is not None:
            document = transfer._asdict() | {"root_id": self._root_id}
            with contextlib.suppress(OSError):
                os.ftruncate(held, 0)
                os.pwrite(held, json.dumps(document).encode(), 0)
        try:
            yield mark
        finally:
            if held is not None:
                if mark.finished:
                    path.unlink(missing_ok=True)
                os.close(held)

    def left(self) -> list[Transfer]:
        """What nobody works at, the oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                with contextlib.suppress(OSError):
                    found.append((path.stat().st_mtime, path))
        return [transfer for when, path in sorted(found) for transfer in self._read(path, when)]

    def _read(self, path: Path, when: float) -> Iterator[Transfer]:
        held = _locked(path, os.O_RDONLY)
        if held is None:
            return
        with open(held, "rb") as file:
            try:
                document = json.load(file)
                root_id = document.pop("root_id")
                transfer = Transfer(**document)._replace(names=tuple(document["names"]))
            except (ValueError, TypeError, KeyError, AttributeError):
                path.unlink(missing_ok=True)  # its console died while it wrote
                return
            if time.time() - when > KEPT_SECONDS:
                path.unlink(missing_ok=True)
            elif root_id == self._root_id:
                yield transfer

    def _path(self, transfer: Transfer) -> Path:
        name = "\0".join((self._root_id, transfer.verb, transfer.subject))
        return self._directory / hashlib.sha256(name.encode()).hexdigest()[:16]

    def _hold(self, path: Path) -> int | None:
        """The file, locked; None where it cannot be, or another console has it."""
        try:
            self._directory.mkdir(0o700, parents=True, exist_ok=True)
        except OSError:
            return None
        return _locked(path, os.O_RDWR | os.O_CREAT)


def _locked(path: Path, flags: int) -> int | None:
    try:
        held = os.open(path, flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(path)):
            return held
    except OSError:  # another one has it, or has just finished it
        pass
    os.close(held)
    return None
