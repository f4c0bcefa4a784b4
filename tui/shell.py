"""A shell in a container: the console steps aside, a relay takes the terminal, and back."""

import os
import sys
from typing import TYPE_CHECKING

from engine.aio import offload
from engine.engine import Session
from engine.errors import EngineError, NotFound
from engine.model.container import ContainerSummary

if TYPE_CHECKING:
    from tui.app import ConsoleApp

SHELLS = ("bash", "sh")
NOT_FOUND = (126, 127)  # what exec gives for a command that is not there


async def open_shell(console: "ConsoleApp", container: ContainerSummary) -> None:
    """bash, else sh, on this terminal until it ends. Raises NotFound where there is neither."""
    for shell in SHELLS:
        try:
            session = await offload(_exec, console, container.id, shell)
        except EngineError as error:
            if isinstance(error, NotFound) or error.exit_code in NOT_FOUND:
                continue
            raise
        code = await _relay(console, session, container)
        console.flash.say(
            (container.name, "strong"),
            (f" {shell} ended" + (f", exit {code}" * bool(code)), "text"),
        )
        return
    raise NotFound(
        f"{container.name} has neither bash nor sh", "it may be made of one program: see its image"
    )


def _exec(console: "ConsoleApp", container_id: str, shell: str) -> Session:
    size = os.get_terminal_size(sys.__stdin__.fileno()) if sys.__stdin__ else (80, 24)
    term = os.environ.get("TERM", "xterm")
    return console.engine.containers.exec(
        container_id,
        (shell,),
        tty=True,
        stdin=True,
        env=(f"TERM={term}",),
        size=(size[1], size[0]),
    )


async def _relay(console: "ConsoleApp", session: Session, container: ContainerSummary) -> int:
    from engine.relay import relay

    # Without the batch a repaint fills the writer's queue while nobody empties it, and the event
    # loop waits for ever: https://github.com/Textualize/textual/issues/6692
    with console.suspend(), console.batch_update():
        try:
            return await offload(relay, session)
        finally:
            session.close()
            console.output.forget()
