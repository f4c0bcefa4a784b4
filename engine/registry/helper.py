"""Credential helpers: programs that keep passwords for docker and its kin.

https://github.com/docker/docker-credential-helpers: a verb as argument, a server on stdin, JSON on
stdout.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time

from engine.errors import Unavailable
from engine.registry.secret import Secret, quote_foreign

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAX_OUTPUT = 1 << 20
_NOT_FOUND = b"credentials not found"
_PREFIX = "docker-credential-"


def ask_helper(name: str, server: str, timeout_seconds: float) -> tuple[str, str] | None:
    """User and secret that `docker-credential-<name>` keeps for `server`; None when it has none.
    Raises Unavailable. What it prints is never shown: it may be the secret."""
    status, output = _run(_find(name), "get", server.encode(), timeout_seconds)
    if status != 0:
        if _NOT_FOUND in output.lower():
            return None
        raise Unavailable(f"credential helper {_PREFIX}{name}: failed with status {status}")
    try:
        answer = json.loads(output)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(user, str) or not isinstance(secret, str):
        raise Unavailable(f"credential helper {_PREFIX}{name}: its answer cannot be read") from None
    return user, secret


def tell_helper(name: str, server: str, user: str, secret: Secret, timeout_seconds: float) -> None:
    """`docker-credential-<name>` keeps the secret for `server`. Raises Unavailable."""
    entry = {"ServerURL": server, "Username": user, "Secret": secret.reveal()}
    status, _ = _run(_find(name), "store", json.dumps(entry).encode(), timeout_seconds)
    if status != 0:
        raise Unavailable(
            f"credential helper {_PREFIX}{name}: cannot keep it: failed with status {status}",
            f"try it by hand: {_PREFIX}{name} list",
        )


def erase_from_helper(name: str, server: str, timeout_seconds: float) -> bool:
    """True when `docker-credential-<name>` kept something for `server`, and does no more. Raises
    Unavailable."""
    if ask_helper(name, server, timeout_seconds) is None:
        return False
    status, output = _run(_find(name), "erase", server.encode(), timeout_seconds)
    if status != 0 and _NOT_FOUND not in output.lower():
        raise Unavailable(
            f"credential helper {_PREFIX}{name}: cannot forget it: failed with status {status}",
            f"try it by hand: {_PREFIX}{name} erase",
        )
    return True


def _find(name: str) -> str:
    program = f"{_PREFIX}{name}"
    import shutil  # it brings every way to compress

    path = shutil.which(program) if _NAME.fullmatch(name) else None
    if path is None:
        raise Unavailable(
            f"credential helper {quote_foreign(program, 80)}: not found in PATH",
            "install it, or remove it from docker's config.json",
        )
    return path


def _run(path: str, verb: str, question: bytes, timeout_seconds: float) -> tuple[int, bytes]:
    """Exit status and output of `path verb`. By posix_spawn: this process has threads."""
    stdin_read, stdin_write = os.pipe2(os.O_CLOEXEC)
    stdout_read, stdout_write = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            path,
            [path, verb],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin_read, 0),
                (os.POSIX_SPAWN_DUP2, stdout_write, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        os.close(stdin_write)
        os.close(stdout_read)
        raise Unavailable(f"credential helper {path}: {error.strerror}") from error
    finally:
        for descriptor in (stdin_read, stdout_write, null):
            os.close(descriptor)
    try:
        try:
            os.write(stdin_write, question)  # a line, or a password: it fits the pipe
        except BrokenPipeError:
            pass  # it answers without reading
        finally:
            os.close(stdin_write)
        output = _read_all(stdout_read, time.monotonic() + timeout_seconds)
    finally:
        os.close(stdout_read)
    if output is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if output is None:
        raise Unavailable(f"credential helper {path}: no answer in {timeout_seconds:g} seconds")
    return os.waitstatus_to_exitcode(status), output


def _read_all(descriptor: int, deadline: float) -> bytes | None:
    """Everything up to the end; None when that does not come in time, or is too much."""
    output = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(output) <= _MAX_OUTPUT:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        data = os.read(descriptor, 65536)
        if not data:
            return output
        output += data
    return None
