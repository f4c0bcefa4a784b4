"""The command line of the console, up to the first frame."""

import os
import subprocess
import sys

import pytest

from tests.support.terminal import Terminal
from tui.main import parse

COMMAND = [sys.executable, "-c", "import sys; from tui.main import main; sys.exit(main())"]


def test_flags_are_understood() -> None:
    arguments = parse(["--pane", "layers", "demo:latest", "--theme", "day", "--ascii", "--demo"])
    assert arguments.pane == ["layers", "demo:latest"]
    assert (arguments.theme, arguments.ascii, arguments.demo) == ("day", True, True)


def test_help_does_not_import_textual() -> None:
    code = (
        "import sys\n"
        "from tui.main import main\n"
        "sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'textual' not in sys.modules and 'asyncio' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--pane" in done.stdout
    assert "resync" not in done.stdout


@pytest.mark.parametrize(
    ("environ", "arguments", "said"),
    [
        ({"TERM": "dumb"}, [], "terminal 'dumb' cannot draw a screen"),
        ({}, ["--pane", "boxes"], "pane 'boxes'"),
        ({}, ["--theme", "puce"], "theme 'puce': no such theme"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_hint(
    environ: dict[str, str], arguments: list[str], said: str
) -> None:
    with Terminal([*COMMAND, *arguments], columns=200, environ=environ) as terminal:
        assert terminal.wait() == 1
        terminal.settle(0.1)
        lines = terminal.screen().strip().splitlines()
    assert said in lines[0]
    assert lines[1].startswith("  ")
    assert len(lines) == 2


def test_a_pipe_is_not_a_terminal() -> None:
    environ = os.environ | {"TERM": "xterm"}
    done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, env=environ)
    assert done.returncode == 1
    assert b"not a terminal" in done.stderr
