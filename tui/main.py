"""`pydock-tui`: the console's command line."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from engine.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from tui.app import ConsoleApp

PATIENCE_SECONDS = 2.0  # until a signal ends it without ceremony
GRACE_SECONDS = 0.2  # for a cancelled pull: what it leaves after that, the next one clears
PANES = ("containers", "images", "layers", "networks", "volumes")


def parse(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="pydock-tui", description="A console for the containers of this host."
    )
    parser.add_argument("--demo", action="store_true", help="a demo with roots of its own")
    parser.add_argument(
        "--pane",
        nargs="+",
        metavar=("NAME", "REF"),
        default=["containers"],
        help=f"open one of {', '.join(PANES)}, at REF",
    )
    parser.add_argument("--theme", metavar="NAME", help="night, day, ansi, mono … or one of yours")
    parser.add_argument("--ascii", action="store_true", help="send ASCII only")
    parser.add_argument("--root", metavar="DIRECTORY", help="where state is kept")
    parser.add_argument("--run-root", metavar="DIRECTORY", help="where run-time state is kept")
    parser.add_argument("--no-resync", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> int:
    """The exit code: 0, or an error's after one line that says what is wrong and what helps."""
    arguments = parse(sys.argv[1:])
    return code_of(lambda: _run(arguments))


def code_of(call: Callable[[], int]) -> int:
    """The exit code that `call` gives; what it raises is said on standard error."""
    try:
        return _said(call)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)


def _let_go(stream: TextIO) -> None:
    """What a lost terminal did not take is dropped, or Python would end with a code of its own."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _said(call: Callable[[], int]) -> int:
    try:
        return call()
    except EngineError as error:
        _say(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:  # before there was a screen
        return 128 + 2
    except Exception as error:
        from tui import crash

        _say(*crash.tell(error, os.environ))
        return 1


def _say(message: str, hint: str) -> None:
    print(f"pydock-tui: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> int:
    # Textual reads it when it is imported: how long an ESC may be the start of a key.
    os.environ.setdefault("ESCDELAY", "50" if os.environ.get("SSH_CONNECTION") else "25")
    # Imports wait until the command line is understood: --help is 20 ms instead of 300.
    from tui import terminal, theme

    pane, ref = arguments.pane[0], " ".join(arguments.pane[1:2])
    if pane not in PANES or len(arguments.pane) > 2:
        raise InvalidInput(f"pane {' '.join(arguments.pane)!r}", f"one of {', '.join(PANES)}")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            "standard input is not a terminal", "for scripts: pydock ps, pydock logs"
        )
    encoding = sys.stderr.encoding or "ascii"
    seen = terminal.detect(os.environ, encoding, ascii_only=arguments.ascii)
    name = arguments.theme or theme.default_name(os.environ, seen.colours)
    look = theme.load(name, os.environ)

    from engine.connect import connect

    with connect(root=arguments.root, run_root=arguments.run_root, demo=arguments.demo) as engine:
        if arguments.demo:
            from engine import demo

            demo.up(engine)
        from tui.app import ConsoleApp

        app = ConsoleApp(engine, look, seen, pane=pane, ref=ref, resync=not arguments.no_resync)
        return run(app)


def run(app: "ConsoleApp") -> int:
    """The application's exit code. A lost terminal and SIGHUP end it with 129, SIGTERM with 143.
    Raises what the application failed with, once the terminal is as it was."""
    import signal

    from tui import terminal

    def leave(code: int) -> None:
        # Also from the watching thread. A terminal that takes no more bytes holds nobody here.
        terminal.end_after(PATIENCE_SECONDS, code)
        loop = app.loop
        if loop is not None:
            loop.call_soon_threadsafe(app.exit, code)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, frame: leave(128 + got))
    terminal.watch(sys.stdin.fileno(), lambda: leave(129))
    result = app.run(mouse=False)
    app.jobs.finish(GRACE_SECONDS)
    if app.failure is not None:
        raise app.failure
    return app.return_code or result or 0
