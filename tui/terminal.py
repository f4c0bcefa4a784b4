"""What the terminal on the other side can do, and the watch for its loss."""

import os
import select
import threading
from collections.abc import Callable, Mapping

from engine.errors import Unsupported
from engine.named_tuple import NamedTuple


class Terminal(NamedTuple):
    """Facts that decide how cells become bytes."""

    colours: int = 1 << 24  # 16, 256 or 2^24
    ascii: bool = False  # only ASCII may be sent
    erase_fills: bool = True  # what is erased takes the present ground (terminfo's bce)
    remote: bool = False  # reached over SSH
    braille: bool = True


def detect(environ: Mapping[str, str], encoding: str, *, ascii_only: bool = False) -> Terminal:
    """The terminal of this process. Raises Unsupported where it cannot address cells."""
    term = environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        raise Unsupported(
            f"terminal {term or 'unset'!r} cannot draw a screen", "use the command line: pydock ps"
        )
    remote = bool(environ.get("SSH_CONNECTION"))
    if environ.get("COLORTERM", "") in ("truecolor", "24bit") or "direct" in term:
        # A tonal theme over SSH goes out in 256 colours: a quarter fewer bytes for the same look.
        colours = 256 if remote else 1 << 24
    else:
        colours = 256 if "256color" in term else 16
    return Terminal(
        colours=colours,
        ascii=ascii_only or encoding.lower().replace("-", "").replace("_", "") != "utf8",
        erase_fills=_erase_fills(term),
        remote=remote,
        braille=term != "linux",
    )


def _erase_fills(term: str) -> bool:
    import curses  # only needed here, and absent from some Pythons

    try:
        curses.setupterm(term, 1)
    except curses.error:
        return False
    return bool(curses.tigetflag("bce") > 0)


def watch(descriptor: int, lost: Callable[[], None]) -> None:
    """When the terminal behind `descriptor` is gone, call `lost`.

    Without it, a console whose SIGHUP is ignored (nohup) would read end-of-file for ever, at a
    third of a core. The thread sleeps in poll(2) with no events wanted: only a hang-up wakes it.
    """

    def run() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)
        while not poll.poll():
            pass
        lost()

    threading.Thread(target=run, name="terminal-watch", daemon=True).start()


def end_after(seconds: float, code: int) -> None:
    """End the process with this exit code, should it still be there by then."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
