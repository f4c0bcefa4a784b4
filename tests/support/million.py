"""In a worker: a layer unpacked by one process, which says how much memory that took."""

import hashlib
import os
from collections.abc import Callable
from typing import Any

from engine.storage.layer_worker import Task, Unpacked, unpack


def unpack_alone(argument: Any, report: Callable[[object], None]) -> tuple[int, int]:
    """How many entries the tar at `path` has, unpacked into `directory`, and the peak of this
    process' memory (KiB, resident)."""
    path, directory = argument
    os.mkdir(directory)
    with open(path, "rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    blob = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    task = Task(directory, blob, -1, os.fstat(blob).st_size, digest, digest)
    result = Unpacked(*unpack(tuple(task), lambda done: None))
    with open("/proc/self/status") as file_:
        (peak,) = [line.split()[1] for line in file_ if line.startswith("VmHWM")]
    return result.entries, int(peak)
