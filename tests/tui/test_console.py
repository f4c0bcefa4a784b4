"""The console as a program in a terminal: what it writes, and how it ends."""

import os
import re
import signal
import termios
import time
from pathlib import Path

import pytest

from tests.support.console import program
from tests.support.terminal import Terminal, same_picture
from tui.output import SYNC_END

WIDE = (200, 50)
FRAME_END = SYNC_END.encode()
# SIGUSR1 is a tick: half of the ten running ones move a little, as on a host at work.
TICKS = """
import random, signal
dice, figures = random.Random(7), {b.name.replace('-', '_'): b.cpu for b in HOST}
def beat(number, frame):
    for name in figures:
        if dice.random() < 0.5:
            figures[name] = max(0.1, figures[name] + dice.uniform(-0.9, 0.9))
    scene.tick(**figures)
signal.signal(signal.SIGUSR1, beat)
"""
# The same on a full host: a hundred containers, of which twenty are busy.
FULL = """
import random, signal
from tests.support.scene import Box
scene.close()
busy = [Box(f'c{n:03}', 'shop/web:2.4', 10.0 + n, 300, pids=2) for n in range(20)]
idle = [Box(f'c{n:03}', 'shop/web:2.4', 0.0, 1, pids=1) for n in range(20, 100)]
scene = Scene([*busy, *idle])
dice = random.Random(7)
def beat(number, frame):
    for key, box in scene._boxes.items():
        if box.cpu:
            cpu = max(1.0, box.cpu + dice.uniform(-0.9, 0.9))
            scene._boxes[key] = box._replace(cpu=cpu, memory=dice.randrange(300, 800))
    scene.tick()
signal.signal(signal.SIGUSR1, beat)
"""
HOSTILE = r"""
from tests.support.scene import Box
scene.close()
scene = Scene([Box('web', 'shop/web:2.4', 1.0, 10, 0, 0, 0, 1), Box('evil', 'shop/web:2.4')])
record = scene.world.get('evil')
record.change(name='a\x1b]0;owned\x07\x1b[31m\u202eb\x9b5mc', image='x\x1b[2J\r\n/\u2066y:1')
scene.say(record.id, b'\x1b[5mblink \x1b]52;c;aGk=\x07 \x9b?1049l\xff\x00 end of it')
"""

# A stop that never comes back, as of a container that hangs in the kernel.
STUCK = """
import threading
scene.containers.stop = lambda *values, **keywords: threading.Event().wait()
"""
# A pull that needs a while to clean up, and says when it has.
PULL = """
import os
def pull(ref, *, progress, cancel):
    cancel.wait(3600)
    os.rename(os.environ['STAGED'], os.environ['CLEAN'])
    raise KeyError('nobody hears this')
scene.images.pull = pull
"""


def started(argument: str = "", size: tuple[int, int] = (80, 24), **environ: str) -> Terminal:
    """A console in a pty, once its log stands there."""
    terminal = Terminal(program(argument), *size, environ=environ)
    terminal.until("following   42 lines")
    terminal.settle()
    return terminal


@pytest.mark.parametrize("size", [(80, 24), pytest.param(WIDE, marks=pytest.mark.long)])
def test_screen_is_cell_by_cell_that_of_stock_textual(size: tuple[int, int]) -> None:
    keys = ["j", "j", "]", " ", "\x10", "re", "\x1b", "/", "web", "\r", "\x1b", "\x1b", "?"]
    with started(size=size) as ours, started("options['stock_output'] = True", size) as theirs:
        for key in ["", *keys]:
            for terminal in (ours, theirs):
                terminal.type(key)
                terminal.settle()
            wrong = same_picture(ours.pyte_screen, theirs.pyte_screen)
            assert not wrong, f"after {key!r}: {wrong}"
        assert ours.bytes_read < theirs.bytes_read / 4


def test_idle_screen_writes_nothing() -> None:
    with started(size=WIDE) as terminal:
        assert terminal.pump(2.0) == 0


def test_first_paint_stays_within_its_budget() -> None:
    with Terminal(program(), *WIDE) as terminal:
        terminal.until("following   42 lines")
        terminal.settle()
        assert terminal.bytes_read <= 16_000


@pytest.mark.parametrize(("code", "budget_bytes"), [(TICKS, 160), (FULL, 510)])
def test_stats_ticks_stay_within_their_budget(code: str, budget_bytes: int) -> None:
    with started(code, WIDE) as terminal:
        costs = []
        for _ in range(8):
            os.kill(terminal.pid, signal.SIGUSR1)
            costs.append(terminal.pump_until_quiet(0.12))
        assert sum(costs) / len(costs) <= budget_bytes, costs
        assert all(costs)


