"""Sessions at a container's own process, and who cleans up after it."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Unavailable
from engine.monitor import client, protocol
from tests.support.descriptors import open_now, opened_since
from tests.support.monitored import Monitored, everything
from tests.support.waiting import until

pytestmark = pytest.mark.root


def test_first_client_misses_no_byte(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "seq 1 50000; echo e >&2; exit 3", attach=True)
    session = launched.session
    assert session is not None
    out, err = everything(session)
    assert out == b"".join(b"%d\n" % number for number in range(1, 50001))
    assert err == b"e\n"
    assert session.wait() == 3
    session.close()
    assert box.end()["exit_code"] == 3
    assert box.log() == out


def test_first_client_is_waited_for_as_a_pipe_is(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "seq 1 400000", attach=True)
    session = launched.session
    assert session is not None
    time.sleep(0.3)
    assert not Path(box.run_dir, "exit.json").exists()
    assert len(everything(session)[0]) == 2688895
    session.close()
    box.end()


def test_end_does_not_depend_on_a_client_that_takes_nothing(box: Monitored) -> None:
    launched = box.launch("seq", "1", "40000", attach=True, cleans=False)
    assert box.end()["exit_code"] == 0
    assert launched.session is not None
    assert len(everything(launched.session)[0]) == 228894
    assert launched.session.wait() == 0
    launched.session.close()


def test_attached_input_reaches_the_process_and_ends(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "cat; echo end", attach=True, stdin=True)
    session = launched.session
    assert session is not None
    session.write(b"hello\n")
    assert session.read() == ("stdout", b"hello\n")
    session.close_stdin()
    assert everything(session) == (b"end\n", b"")
    assert session.wait() == 0
    session.close()
    box.end()


def test_attach_with_replay_shows_the_last_output_and_goes_on(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "seq 1 30000; while [ ! -e /go ]; do sleep 0.01; done; echo x"
    )
    until(lambda: box.log().endswith(b"30000\n"))
    session = box.attach(replay=True)
    fresh = box.attach(replay=False)
    (box.host.rootfs / "go").touch()
    out = everything(session)[0]
    assert 65536 <= len(out) < 3 * 65536
    assert out.endswith(b"29999\n30000\nx\n")
    assert everything(fresh)[0] == b"x\n"
    assert launched.pid
    session.close()
    fresh.close()
    box.end()


def test_input_kept_open_waits_for_a_client(box: Monitored) -> None:
    box.launch("cat", stdin=True)
    for word in (b"one\n", b"two\n"):
        session = box.attach(stdin=True)
        session.write(word)
        assert session.read() == ("stdout", word)
        session.close_stdin()  # not the container's end: it was made with -i, without -a
        session.close()
    os.kill(box.state()["pid"], 9)
    assert box.end()["exit_code"] == 137


def test_output_in_drops_is_replayed_whole(box: Monitored) -> None:
    box.launch("cat", stdin=True)
    session = box.attach(stdin=True)
    for number in range(300):
        session.write(b"%d\n" % number)
        assert session.read()[1] == b"%d\n" % number
    second = box.attach(replay=True)
    output = b""
    while not output.endswith(b"299\n"):
        output += second.read()[1]
    assert output == b"".join(b"%d\n" % number for number in range(300))
    session.close()
    second.close()
    os.kill(box.state()["pid"], 9)
    box.end()


def test_several_clients_see_the_same(box: Monitored) -> None:
    launched = box.launch("cat", stdin=True, attach=True)
    first = launched.session
    assert first is not None
    others = [box.attach(stdin=True) for _ in range(3)]
    others[0].write(b"from another\n")
    for session in (first, *others):
        assert session.read() == ("stdout", b"from another\n")
    others[1].close_stdin()  # of a later client: not the container's end
    first.write(b"still\n")
    for session in (first, *others):
        assert session.read() == ("stdout", b"still\n")
    first.close_stdin()
    for session in (first, *others):
        assert session.wait() == 0
        session.close()
    box.end()


def test_slow_client_is_dropped_and_told_and_the_container_goes_on(box: Monitored) -> None:
    (box.host.rootfs / "data").write_bytes(b"a line of an usual length\n" * 100_000)
    box.launch("sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; cat /data; echo end")
    slow = box.attach()
    (box.host.rootfs / "go").touch()
    assert box.end()["exit_code"] == 0
    assert box.log().endswith(b"length\nend\n")
    everything(slow)
    with pytest.raises(Unavailable, match="faster"):
        slow.wait()
    slow.close()


def test_input_is_taken_no_faster_than_the_process_reads(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; wc -c", attach=True, stdin=True
    )
    session = launched.session
    assert session is not None
    written = [0]

    def write() -> None:
        for _ in range(64):
            session.write(bytes(65536))
            written[0] += 65536
        session.close_stdin()

    output: list[tuple[bytes, bytes]] = []
    reader = threading.Thread(target=lambda: output.append(everything(session)))
    writer = threading.Thread(target=write)
    reader.start()
    writer.start()
    time.sleep(0.2)
    assert written[0] <= protocol.WINDOW_BYTES + 131072  # the window and the pipe
    session.resize(1, 1)  # what is said besides is not held up behind it
    (box.host.rootfs / "go").touch()
    writer.join(60)
    reader.join(60)
    assert output == [(b"4194304\n", b"")]
    session.close()
    box.end()


def test_signal_passes_input_that_nobody_reads(box: Monitored) -> None:
    launched = box.launch(
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo; while :; do sleep 0.01; done",
        attach=True,
        stdin=True,
    )
    session = launched.session
    assert session is not None
    session.read()
    writer = threading.Thread(target=lambda: session.write(bytes(1 << 20)))
    writer.start()
    time.sleep(0.1)
    session.signal(signal.SIGTERM)
    assert session.wait() == 9
    writer.join(60)
    assert not writer.is_alive()
    session.close()
    box.end()


def test_detach_leaves_the_container_alone(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; exit 6", attach=True
    )
    session = launched.session
    assert session is not None
    reader = threading.Thread(target=session.read)
    reader.start()
    session.detach()
    reader.join(60)
    assert not reader.is_alive()
    assert session.read() == ("stdout", b"")
    session.close()
    (box.host.rootfs / "go").touch()
    assert box.end()["exit_code"] == 6


def test_client_that_died_ends_the_input_it_was_attached_with(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "cat; exit 5", attach=True, stdin=True)
    assert launched.session is not None
    launched.session.close()
    assert box.end()["exit_code"] == 5


def test_first_client_cleans_up_instead_of_the_exit_command(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "exit 7", attach=True, cleans=True)
    session = launched.session
    assert session is not None
    cleaned: list[tuple[int, bool]] = []

    def clean(code: int) -> None:
        cleaned.append((code, client.is_alive(box.run_dir)))
        from engine.kernel.cgroup import open_cgroup

        open_cgroup(box.cgroup).remove()

    session.on_clean(clean)
    assert session.wait() == 7
    client.wait_gone(box.run_dir)
    assert cleaned == [(7, True)]
    assert not box.folded.exists()
    session.close()


def test_exit_command_runs_when_the_first_client_died(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "exit 7", attach=True, cleans=True)
    assert launched.session is not None
    until(lambda: Path(box.run_dir, "exit.json").exists())
    launched.session.close()
    assert box.end()["exit_code"] == 7


def test_client_that_comes_too_late_does_not_clean(
    box: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = box.launch("sh", "-c", "exit 7", attach=True, cleans=True)
    session = launched.session
    assert session is not None
    session.on_clean(lambda code: pytest.fail("cleaned twice"))
    assert box.end()["exit_code"] == 7  # after five seconds
    assert session.wait() == 7
    session.close()


def test_waiting_can_be_cancelled(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    before, threads = open_now(), set(threading.enumerate())
    cancel = Cancel()
    threading.Timer(0.05, cancel.cancel).start()
    with pytest.raises(Cancelled):
        client.wait_gone(box.run_dir, cancel)
    until(lambda: not opened_since(before) and set(threading.enumerate()) <= threads)
    os.kill(launched.pid, 9)
    client.wait_gone(box.run_dir, Cancel())
    assert box.folded.exists()


@pytest.mark.parametrize("removed", [False, True])
def test_cancellable_waiting_ends_when_all_is_folded(box: Monitored, removed: bool) -> None:
    box.held.touch()
    box.launch("sh", "-c", "sleep 0.1")
    waiter = threading.Thread(target=client.wait_gone, args=(box.run_dir, Cancel()))
    waiter.start()
    until(lambda: Path(box.run_dir, "exit.json").exists())
    if removed:  # as --rm does, under the lock
        until(lambda: "poll" in Path(f"/proc/self/task/{waiter.native_id}/wchan").read_text())
        os.rename(f"{box.run_dir}/exit.json", box.host.path / "exit.json")
        shutil.rmtree(box.run_dir)
        os.mkdir(box.run_dir)
        os.rename(box.host.path / "exit.json", f"{box.run_dir}/exit.json")
    assert waiter.is_alive()
    box.held.unlink()
    waiter.join(60)
    assert not waiter.is_alive()
    assert box.folded.exists()
