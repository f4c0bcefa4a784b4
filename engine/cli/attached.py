"""`exec`, `attach`, `start`: this terminal, or these pipes, and a process in a container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli import specs
from engine.cli.parser import Command, Flag
from engine.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.engine import Session

STDIN, STDOUT, STDERR = 0, 1, 2


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Raises InvalidInput, as docker, when a terminal was asked for and stdin is none."""
    if tty and stdin and not os.isatty(STDIN):
        raise InvalidInput("the input device is not a TTY", "leave out -t, or use a terminal")


def terminal_size() -> tuple[int, int] | None:
    """Rows and columns of this terminal; None without one."""
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return size.lines, size.columns
    return None


DETACH_KEYS = Flag(
    "detach-keys", "Override the key sequence for detaching a container", kind="string"
)


def detach_keys(call: Call) -> bytes | None:
    """What `--detach-keys` says, None where nothing. Raises InvalidInput: ask before a start."""
    if not call.one("detach-keys"):
        return None
    from engine.relay import parse_keys

    return parse_keys(call.one("detach-keys"))


def relay(
    call: Call,
    session: Session,
    *,
    stdin: bool,
    keys: bytes | None,
    outputs: Sequence[str] = ("stdout", "stderr"),
) -> int:
    """The exit code of the session's process; 0 when the person detached. Of its outputs those in
    `outputs` are ours too."""
    from engine.relay import DETACH_KEYS as usual
    from engine.relay import relay as run  # termios, select, signal: only where bytes flow

    call.output.flush()
    nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        code = run(
            session,
            stdin=STDIN if stdin else None,
            stdout=STDOUT if "stdout" in outputs else nowhere,
            stderr=STDERR if "stderr" in outputs else nowhere,
            detach_keys=usual if keys is None else keys,
            signals=call.value("sig-proxy", True),
        )
    finally:
        os.close(nowhere)
        session.close()
    return 0 if code is None else code


SIG_PROXY = Flag("sig-proxy", "Proxy received signals to the process", default="true")
_USER_TEXT = 'Username or UID (format: "<name|uid>[:<group|gid>]")'
PROCESS_FLAGS = (
    Flag("env", "Set environment variables", short="e", kind="list", read=specs.check_variable),
    Flag("env-file", "Read in a file of environment variables", kind="list"),
    Flag("interactive", "Keep STDIN open even if not attached", short="i"),
    Flag("tty", "Allocate a pseudo-TTY", short="t"),
    Flag("user", _USER_TEXT, short="u", kind="string"),
    Flag("workdir", "Working directory inside the container", short="w", kind="string"),
)


def _exec(call: Call) -> int:
    ref, *command = call.words
    detach = call.on("detach")
    tty, stdin = call.on("tty"), call.on("interactive") and not detach
    check_terminal(tty=tty, stdin=stdin)
    keys = detach_keys(call)
    session = call.engine.containers.exec(
        ref,
        command,
        tty=tty,
        stdin=stdin,
        env=specs.environment(call.many("env"), call.many("env-file")),
        working_directory=call.one("workdir") or None,
        user=call.one("user") or None,
        privileged=call.on("privileged"),
        size=terminal_size() if tty else None,
    )
    if detach:
        session.close()
        return 0
    return relay(call, session, stdin=stdin, keys=keys)


EXEC = Command(
    "exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    _exec,
    (
        Flag("detach", "Detached mode: run command in the background", short="d"),
        DETACH_KEYS,
        Flag("privileged", "Give extended privileges to the command"),
        *PROCESS_FLAGS,
    ),
    least=2,
    ordered=True,
    aliases="pydock container exec, pydock exec",
)


def _attach(call: Call) -> int:
    ref = call.words[0]
    container = call.engine.containers.inspect(ref)
    if container.summary.state == "paused":
        raise Conflict("you cannot attach to a paused container, unpause it first", "")
    if container.summary.state != "running":
        raise Conflict(
            "you cannot attach to a stopped container, start it first", f"pydock start {ref}"
        )
    stdin = container.interactive and not call.on("no-stdin")
    check_terminal(tty=container.summary.tty, stdin=stdin)
    keys = detach_keys(call)
    session = call.engine.containers.attach(ref, stdin=stdin)
    return relay(call, session, stdin=stdin, keys=keys)


ATTACH = Command(
    "attach",
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    _attach,
    (DETACH_KEYS, Flag("no-stdin", "Do not attach STDIN"), SIG_PROXY),
    least=1,
    most=1,
    aliases="pydock container attach, pydock attach",
)


def _start(call: Call) -> int:
    if not (call.on("attach") or call.on("interactive")):
        return call.each(call.words, call.engine.containers.start)
    if len(call.words) > 1:
        raise InvalidInput(
            "you cannot start and attach multiple containers at once", "start them without -a"
        )
    ref = call.words[0]
    container = call.engine.containers.inspect(ref)
    stdin = container.interactive and call.on("interactive")
    tty = container.summary.tty
    check_terminal(tty=tty, stdin=stdin)
    size = terminal_size() if tty else None
    keys = detach_keys(call)
    session = call.engine.containers.start_attached(ref, stdin=stdin, size=size)
    return relay(call, session, stdin=stdin, keys=keys)


START = Command(
    "start",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    _start,
    (
        Flag("attach", "Attach STDOUT/STDERR and forward signals", short="a"),
        DETACH_KEYS,
        Flag("interactive", "Attach container's STDIN", short="i"),
    ),
    refused="--checkpoint --checkpoint-dir",
    least=1,
    aliases="pydock container start, pydock start",
    starts=True,
)
