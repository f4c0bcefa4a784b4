"""More processes in a container, and terminals."""

import os
import random
import threading
import time

import pytest

from engine.errors import NotFound
from tests.support.monitored import Monitored, everything
from tests.support.waiting import until

pytestmark = pytest.mark.root


def test_exec_has_streams_input_and_code_of_its_own(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    bystander = box.attach()
    session = box.exec("sh", "-c", "cat; echo e >&2; exit 9", stdin=True)
    session.write(b"in\n")
    session.close_stdin()
    assert everything(session) == (b"in\n", b"e\n")
    assert session.wait() == 9
    session.close()
    os.kill(launched.pid, 9)
    assert everything(bystander) == (b"", b"")
    assert bystander.wait() == 137
    bystander.close()
    box.end()
    assert box.log() == b""


def test_exec_passes_a_lot_both_ways_at_once(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    session = box.exec("cat", stdin=True)
    data = random.Random(3).randbytes(3 << 20)
    writer = threading.Thread(target=lambda: (session.write(data), session.close_stdin()))
    writer.start()
    assert everything(session)[0] == data
    writer.join(60)
    session.close()
    os.kill(launched.pid, 9)
    box.end()


def test_exec_with_a_long_command_line_and_environment(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    words = ["x" * 100_000] * 8
    session = box.exec("sh", "-c", 'echo "$*" | wc -c', "sh", *words)
    assert everything(session)[0] == b"%d\n" % (8 * 100_001)
    session.close()
    os.kill(launched.pid, 9)
    box.end()


def test_exec_of_what_is_not_there_is_127(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    with pytest.raises(NotFound, match='"nope": executable file not found') as caught:
        box.exec("nope")
    assert caught.value.exit_code == 127
    os.kill(launched.pid, 9)
    box.end()


def test_exec_lives_on_without_its_client(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    session = box.exec("sh", "-c", "seq 1 400000; touch /done")
    time.sleep(0.05)
    session.close()  # it had stopped: nobody read its output
    until(lambda: (box.host.rootfs / "done").exists())
    os.kill(launched.pid, 9)
    box.end()


def test_exec_ends_with_its_container(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    session = box.exec("sleep", "100")
    os.kill(launched.pid, 9)
    assert session.wait() == 137
    session.close()
    assert box.end()["exit_code"] == 137


def test_terminal_has_its_size_before_the_first_byte(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.01; done",
        attach=True, stdin=True, terminal=True, size=(33, 111),
    )  # fmt: skip
    session = launched.session
    assert session is not None
    assert session.tty
    output = b""
    while not output.endswith(b"\n"):  # it may come apart from its line
        output += session.read()[1]
    assert output == b"33 111\r\n"
    session.resize(20, 40)
    assert everything(session) == (b"20 40\r\n", b"")
    session.close()
    box.end()
    assert box.log() == b"33 111\r\n20 40\r\n"


def test_terminal_passes_control_keys_to_the_foreground_process(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "trap 'exit 4' INT; echo; while :; do sleep 0.01; done",
        attach=True, stdin=True, terminal=True,
    )  # fmt: skip
    session = launched.session
    assert session is not None
    session.read()
    session.write(b"\x03")
    assert session.wait() == 4
    session.close()
    box.end()


def test_exec_terminal_is_its_own(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    session = box.exec("sh", "-c", "tty; stty size", terminal=True, size=(7, 70))
    assert session.tty
    assert everything(session) == (b"/dev/pts/0\r\n7 70\r\n", b"")
    session.close()
    os.kill(launched.pid, 9)
    box.end()
