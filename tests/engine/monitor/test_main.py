"""The monitor's work from birth to death, with real containers."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socket

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled, Conflict, EngineError, NotFound, Unavailable
from engine.kernel.process import is_alive
from engine.monitor import client, protocol
from engine.monitor.launch import launch
from tests.support.monitored import REPOSITORY, Host, Monitored, everything

pytestmark = pytest.mark.root


def until(condition: object) -> None:
    """Returns when `condition()` is true; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


# -- run, log, exit


def test_container_runs_logs_and_ends_with_its_code(box: Monitored) -> None:
    launched = box.launch("sh", "-c", "echo out; echo err >&2; exit 7")
    end = box.end()
    assert (end["exit_code"], end["signal"], end["oom_killed"]) == (7, 0, False)
    assert launched.started_ns < end["finished_ns"] < time.time_ns()
    assert (box.log(), box.log("stderr")) == (b"out\n", b"err\n")
    assert box.events() == ["die"]
    assert Path(box.run_dir, "monitor.err").read_bytes() == b""


def test_state_names_the_process_for_sure(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    state = box.state()
    assert state["pid"] == launched.pid
    assert is_alive(state["pid"], state["start_time"])
    assert state["started_ns"] == launched.started_ns
    assert state["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    os.kill(launched.pid, 9)
    end = box.end()
    assert (end["exit_code"], end["signal"]) == (137, 9)


def test_signal_reaches_the_process(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "trap 'exit 3' TERM; echo; while :; do sleep 0.01; done", attach=True
    )
    session = launched.session
    assert session is not None
    session.read()
    session.signal(signal.SIGTERM)
    assert session.wait() == 3
    session.close()
    assert box.end()["exit_code"] == 3


def test_killed_for_want_of_memory_is_told(box: Monitored) -> None:
    box.launch("sh", "-c", "a=x; while :; do a=$a$a; done", memory_bytes=12 << 20)
    end = box.end()
    assert (end["exit_code"], end["oom_killed"]) == (137, True)
    assert box.events() == ["oom", "die"]


def test_log_has_every_byte_that_was_written(box: Monitored, tmp_path: Path) -> None:
    generator = random.Random(5)
    data = b"".join(
        generator.randbytes(generator.choice((1, 100, 5000))) + b"\n" * generator.randrange(2)
        for _ in range(2000)
    )
    (box.host.rootfs / "data").write_bytes(data)
    box.launch("sh", "-c", "cat /data; cat /data >&2; printf rest")
    box.end()
    assert box.log() == data + b"rest"
    assert box.log("stderr") == data


def test_second_start_goes_on_in_the_same_log(box: Monitored) -> None:
    for word in ("one", "two"):
        box.launch("echo", word)
        box.end()
    assert box.log() == b"one\ntwo\n"
    assert box.events() == ["die", "die"]


def test_grandchild_that_holds_the_pipe_does_not_hold_the_end(box: Monitored) -> None:
    box.launch("sleep", "100")
    session = box.exec("sh", "-c", "echo x; sleep 100 & exit 4")
    assert session.wait() == 4
    session.close()
    os.kill(box.state()["pid"], 9)
    box.end()


def test_monitor_lives_outside_of_the_containers_cgroup(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    monitor = Path(f"/proc/{box.state()['monitor_pid']}/cgroup").read_text()
    inside = Path(f"/proc/{launched.pid}/cgroup").read_text()
    assert "/mon/monitors" in monitor
    assert "/mon/box" not in monitor
    assert inside.count("/mon/box") >= 1
    assert "monitors" not in inside
    os.kill(launched.pid, 9)
    box.end()


def test_idle_monitor_sleeps(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    pid = box.state()["monitor_pid"]

    def switches() -> str:
        with open(f"/proc/{pid}/status") as file:
            return "".join(line for line in file if "ctxt" in line)

    until(lambda: "poll" in Path(f"/proc/{pid}/wchan").read_text())
    time.sleep(0.05)
    before = switches()
    time.sleep(0.3)
    assert switches() == before
    os.kill(launched.pid, 9)
    box.end()


def test_program_gets_nothing_but_its_stdio(box: Monitored) -> None:
    box.launch("ls", "/proc/self/fd")
    box.end()
    assert box.log().split() == [b"0", b"1", b"2", b"3"]  # 3 is ls's own


def test_user_reopens_its_stdout(box: Monitored) -> None:
    box.launch("sh", "-c", "echo again > /dev/stdout; echo x > /dev/stderr", user="1000")
    assert box.end()["exit_code"] == 0
    assert box.log() == b"again\n"


# -- attach


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
    writer.join(20)
    reader.join(20)
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
    writer.join(10)
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
    reader.join(10)
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


def test_stranger_on_the_socket_is_sent_away(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    for packet in (
        b"nonsense",
        protocol.encode(1),
        protocol.encode("in", b"x"),
        protocol.encode("hello", 1, "attach"),
        protocol.encode("hello", 1, "dance", True, True),
        protocol.encode("hello", 1, "exec", True),
        protocol.encode("in", bytes(200_000)),
    ):
        with _connect(box) as stranger:
            stranger.send(packet)
            assert stranger.recv(100) == b""
    with _connect(box) as newer:  # a later version says more
        newer.send(protocol.encode("hello", 7, "attach", False, True, "something new"))
        assert protocol.decode(newer.recv(100))[0] == protocol.HELLO
    assert os.stat(f"{box.run_dir}/ctl.sock").st_mode & 0o777 == 0o600
    os.kill(launched.pid, 9)
    box.end()


def _connect(box: Monitored) -> socket:
    connection = socket(AF_UNIX, SOCK_SEQPACKET)
    directory = os.open(box.run_dir, os.O_PATH)
    connection.connect(f"/proc/self/fd/{directory}/ctl.sock")
    os.close(directory)
    return connection


# -- who cleans up


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


def test_lock_is_free_only_when_all_is_folded(box: Monitored) -> None:
    box.exit_delay_seconds = 0.2
    box.launch("true")
    until(lambda: Path(box.run_dir, "exit.json").exists())
    assert client.is_alive(box.run_dir)
    client.wait_gone(box.run_dir)
    assert box.folded.exists()
    assert not client.is_alive(box.run_dir)


def test_log_follower_ends_with_the_lock(box: Monitored) -> None:
    from engine.monitor import log_reader

    box.exit_delay_seconds = 0.2
    box.launch("sh", "-c", "echo a; sleep 0.1; printf b")
    lines = log_reader.read(
        str(box.directory), follow=True, alive=lambda: client.is_alive(box.run_dir)
    )
    assert [line.text for line in lines] == [b"a", b"b"]
    assert box.folded.exists()


def test_waiting_can_be_cancelled(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    cancel = Cancel()
    threading.Timer(0.05, cancel.cancel).start()
    with pytest.raises(Cancelled):
        client.wait_gone(box.run_dir, cancel)
    os.kill(launched.pid, 9)
    client.wait_gone(box.run_dir, Cancel())
    box.end()


# -- exec


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
    writer.join(10)
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


# -- terminal


def test_terminal_has_its_size_before_the_first_byte(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "stty size; trap 'stty size; exit 0' WINCH; while :; do sleep 0.01; done",
        attach=True, stdin=True, terminal=True, size=(33, 111),
    )  # fmt: skip
    session = launched.session
    assert session is not None
    assert session.tty
    output = session.read()[1]
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


# -- what goes wrong


def test_monitor_killed_does_not_kill_its_container(box: Monitored) -> None:
    launched = box.launch(
        "sh", "-c", "n=0; while [ ! -e /go ]; do echo $n; n=$((n+1)); done; touch /ended"
    )
    until(lambda: box.log())
    pidfd = os.pidfd_open(launched.pid)
    os.kill(box.state()["monitor_pid"], 9)
    until(lambda: not client.is_alive(box.run_dir))
    time.sleep(0.1)
    assert is_alive(launched.pid, box.state()["start_time"])
    (box.host.rootfs / "go").touch()
    # It waits for somebody who reads, and goes on when there is one.
    until(lambda: _drain(f"{box.run_dir}/out") and (box.host.rootfs / "ended").exists())
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    with pytest.raises(Conflict, match="not running"):
        box.attach()
    _remove_cgroup(box)


def _drain(fifo: str) -> bool:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.read(reader, 1 << 16)
    except BlockingIOError:
        pass
    finally:
        os.close(reader)
    return True


def _remove_cgroup(box: Monitored) -> None:
    from engine.kernel.cgroup import open_cgroup

    open_cgroup(box.cgroup).remove()


@pytest.mark.parametrize(
    ("args", "options", "code", "words"),
    [
        (("nope",), {}, 127, "executable file not found"),
        (("/etc/passwd",), {}, 126, "permission denied"),
        (("true",), {"user": "nobody-here"}, 125, "unable to find user"),
        (("true",), {"mounts": [("/does/not/exist", "/x", False)]}, 125, "mount"),
    ],
)
def test_launch_that_fails_says_why_and_leaves_nothing(
    box: Monitored, args: tuple[str, ...], options: dict[str, object], code: int, words: str
) -> None:
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(EngineError, match=words) as caught:
        box.launch(*args, attach=True, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == code
    assert not os.path.exists(box.run_dir)
    assert box.events() == []
    assert os.listdir("/proc/self/fd") == descriptors


def test_launch_without_a_place_for_the_log_leaves_nothing(box: Monitored) -> None:
    spec = box.spec("true")
    box.directory.rmdir()
    with pytest.raises(EngineError, match="log"):
        launch(box.home, spec)
    assert not os.path.exists(box.run_dir)


def test_second_launch_of_a_running_container_is_a_conflict(box: Monitored) -> None:
    launched = box.launch("sleep", "100")
    with pytest.raises(Conflict, match="still at work"):
        box.launch("sleep", "100")
    assert is_alive(launched.pid, box.state()["start_time"])
    os.kill(launched.pid, 9)
    box.end()


def test_container_outlives_its_launcher(box: Monitored) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from pathlib import Path
from engine.home import Home
from engine.monitor.launch import LaunchSpec, launch
home = Home({box.home.root!r}, {box.home.run_root!r}, {box.home.root_id!r})
launched = launch(home, LaunchSpec(*{tuple(box.spec("sh", "-c", "sleep 0.3; echo x; exit 3"))!r}))
print(launched.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert int(done.stdout) == box.state()["pid"]
    assert box.end()["exit_code"] == 3
    assert box.log() == b"x\n"


def test_launcher_killed_while_its_monitor_boots_leaves_no_process(box: Monitored) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from engine.home import Home
from engine.monitor import launch as module
module._hear = lambda launcher: os.kill(os.getpid(), 9)
home = Home({box.home.root!r}, {box.home.run_root!r}, {box.home.root_id!r})
module.launch(home, module.LaunchSpec(*{tuple(box.spec("sleep", "100"))!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    until(lambda: not client.is_alive(box.run_dir))
    assert not os.path.exists(f"{box.run_dir}/state.json")
    launched = box.launch("sh", "-c", "exit 2")  # and the next one finds no obstacle
    assert launched.pid
    assert box.end()["exit_code"] == 2


def test_ten_launches_at_once(host: Host) -> None:
    boxes = [host.container(f"c{number}") for number in range(10)]
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            boxes[number].launch("sh", "-c", f"echo {number}; exit {number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number, box in enumerate(boxes):
        assert box.end()["exit_code"] == number
        assert box.log() == b"%d\n" % number


def test_monitors_that_ended_are_no_zombies_of_a_living_launcher(box: Monitored) -> None:
    box.launch("true")
    pid = box.state()["monitor_pid"]
    box.end()
    until(lambda: not os.path.exists(f"/proc/{pid}"))


# Beyond a bare `-I -S` interpreter's own. Each costs every container time to start, and memory for
# its life: a careless one 5 to 10 ms.
GOLDEN = """
__future__ _collections_abc _ctypes _json _socket _struct ctypes ctypes._endian engine engine.errors engine.journal
engine.kernel engine.kernel.capabilities engine.kernel.cgroup engine.kernel.cgroup_v1
engine.kernel.cgroup_v2 engine.kernel.files engine.kernel.libc engine.kernel.mount
engine.kernel.namespaces engine.kernel.overlay engine.kernel.process engine.kernel.seccomp
engine.kernel.tty engine.monitor engine.monitor.logs engine.monitor.main engine.monitor.peer
engine.monitor.poller engine.monitor.process engine.monitor.protocol engine.runtime
engine.runtime.create engine.runtime.exec engine.runtime.failure engine.runtime.init
engine.runtime.rootfs engine.runtime.users fcntl genericpath os os.path posixpath resource select
stat struct types
"""


def test_monitor_imports_a_golden_list() -> None:
    def modules(statement: str) -> set[str]:
        start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); "
        command = [sys.executable, "-I", "-S", "-c", f"{start}{statement}; print(*sys.modules)"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    loaded = modules("import engine.monitor.main") - modules("pass")
    assert loaded - set(sys.builtin_module_names) - set(GOLDEN.split()) == set()
