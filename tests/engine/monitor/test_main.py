"""The monitor's work from birth to death, with real containers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socket

import pytest

from engine.errors import Conflict
from engine.kernel.process import is_alive
from engine.monitor import client, protocol
from tests.support.monitored import REPOSITORY, Monitored
from tests.support.waiting import until

pytestmark = pytest.mark.root


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
    assert "/7e57ab1e/monitors" in monitor
    assert "/7e57ab1e/box" not in monitor
    assert inside.count("/7e57ab1e/box") >= 1
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


def test_lock_is_free_only_when_all_is_folded(box: Monitored) -> None:
    box.held.touch()
    box.launch("true")
    until(lambda: Path(box.run_dir, "exit.json").exists())
    assert client.is_alive(box.run_dir)
    box.held.unlink()
    client.wait_gone(box.run_dir)
    assert box.folded.exists()
    assert not client.is_alive(box.run_dir)


def test_log_follower_ends_with_the_lock(box: Monitored) -> None:
    from engine.monitor import log_reader

    box.held.touch()
    box.launch("sh", "-c", "echo a; sleep 0.1; printf b")
    lines = log_reader.read(
        str(box.directory), follow=True, alive=lambda: client.is_alive(box.run_dir)
    )
    assert next(lines).text == b"a"
    assert next(lines).text == b"b"  # the monitor has ended, its exit command is at work
    box.held.unlink()
    assert list(lines) == []
    assert box.folded.exists()


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


# Beyond a bare `-I -S` interpreter's own. Each costs every container time to start, and memory for
# its life: a careless one 5 to 10 ms.
GOLDEN = """
__future__ _collections_abc _ctypes _json _socket _struct ctypes ctypes._endian engine engine.errors
engine.journal engine.kernel engine.kernel.capabilities engine.kernel.cgroup engine.kernel.cgroup_v1
engine.kernel.cgroup_v2 engine.kernel.files engine.kernel.libc engine.kernel.mount
engine.kernel.namespaces engine.kernel.overlay engine.kernel.process engine.kernel.seccomp
engine.kernel.tty engine.monitor engine.monitor.logs engine.monitor.main engine.monitor.peer
engine.monitor.poller engine.monitor.process engine.monitor.protocol engine.runtime
engine.runtime.create engine.runtime.exec engine.runtime.failure engine.runtime.init
engine.runtime.plan_version engine.runtime.rootfs engine.runtime.users fcntl genericpath os os.path
posixpath resource select
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
