"""What a terminal can do is read from its environment; its loss is noticed at once."""

import os
import select
import subprocess
import sys

import pytest

from engine.errors import Unsupported
from tui import terminal


def test_dumb_terminal_is_refused_with_the_command_line_s_hint() -> None:
    for term in ("dumb", ""):
        with pytest.raises(Unsupported) as refused:
            terminal.detect({"TERM": term}, "utf-8")
        assert "pydock ps" in refused.value.hint


def test_colours_follow_term_and_colorterm() -> None:
    def colours(**environ: str) -> int:
        return terminal.detect(environ, "utf-8").colours

    assert colours(TERM="xterm-256color", COLORTERM="truecolor") == 1 << 24
    assert colours(TERM="xterm-256color") == 256
    assert colours(TERM="linux") == 16
    over_ssh = colours(TERM="xterm-256color", COLORTERM="truecolor", SSH_CONNECTION="a 1 b 2")
    assert over_ssh == 256


def test_ascii_is_sent_where_the_encoding_is_not_utf8() -> None:
    environ = {"TERM": "xterm-256color"}
    assert not terminal.detect(environ, "UTF-8").ascii
    assert terminal.detect(environ, "ANSI_X3.4-1968").ascii
    assert terminal.detect(environ, "utf-8", ascii_only=True).ascii


@pytest.mark.parametrize(
    ("term", "fills"), [("xterm-256color", 1), ("screen-256color", 0), ("no-such-terminal", 0)]
)
def test_erasing_is_trusted_only_where_terminfo_says_so(term: str, fills: int) -> None:
    # In a process of its own: curses reads terminfo once.
    code = (
        "import sys; from tui import terminal;"
        f"sys.exit(terminal.detect({{'TERM': {term!r}}}, 'utf-8').erase_fills)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == fills


def test_lost_terminal_is_noticed_without_polling() -> None:
    master, slave = os.openpty()
    reader, writer = os.pipe()
    terminal.watch(slave, lambda: os.close(writer))
    assert not select.select([reader], [], [], 0.05)[0]
    os.close(master)
    assert select.select([reader], [], [], 5)[0]
    os.close(reader)
    os.close(slave)
