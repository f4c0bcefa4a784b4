"""`pydock-oci` from outside, as conmon and a shell call it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.bundle import make_config
from tests.support import box
from tests.support.host import CGROUP_PARENT

PROJECT = Path(__file__).parents[3]
START = (
    f"import sys; sys.path.insert(0, {str(PROJECT)!r}); "
    "from engine.runtime.oci_cli import main; sys.exit(main())"
)


class Oci:
    """The command with a root of states of its own, on one bundle."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "states"
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        box.make_root(self.bundle / "rootfs")
        self.configure("true")

    def configure(self, *args: str, **options: Any) -> None:
        config = make_config(
            args=args, env=["PATH=/bin"], cgroup_path=f"{CGROUP_PARENT}/oci/c", **options
        )
        (self.bundle / "config.json").write_text(json.dumps(config))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", START, "--root", str(self.root), *words]

    def __call__(self, *words: str, code: int = 0) -> box.Result:
        # Files, not pipes: a created container keeps them open, and a pipe's reader would wait.
        with (
            open(os.devnull) as null,
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as errors,
        ):
            command = self.command(*words)
            done = subprocess.run(
                command, stdin=null, stdout=output, stderr=errors, timeout=20, check=False
            )
            output.seek(0)
            errors.seek(0)
            result = box.Result(done.returncode, output.read(), errors.read())
        assert result.code == code, result.errors
        return result

    def status(self, id: str) -> str:
        status: str = json.loads(self("state", id).output)["status"]
        return status


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Oci]:
    command = Oci(tmp_path)
    yield command
    if command.root.is_dir():
        for name in os.listdir(command.root):
            command("delete", "--force", name)


def test_help_and_version_are_told() -> None:
    for words, text in ((["--help"], "usage: pydock-oci"), (["run", "--help"], "usage:")):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", START, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        assert text in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "unknown command 'fly'"),
        (["run"], "expected one container ID"),
        (["run", "a", "b"], "expected one container ID"),
        (["run", "--nonsense", "a"], "unknown or incomplete option --nonsense"),
        (["run", "--bundle"], "unknown or incomplete option --bundle"),
        (["--systemd-cgroup", "run", "a"], "unknown or incomplete option"),
        (["state", "nobody"], "container nobody does not exist"),
        (["start", "nobody"], "container nobody does not exist"),
        (["kill", "nobody"], "container nobody does not exist"),
        (["delete", "nobody"], "container nobody does not exist"),
        (["run", "-b", "/nowhere", "x"], "/nowhere/config.json: no such file"),
    ],
)
def test_bad_command_lines_get_one_clear_line(
    tmp_path: Path, words: list[str], message: str
) -> None:
    oci = Oci(tmp_path)
    errors = oci(*words, code=1).errors
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not oci.root.exists()


@pytest.mark.root
def test_run_is_the_foreground_with_the_programs_exit_code(oci: Oci) -> None:
    oci.configure("sh", "-c", "echo out; echo err >&2; exit 7")
    done = oci("run", "-b", str(oci.bundle), "c", code=7)
    assert (done.output, done.errors) == ("out\n", "err\n")
    assert os.listdir(oci.root) == []


@pytest.mark.root
def test_run_that_cannot_leaves_nothing(oci: Oci) -> None:
    oci.configure("nothing")
    done = oci("run", "-b", str(oci.bundle), "c", code=127)
    assert 'exec: "nothing": executable file not found in $PATH' in done.errors
    (oci.bundle / "rootfs/bad").write_bytes(b"\0")
    (oci.bundle / "rootfs/bad").chmod(0o755)
    oci.configure("/bad")
    assert "exec format error" in oci("run", "-b", str(oci.bundle), "c", code=126).errors
    assert os.listdir(oci.root) == []