def test_cursor_key_stays_within_its_budget() -> None:
    with started(size=WIDE) as terminal:
        before = terminal.bytes_read
        terminal.type("j")
        terminal.until_true(lambda: FRAME_END in terminal.data[before:])
        frame, _, _ = terminal.data[before:].partition(FRAME_END)
        assert len(frame) <= 850  # the log of the next one comes later


def test_ansi_theme_costs_less() -> None:
    with started("look = 'ansi'", WIDE) as terminal:
        assert terminal.bytes_read <= 12_000
        assert b"38;2;" not in terminal.data
        assert b"38;5;" not in terminal.data


def test_hostile_names_and_logs_reach_the_screen_as_text_only() -> None:
    with Terminal(program(HOSTILE), *WIDE) as terminal:
        terminal.until("0;own")
        terminal.type("G")
        terminal.until("end of it")
        terminal.settle()
        # Textual's own: the shape of the pointer.
        sent = bytes(terminal.data).replace(b"\x1b]22;default\x07", b"")
    for piece in (b"\x1b]", b"\x07", b"\x1b[5m", b"\x1b[31m", b"\x1b[?1049l"):
        assert piece not in sent
    text = sent.decode("utf-8")
    assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_ascii_is_sent_where_the_encoding_is_not_utf8() -> None:
    environ = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    with Terminal(program(), environ=environ) as terminal:
        terminal.until("following   42 lines")
        assert bytes(terminal.data).isascii()
        assert ">  + db-1" in terminal.screen()


def test_a_slow_terminal_never_stops_the_console() -> None:
    with started(TICKS, WIDE) as terminal:
        for _ in range(150):  # nobody reads: the pty's buffer fills, frames are left out
            os.kill(terminal.pid, signal.SIGUSR1)
            time.sleep(0.01)
        before = terminal.bytes_read
        terminal.type("?")
        terminal.until("keys in Containers")
        assert terminal.bytes_read - before < 150_000


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_quitting_restores_the_terminal(key: str) -> None:
    with started() as terminal:
        terminal.type(key)
        assert terminal.wait() == 0
        terminal.settle(0.1)
        assert b"\x1b[?1049l" in terminal.data
        assert b"\x1b[?25h" in terminal.data
        assert b"Traceback" not in terminal.data


@pytest.mark.parametrize("ending", ["q", "\x03", signal.SIGTERM, signal.SIGHUP, None])
def test_a_stop_on_its_way_does_not_hold_the_console(ending: str | signal.Signals | None) -> None:
    with started(STUCK) as terminal:
        terminal.type("x")
        terminal.until("db-1  stop …")
        if isinstance(ending, str):
            terminal.type(ending)
        elif ending is not None:
            os.kill(terminal.pid, ending)
        else:
            terminal.close()
        code = 0 if isinstance(ending, str) else 128 + (ending or signal.SIGHUP)
        assert terminal.wait() == code
        assert b"Traceback" not in terminal.data


def test_quitting_lets_a_pull_clean_up(tmp_path: Path) -> None:
    staged, clean = tmp_path / "staged", tmp_path / "clean"
    staged.touch()
    with started(PULL, STAGED=str(staged), CLEAN=str(clean)) as terminal:
        terminal.type("pnext:1\r")
        terminal.until("pull next:1")
        terminal.type("q")
        assert terminal.wait() == 0
        assert clean.exists()
        assert b"Traceback" not in terminal.data


