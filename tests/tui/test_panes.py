"""Every pane as a program in a terminal: it is quiet, cheap, and sends no foreign sequence."""

import re

import pytest

from tests.support.console import program
from tests.support.terminal import Terminal
from tui.app import PANES

SCENE = (
    "from tests.support.scene_images import furnished; scene.close(); scene = furnished()\n"
    "options['pane'] = '{pane}'; options['ref'] = '{ref}'"
)
SHOWN = {
    "containers": ("web-1", "following   42 lines"),
    "images": ("shop/api:3.0", "RUN npm ci"),
    "layers": ("shop/api:3.0", "files of layer 1"),
    "networks": ("backplane", "10.90.1.2"),
    "volumes": ("uploads", "no container"),
}
BUDGET_BYTES = 18_000  # the first paint at 200x50, truecolor


def started(pane: str, size: tuple[int, int] = (200, 50)) -> Terminal:
    ref, shown = SHOWN[pane]
    terminal = Terminal(program(SCENE.format(pane=pane, ref=ref)), *size)
    terminal.until(shown)
    terminal.settle()
    return terminal


def test_every_pane_is_here() -> None:
    assert [pane.TITLE.lower() for pane in PANES] == list(SHOWN)
    assert [pane.NUMBER for pane in PANES] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("pane", SHOWN)
def test_an_idle_pane_writes_nothing_and_its_first_paint_is_cheap(pane: str) -> None:
    with started(pane) as terminal:
        assert terminal.bytes_read <= BUDGET_BYTES
        assert terminal.pump(1.0) == 0


def test_names_in_images_reach_the_terminal_as_text_only() -> None:
    with started("layers", (100, 30)) as terminal:
        terminal.type("jjj")
        terminal.until("3 entries")
        terminal.type("\tE")
        terminal.until("[31mred.js")
        terminal.type("\t2")
        terminal.until("busybox")
        terminal.type("jj]]]")
        terminal.until("[5mshop")
        terminal.settle()
        sent = bytes(terminal.data)
    for piece in (b"\x1b[31m", b"\x1b[5m"):
        assert piece not in sent
    assert not re.search("[\x80-\x9f]", sent.decode("utf-8"))


def test_panes_change_in_any_order_and_come_back_as_they_were() -> None:
    with started("layers", (80, 24)) as terminal:
        terminal.type("jj")
        terminal.until("files of layer 3")
        terminal.settle()
        before = terminal.screen()
        for key, text in (("1", "web-1"), ("5", "uploads"), ("2", "mysql"), ("4", "backplane")):
            terminal.type(key)
            terminal.until(text)
        terminal.type("3")
        terminal.until("files of layer 3")
        terminal.settle()
        assert terminal.screen() == before
