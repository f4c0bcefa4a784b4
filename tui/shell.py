"""A shell in a container: the console steps aside, a relay takes the terminal, and back."""

import os
from typing import TYPE_CHECKING

from engine.aio import offload
from engine.engine import Session
from engine.errors import EngineError, NotFound
from engine.model.container import ContainerSummary

if TYPE_CHECKING:
    from tui.app import ConsoleApp

STDIN, STDOUT, STDERR = 0, 1, 2
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
        code = await _relay(console, session, f"{shell} in {container.name}")
        ended = f" {shell} ended, exit {code}" if code else f" {shell} ended"
        console.flash.say((container.name, "strong"), (ended, "text"))
        return
    raise NotFound(
        f"{container.name} has neither bash nor sh", "it may be made of one program: see its image"
    )


def _exec(console: "ConsoleApp", container_id: str, shell: str) -> Session:
    size = os.get_terminal_size(STDIN)
    return console.engine.containers.exec(
        container_id,
        (shell,),
        tty=True,
        stdin=True,
        env=(f"TERM={os.environ.get('TERM', 'xterm')}",),
        size=(size.lines, size.columns),
    )


async def _relay(console: "ConsoleApp", session: Session, what: str) -> int | None:
    from engine.relay import relay

    # Without the batch a repaint fills the writer's queue while nobody empties it, and the event
    # loop waits for ever: https://github.com/Textualize/textual/issues/6692
    with console.suspend(), console.batch_update():
        try:
            os.write(STDOUT, f"{what}: exit comes back to the console\r\n".encode())
            # No detach keys: ^p is the shell's, and what is detached here nobody could find.
            return await offload(
                relay, session, stdin=STDIN, stdout=STDOUT, stderr=STDERR, detach_keys=b""
            )
        finally:
            session.close()
            console.output.forget()