def test_sigterm_ends_it_while_the_terminal_takes_no_bytes() -> None:
    with started(size=WIDE) as terminal:
        for _ in range(6):  # each paints all, and nobody reads: the pty's buffer is full
            terminal.type("\x0c")
            time.sleep(0.1)
        os.kill(terminal.pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 143
        terminal.exit_status = 143


def test_sigterm_during_a_shell_restores_the_terminal() -> None:
    with started() as terminal:
        terminal.type("s")
        terminal.until("\n#")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 143
        modes = termios.tcgetattr(terminal.master)[3]
        assert modes & termios.ECHO
        assert modes & termios.ICANON


def test_sigterm_restores_the_terminal() -> None:
    with started() as terminal:
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 143
        terminal.settle(0.1)
        assert b"\x1b[?1049l" in terminal.data


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_lost_terminal_ends_the_process(ignoring: bool) -> None:
    code = "import signal; signal.signal = lambda *a: None" if ignoring else ""
    with started(code) as terminal:
        terminal.close()
        assert terminal.wait() == 129


def test_resize_draws_the_other_arrangement() -> None:
    with started() as terminal:
        terminal.resize(*WIDE)
        terminal.until("last 5 min")
        terminal.resize(80, 24)
        terminal.until_true(lambda: "last 5 min" not in terminal.screen())
        assert len(terminal.screen().splitlines()) == 24


def test_repaint_heals_a_broken_screen() -> None:
    with started() as terminal:
        whole = terminal.screen()
        terminal.feed(b"\x1b[5;5Hgarbage from another program\x1b[2J")
        assert terminal.screen() != whole
        terminal.type("\x0c")
        terminal.until_true(lambda: terminal.screen() == whole)


def test_a_shell_takes_the_terminal_and_gives_it_back() -> None:
    with started(TICKS, (100, 30)) as terminal:
        terminal.type("s")
        terminal.until("bash in db-1: exit comes back")
        terminal.until("\n#")
        for _ in range(40):  # figures go on behind it, and wait for nobody
            os.kill(terminal.pid, signal.SIGUSR1)
        terminal.type("stty\r")
        terminal.until("30 100")
        terminal.type("exit 3\r")
        terminal.until("db-1 bash ended, exit 3")
        terminal.type("?")
        terminal.until("keys in Containers")


def test_keys_typed_in_one_packet_find_their_way() -> None:
    with started() as terminal:
        terminal.type("/redis\rjk?")
        terminal.until("keys in Containers")
        terminal.type("\x1b")
        terminal.until("/ redis   1 of 12")
        terminal.type("\x1b")
        terminal.until("Containers 12")
        terminal.type("\x04\r:quit\r")  # asks, is cancelled, and then quits
        assert terminal.wait() == 0


SLOW = """
import threading, time
from tests.support.scene_images import furnished
scene.close()
scene = furnished()
opened, listed = scene.layers.open, scene.images.list
def later(call):
    def slow(*values, **keywords):
        time.sleep(0.3)
        return call(*values, **keywords)
    return slow
scene.layers.open, scene.images.list = later(opened), later(listed)
options['pane'], options['ref'] = 'layers', 'shop/api:3.0'
"""


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("jj\tE", ("files of layer 3", "▏   3", "esbuild")),
        ("2jjt", ("tag ▏",)),
        ("2jd]3jj1?", ("keys in Containers",)),
    ],
)
def test_keys_typed_ahead_wait_for_a_pane_that_opens(keys: str, shown: tuple[str, ...]) -> None:
    with Terminal(program(SLOW), 120, 40) as terminal:
        terminal.until("3 Layers")
        terminal.type(keys)
        for text in shown:
            terminal.until(text)


SLOW_ANSWERS = """
import time
def later(call):
    def slow(*values, **keywords):
        time.sleep(0.3)
        return call(*values, **keywords)
    return slow
scene.system.prune_preview = later(scene.system.prune_preview)
scene.registries.user = later(scene.registries.user)
"""


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("by", "2 containers pruned"),
        ("Ihost:5000\ramy\rpassword of amy\r", "amy at host:5000 is logged in"),
    ],
)
def test_keys_typed_ahead_wait_for_a_sheet_that_opens(keys: str, shown: str) -> None:
    with started(SLOW_ANSWERS, (120, 36)) as terminal:
        terminal.type(keys)
        terminal.until(shown)


def test_keys_do_not_wait_for_ever() -> None:
    code = "import threading; scene.images.list = lambda: threading.Event().wait()"
    with started(code) as terminal:
        terminal.type("2jj?")
        terminal.until("keys in Images")


def test_theme_changes_while_it_runs() -> None:
    with started() as terminal:
        terminal.type(":theme day\r")
        terminal.until_true(lambda: terminal.cells()[5][40].bg == "fbfbf9")
        terminal.type(":theme puce\r")
        terminal.until("theme failed: theme 'puce': no such theme")


@pytest.mark.parametrize(("look", "framed"), [("night", False), ("ansi", True)])
def test_a_sheet_has_a_border_only_where_its_ground_does_not_tell(look: str, framed: bool) -> None:
    with started(f"look = {look!r}") as terminal:
        terminal.type("\x04")
        terminal.until("Remove db-1?")
        assert ("╰" in terminal.screen()) is framed
