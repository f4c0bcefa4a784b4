"""What the console does with registries besides bytes: log in and out, search."""

from typing import TYPE_CHECKING

from engine.aio import offload
from engine.errors import EngineError
from engine.model.registry import LoggedIn
from tui.dialogs.login import Login
from tui.dialogs.search import Search

if TYPE_CHECKING:
    from tui.app import ConsoleApp


async def log_in(console: "ConsoleApp", server: str = "") -> None:
    """Ask for a credential until the registry takes it, or nobody wants to go on."""
    registries = console.engine.registries
    user = await console.prepare(registries.user, server) or ""
    while True:
        typed = await console.open(Login(server, user))
        if typed is None:
            return
        server, user, password = typed
        console.flash.say((server or "docker.io", "strong"), ("  asking …", "dim"))
        try:
            kept: LoggedIn = await offload(registries.login, server, user=user, password=password)
        except EngineError as error:
            console.fail("login failed", error)
            continue
        where = f", kept in {kept.kept_in}" if kept.kept_in else ""
        if kept.kept_in and not kept.is_encrypted:
            where += ", not encrypted"
        if kept.hidden_by:
            where += f"; {kept.hidden_by} wins over it"
        console.flash.say(
            (f"{kept.user or 'a token'} at {kept.server}", "strong"),
            (f" is logged in{where}", "text"),
        )
        return


async def log_out(console: "ConsoleApp", server: str) -> None:
    """Forget the credential of a registry."""
    left = await offload(console.engine.registries.logout, server)
    words = " is logged out" if left.was_logged_in else " was not logged in"
    if left.remains_in:
        words += f"; {', '.join(left.remains_in)} knows it still"
    console.flash.say((left.server, "strong"), (words, "text"))


async def search(console: "ConsoleApp") -> None:
    """Find a repository, then pull it: the tag is asked for."""
    name = await console.open(Search(console.engine.registries))
    if name:
        console.command.open(f"pull {name}")
