"""A port where nobody listens, and nobody else can meanwhile."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A loopback port that refuses connections. It is bound: one that was only free a moment ago
    may be somebody's by now, or our own connection's, which then leads to itself."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