@pytest.mark.root
def test_life_of_a_container_by_its_verbs(oci: Oci, tmp_path: Path) -> None:
    oci.configure("sleep", "60", labels={"a": "b"})
    oci("create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "c")
    state = json.loads(oci("state", "c").output)
    assert state["status"] == "created"
    assert state["pid"] == int((tmp_path / "pid").read_text())
    assert state["annotations"] == {"a": "b"}
    assert state["bundle"] == str(oci.bundle)
    assert "exists already" in oci("create", "-b", str(oci.bundle), "c", code=1).errors
    oci("start", "c")
    assert oci.status("c") == "running"
    assert "already running" in oci("start", "c", code=1).errors
    assert "not stopped: running" in oci("delete", "c", code=1).errors
    oci("kill", "c", "KILL")
    while oci.status("c") != "stopped":
        time.sleep(0.01)
    assert "container not running" in oci("kill", "c", code=1).errors
    assert "stopped" in oci("start", "c", code=1).errors
    oci("delete", "c")
    assert "does not exist" in oci("state", "c", code=1).errors
    oci("delete", "--force", "c")


@pytest.mark.root
def test_created_container_can_be_deleted_without_force(oci: Oci) -> None:
    oci("create", "-b", str(oci.bundle), "c")
    oci("delete", "c")
    assert os.listdir(oci.root) == []


@pytest.mark.root
def test_hosts_python_cannot_be_overwritten_from_inside(oci: Oci) -> None:
    """CVE-2019-5736: the entry point is a link to the runtime's own program."""
    oci("create", "-b", str(oci.bundle), "c")
    program = f"/proc/{json.loads(oci('state', 'c').output)['pid']}/exe"
    assert os.stat(program).st_ino == os.stat(sys.executable).st_ino
    assert os.statvfs(program).f_flag & os.ST_RDONLY
    assert not os.statvfs(sys.executable).f_flag & os.ST_RDONLY


@pytest.mark.root
def test_detached_run_goes_on_and_force_ends_it(oci: Oci) -> None:
    oci.configure("sh", "-c", "sleep 60 & sleep 60")
    oci("run", "--detach", "-b", str(oci.bundle), "c")
    assert oci.status("c") == "running"
    oci("delete", "-f", "c")
    assert os.listdir(oci.root) == []


@pytest.mark.root
def test_signals_of_the_foreground_reach_the_container(oci: Oci) -> None:
    oci.configure("sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.02; done")
    process = subprocess.Popen(
        oci.command("run", "-b", str(oci.bundle), "c"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 33
    process.stdout.close()


@pytest.mark.root
def test_kill_reaches_all_processes(oci: Oci) -> None:
    oci.configure("sh", "-c", "sleep 60 & sleep 60 & wait; exit 3")
    oci("run", "-d", "-b", str(oci.bundle), "c")
    oci("kill", "--all", "c", "9")
    while oci.status("c") != "stopped":
        time.sleep(0.01)
    oci("delete", "c")


@pytest.mark.root
def test_errors_go_to_the_log_too(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    oci("--log", str(log), "--log-format", "json", "state", "nobody", code=1)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert entry["msg"] == "container nobody does not exist"
    assert entry["time"].endswith("Z")


@pytest.mark.root
def test_console_socket_gets_the_master(oci: Oci, tmp_path: Path) -> None:
    oci.configure("sh", "-c", "tty; stty size", terminal=True, size=(30, 90))
    assert "no console socket" in oci("create", "-b", str(oci.bundle), "c", code=1).errors
    path = str(tmp_path / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        oci("create", "-b", str(oci.bundle), "--console-socket", path, "c")
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
    oci("start", "c")
    output = b""
    while b"90" not in output:
        output += os.read(descriptors[0], 1000)
    assert output.split() == [b"/dev/pts/0", b"30", b"90"]
    os.close(descriptors[0])


@pytest.mark.root
def test_closed_standard_files_are_not_taken_by_ours(oci: Oci) -> None:
    oci.configure("sh", "-c", "(ls /proc/1/fd) > /out; exit 0")
    command = oci.command("run", "-b", str(oci.bundle), "c")
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], check=True)
    assert (oci.bundle / "rootfs/out").read_text().split() == ["0", "1", "2"]
