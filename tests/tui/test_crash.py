"""A mistake of the console's own: the terminal is restored, one line is said, nothing is given
away."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.console import program
from tests.support.terminal import Terminal
from tui import crash

SECRET = "hunter2"
# `x` fails: in the key's own handler, in a worker, in a callback of the loop, in a thread.
KEY = """
from tui.panes.containers import ContainersPane
def stop(pane):
    password = 'hunter2'
    raise KeyError('broken')
"""
WORKER = KEY.replace("def stop", "async def stop")
CALLBACK = """
import asyncio
from tui.panes.containers import ContainersPane
def broken():
    password = 'hunter2'
    raise KeyError('broken')
def stop(pane):
    asyncio.get_running_loop().call_soon(broken)
"""
DRAWING = """
from tui.panes.containers import ContainersPane
def stop(pane):
    def lines(width, height):
        password = 'hunter2'
        raise KeyError('broken')
    pane.list.lines = lines
    pane.list.forget()
"""
PUT = """
import tui.app
ContainersPane.ACTIONS = tuple(
    action._replace(run=stop, enabled=lambda pane: '') if action.id == 'containers.stop' else action
    for action in ContainersPane.ACTIONS
)
"""


def reports(directory: Path) -> list[Path]:
    return sorted((directory / "pydock").iterdir())


@pytest.mark.parametrize("code", [KEY, WORKER, CALLBACK, DRAWING])
def test_a_mistake_is_one_line_and_a_report(code: str, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    with Terminal(program(code + PUT), 200, 30, environ=environ) as terminal:
        terminal.until("following   42 lines")
        terminal.type("x")
        assert terminal.wait() == 1
        terminal.settle(0.1)
        assert b"\x1b[?1049l" in terminal.data
        assert b"\x1b[?25h" in terminal.data
        assert b"Traceback" not in terminal.data
        assert SECRET.encode() not in terminal.data
        said, hint = terminal.screen().strip().splitlines()
    (report,) = reports(tmp_path)
    assert said.startswith("pydock-tui: a mistake of the console's own: KeyError in ")
    assert hint == f"  report: {report}; containers run on"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text()
    assert "KeyError: 'broken'" in text
    assert "TERM=xterm-256color" in text
    assert "password" not in text.replace("password = 'hunter2'", "")


def test_a_mistake_before_the_first_screen_is_told_the_same_way(tmp_path: Path) -> None:
    code = "import tui.main; tui.main._run = lambda arguments: {}['hunter2']; tui.main.main()"
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    command = [*program()[:-1], f"import sys; sys.argv = ['x']; {code}; sys.exit(7)"]
    with Terminal(command, 200, environ=environ) as terminal:
        assert terminal.wait() == 7
        assert "own: KeyError in " in terminal.screen()
        assert SECRET not in terminal.screen()


def test_the_place_is_the_last_line_of_ours() -> None:
    with pytest.raises(AttributeError) as caught:
        crash.directory(None)  # type: ignore[arg-type]
    said, hint = crash.tell(ExceptionGroup("several", [caught.value]), {"XDG_STATE_HOME": "/proc"})
    assert said.startswith("a mistake of the console's own: AttributeError in tui/crash.py, line ")
    path = Path(hint.removeprefix("report: ").removesuffix("; containers run on"))
    assert path.name.startswith("pydock-crash-")  # the state directory could not be written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.unlink(path)


def test_that_no_report_can_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    _, hint = crash.tell(KeyError("x"), {"XDG_STATE_HOME": "/proc"})
    assert hint == "no report: No such file or directory; containers run on"
