"""`top` with options: ps(1) of this host is asked, of a container's processes alone.

As docker does it: github.com/moby/moby/blob/master/daemon/top_unix.go.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.errors import InvalidInput, Unavailable
from engine.kernel.cgroup import open_cgroup

_MAX_OUTPUT_BYTES = 16 << 20
_PID = "PID"


def ask_ps(cgroup: str, options: Sequence[str]) -> list[list[str]]:
    """The titles, then a row for each process; the last column is what is left of the line. Raises
    InvalidInput (what ps says of its options), Unavailable (there is none)."""
    status, said, complaints = _run(["ps", *options])
    if status != 0:
        reason = (complaints.strip().splitlines() or ["it failed"])[0]
        raise InvalidInput(
            f"ps: {reason.removeprefix('error: ')}", "see ps(1): -ef, aux, -o pid,comm"
        )
    titles, *lines = said.splitlines() or [""]
    names = titles.split()
    if _PID not in names:
        raise InvalidInput("couldn't find PID field in ps output", "name it too: -o pid,…")
    column = names.index(_PID)
    pids = {str(pid) for pid in open_cgroup(cgroup).pids()}
    rows = [line.split(None, len(names) - 1) for line in lines]
    return [names, *(row for row in rows if len(row) > column and row[column] in pids)]


def _run(argv: list[str]) -> tuple[int, str, str]:
    """Its status, output and complaints. By posix_spawn: this process has threads."""
    files = [os.memfd_create(name) for name in ("ps-stdout", "ps-stderr")]
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            {**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": "10000"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, number, target)
                for target, number in enumerate((null, *files))
            ],
        )
        _, status = os.waitpid(pid, 0)
        said = [os.pread(each, _MAX_OUTPUT_BYTES, 0).decode("utf-8", "replace") for each in files]
        return os.waitstatus_to_exitcode(status), said[0], said[1]
    except FileNotFoundError as error:
        raise Unavailable(
            "ps: not installed on this host", "install procps, or leave its options out"
        ) from error
    finally:
        for each in (null, *files):
            os.close(each)
