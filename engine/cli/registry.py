"""`login`, `logout`, `search`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine.cli.containers import FORMAT
from engine.cli.output import Listing, ellipsis, print_rows
from engine.cli.parser import Command, Flag, integer, pair, see
from engine.errors import Cancelled, EngineError, InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.registry import LoggedIn, SearchResult

_HUB_ADDRESS = "https://index.docker.io/v1/"  # how docker names Docker Hub
_HUB_WELCOME = (
    "Log in with your Docker ID or email address to push and pull images from Docker Hub. "
    "If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n"
    "You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT "
    "grants better security and is required for organizations using SSO.\n"
)
_MAX_PASSWORD = 64 << 10  # bytes read from a pipe
_DESCRIPTION = 45  # characters shown of one
_SEARCH_FILTERS = "is-automated, is-official, stars"


# -- login


def _login(call: Call) -> int:
    server = call.words[0] if call.words else ""
    user, password = call.one("username"), call.one("password")
    if password:
        call.output.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if call.on("password-stdin"):
        if password:
            raise InvalidInput("--password and --password-stdin are mutually exclusive")
        if not user:
            raise InvalidInput(
                "must provide --username with --password-stdin",
                "pydock login -u USER --password-stdin",
            )
        password = _read_password()
    if not user and not password and _log_in_again(call, server):
        return 0
    if not user or not password:
        if not os.isatty(0):
            raise InvalidInput(
                "cannot perform an interactive login from a non TTY device",
                "pydock login -u USER --password-stdin",
            )
        if not server and not user:
            call.output.text(_HUB_WELCOME)
        user = user or _prompt(call, "Username")
        password = password or _prompt(call, "Password", hidden=True)
    done = _log_in(call, server, user, password)
    if not done.is_encrypted:
        for line in (
            "",
            f"WARNING! Your credentials are stored unencrypted in '{done.kept_in}'.",
            "Configure a credential helper to remove this warning. See",
            "https://docs.docker.com/go/credential-store/",
            "",
        ):
            call.output.warn(line)
    if done.hidden_by:
        call.output.warn(
            f"WARNING! {done.hidden_by} has credentials for {done.server} too, and they win."
        )
    call.output.line("Login Succeeded")
    return 0


def _log_in(call: Call, server: str, user: str, password: str) -> LoggedIn:
    from engine.cli.progress import cancelled_by_signals

    with cancelled_by_signals() as cancel:
        return call.engine.registries.login(server, user=user, password=password, cancel=cancel)


def _log_in_again(call: Call, server: str) -> bool:
    """True when what is kept already still opens the registry."""
    known = call.engine.registries.user(server)
    if known is None:
        return False
    name = f" [Username: {known}]" if known else ""
    call.output.line(f"Authenticating with existing credentials...{name}")
    call.output.line(
        "To login with a different account, run 'pydock logout' followed by 'pydock login'"
    )
    call.output.line("")
    try:
        _log_in(call, server, "", "")
    except Cancelled:
        raise
    except EngineError as error:
        if not os.isatty(0):
            raise
        call.output.warn(f"Login did not succeed, error: {error.message}")
        return False
    call.output.line("Login Succeeded")
    return True


def _read_password() -> str:
    """All of standard input, but for the newline at its end."""
    data = b""
    while piece := os.read(0, _MAX_PASSWORD):
        data += piece
        if len(data) > _MAX_PASSWORD:
            raise InvalidInput(f"password on standard input: larger than {_MAX_PASSWORD} bytes")
    return _text(data.removesuffix(b"\n").removesuffix(b"\r"))


def _prompt(call: Call, name: str, *, hidden: bool = False) -> str:
    """What a person types; `hidden` ones are not shown meanwhile."""
    import termios  # here: scripts do not ask

    before = termios.tcgetattr(0)
    if hidden:
        silent = list(before)
        silent[3] = before[3] & ~termios.ECHO
        termios.tcsetattr(0, termios.TCSAFLUSH, silent)
    try:
        call.output.data(f"{name}: ".encode())
        call.output.flush()
        data = os.read(0, _MAX_PASSWORD)  # one line
    finally:
        if hidden:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            call.output.line("")
            call.output.flush()
    value = _text(data.rstrip(b"\r\n"))
    value = value if hidden else value.strip()
    if not value:
        raise InvalidInput(f"{name.lower()} is required", see("login"))
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInput("what was typed is not UTF-8") from None


LOGIN = Command(
    "login",
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry",
    _login,
    (
        Flag("password", "Password or Personal Access Token (PAT)", short="p", kind="string"),
        Flag("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
        Flag("username", "Username", short="u", kind="string"),
    ),
    most=1,
)


# -- logout


def _logout(call: Call) -> int:
    done = call.engine.registries.logout(call.words[0] if call.words else "")
    shown = _HUB_ADDRESS if done.server == "docker.io" else done.server
    if done.was_logged_in:
        call.output.line(f"Removing login credentials for {shown}")
    else:
        call.output.line(f"Not logged in to {shown}")
    for file in done.remains_in:
        call.output.warn(f"WARNING! {file} still has credentials for {done.server}.")
    return 0


LOGOUT = Command("logout", "[SERVER]", "Log out from a registry", _logout, most=1)


# -- search


def _listing(*, full: bool) -> Listing[SearchResult]:
    def description(row: SearchResult) -> str:
        text = row.description.replace("\n", " ").replace("\r", " ")
        return text if full else ellipsis(text, _DESCRIPTION)

    return Listing(
        {
            "Name": ("NAME", lambda row: row.name),
            "Description": ("DESCRIPTION", description),
            "StarCount": ("STARS", lambda row: str(row.stars)),
            "IsOfficial": ("OFFICIAL", lambda row: "[OK]" if row.is_official else ""),
        },
        ("Name", "Description", "StarCount", "IsOfficial"),
    )


def _matches(row: SearchResult, name: str, value: str) -> bool:
    if name in ("is-official", "is-automated"):
        if value not in ("true", "1", "false", "0"):
            raise InvalidInput(f"invalid filter '{name}={value}'", "true or false")
        # No registry knows of automated builds any more.
        found = row.is_official if name == "is-official" else False
        return found == (value in ("true", "1"))
    if name == "stars":
        if not value.isascii() or not value.isdecimal():
            raise InvalidInput(f"invalid filter 'stars={value}'", "a whole number")
        return row.stars >= int(value)
    raise InvalidInput(f"invalid filter '{name}'", _SEARCH_FILTERS)


def _search(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals
    from engine.model.registry import SearchResult

    filters = call.many("filter")
    for name, value in filters:
        _matches(SearchResult("", "", 0, False), name, value)  # a wrong one is told unasked
    limit = call.value("limit", 25)
    if not 1 <= limit <= 100:
        raise InvalidInput(f"limit {limit} is outside the range of [1, 100]")
    with cancelled_by_signals() as cancel:
        found = call.engine.registries.search(call.words[0], limit=limit, cancel=cancel)
    rows = [row for row in found if all(_matches(row, *each) for each in filters)]
    rows.sort(key=lambda row: -row.stars)
    listing = _listing(full=call.on("no-trunc"))
    print_rows(call.output, listing, rows, style=call.one("format"))
    return 0


SEARCH = Command(
    "search",
    "[OPTIONS] TERM",
    "Search Docker Hub for images",
    _search,
    (
        Flag(
            "filter", "Filter output based on conditions provided", short="f", kind="filter",
            read=pair,
        ),
        FORMAT,
        Flag("limit", "Max number of search results", kind="int", read=integer, default="25"),
        Flag("no-trunc", "Don't truncate output"),
    ),
    least=1,
    most=1,
)  # fmt: skip
