"""`stop`, `restart`, `kill`, `pause`, `unpause`, `wait`, `rename`, `rm`: verbs on containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag, integer
from engine.errors import NotFound

if TYPE_CHECKING:
    from engine.cli.call import Call

_MANY = "CONTAINER [CONTAINER...]"
TIMEOUT = (
    Flag(
        "timeout", "Seconds to wait before killing the container", short="t", kind="int",
        read=integer,
    ),
    Flag("time", "The older name of --timeout", kind="int", read=integer, hidden=True),
)  # fmt: skip


SIGNAL = Flag("signal", "Signal to send to the container", short="s", kind="string")


def _timeout(call: Call) -> int | None:
    seconds = call.value("timeout", call.value("time"))
    return None if seconds is None else int(seconds)


def _stop(call: Call) -> int:
    stop, seconds, signal = call.engine.containers.stop, _timeout(call), call.one("signal") or None
    return call.each(call.words, lambda ref: stop(ref, timeout_seconds=seconds, signal=signal))


STOP = Command(
    "stop", f"[OPTIONS] {_MANY}", "Stop one or more running containers", _stop, (SIGNAL, *TIMEOUT),
    least=1, aliases="pydock container stop, pydock stop",
)  # fmt: skip


def _restart(call: Call) -> int:
    restart, seconds = call.engine.containers.restart, _timeout(call)
    signal = call.one("signal") or None
    return call.each(call.words, lambda ref: restart(ref, timeout_seconds=seconds, signal=signal))


RESTART = Command(
    "restart", f"[OPTIONS] {_MANY}", "Restart one or more containers", _restart, (SIGNAL, *TIMEOUT),
    least=1, aliases="pydock container restart, pydock restart",
)  # fmt: skip


def _kill(call: Call) -> int:
    kill, signal = call.engine.containers.kill, call.one("signal", "KILL")
    return call.each(call.words, lambda ref: kill(ref, signal))


KILL = Command(
    "kill", f"[OPTIONS] {_MANY}", "Kill one or more running containers", _kill,
    (SIGNAL,),
    least=1, aliases="pydock container kill, pydock kill",
)  # fmt: skip

PAUSE = Command(
    "pause", _MANY, "Pause all processes within one or more containers",
    lambda call: call.each(call.words, call.engine.containers.pause),
    least=1, aliases="pydock container pause, pydock pause",
)  # fmt: skip

UNPAUSE = Command(
    "unpause", _MANY, "Unpause all processes within one or more containers",
    lambda call: call.each(call.words, call.engine.containers.unpause),
    least=1, aliases="pydock container unpause, pydock unpause",
)  # fmt: skip


def _wait(call: Call) -> int:
    def wait(ref: str) -> None:
        call.output.line(str(call.engine.containers.wait(ref)))
        call.output.flush()

    return call.each(call.words, wait, say=False)


WAIT = Command(
    "wait", _MANY, "Block until one or more containers stop, then print their exit codes", _wait,
    least=1, aliases="pydock container wait, pydock wait",
)  # fmt: skip


def _rename(call: Call) -> int:
    call.engine.containers.rename(call.words[0], call.words[1])
    return 0


RENAME = Command(
    "rename", "CONTAINER NEW_NAME", "Rename a container", _rename, least=2, most=2,
    aliases="pydock container rename, pydock rename",
)  # fmt: skip


def _rm(call: Call) -> int:
    force, volumes = call.on("force"), call.on("volumes")

    def remove(ref: str) -> None:
        try:
            call.engine.containers.remove(ref, force=force, volumes=volumes)
        except NotFound as error:
            if not force:
                raise
            call.output.error(error)  # said, and no failure: as docker has it
        else:
            call.output.line(ref)

    return call.each(call.words, remove, say=False)


RM = Command(
    "rm", f"[OPTIONS] {_MANY}", "Remove one or more containers", _rm,
    (
        Flag("force", "Force the removal of a running container (uses SIGKILL)", short="f"),
        Flag("volumes", "Remove anonymous volumes associated with the container", short="v"),
    ),
    refused="-l --link", least=1,
    aliases="pydock container rm, pydock container remove, pydock rm",
)  # fmt: skip


def _cleanup(call: Call) -> int:
    # Not in the face: only the engine of this host has an end to fold.
    for container_id in call.words:
        call.engine.containers.cleanup(container_id)  # type: ignore[attr-defined]
    return 0


CLEANUP = Command(
    "container cleanup", "CONTAINER", "Do what the end of a container leaves to do", _cleanup,
    least=1, most=1,
)  # fmt: skip
