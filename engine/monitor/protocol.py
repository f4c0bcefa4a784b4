"""What is said on a monitor's control socket, and at its birth.

SOCK_SEQPACKET: one message a packet, a marshalled tuple whose first item is its kind. Fields are
only ever added, at the end: a monitor outlives upgrades and must understand newer clients.

client → monitor
    (HELLO, version, ATTACH, stdin, replay)   watch the container's own process
    (HELLO, version, EXEC, stdin)             run another one: a memory file comes with it that
                                              holds what runtime.exec.make_process has made
    (IN, bytes)                               at most WINDOW_BYTES that are not TAKEN yet
    (EOF,) (RESIZE, rows, columns) (SIGNAL, number)
    (DONE,)                                   the client has cleaned up, after EXIT asked for it
monitor → client
    (HELLO, version, tty)
    (OUT, 1 or 2, bytes)
    (TAKEN, count)                            so many bytes of IN have reached the process
    (EXIT, code, clean)                       with `clean` the monitor waits for DONE
    (FAILED, fields)                          runtime.failure.explain takes them
    (LOST,)                                   output came faster than this client took it
"""

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
HELLO, ATTACH, EXEC, IN, EOF, RESIZE, SIGNAL, DONE, OUT, TAKEN, EXIT, FAILED, LOST = (
    "hello", "attach", "exec", "in", "eof", "resize", "signal", "done", "out", "taken", "exit",
    "failed", "lost",
)  # fmt: skip

# A monitor is born with its launcher's socket. With GO come what it has to do (marshal), its lock,
# and a first client or nothing; it answers (STARTED, pid, started_ns) or (FAILED, fields).
LAUNCHER_FD = 3
WORK_FD, LOCK_FD, CLIENT_FD = PLACES = 4, 5, 6
GO, STARTED = b"go", "started"

CHUNK_BYTES = 1 << 15  # of data in one message: a packet must fit the socket's buffer
PACKET_BYTES = CHUNK_BYTES + 1024
WINDOW_BYTES = 1 << 18


def encode(*message: "Any") -> bytes:
    """The packet for a message."""
    return marshal.dumps(message)


def decode(packet: bytes) -> "tuple[Any, ...]":
    """The message in a packet. Raises ValueError on anything else."""
    try:
        message = marshal.loads(packet)
    except (EOFError, TypeError) as error:
        raise ValueError(f"control message: {error}") from error
    if not isinstance(message, tuple) or not message or not isinstance(message[0], str):
        raise ValueError("control message: expected a tuple")
    return message
