import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.kernel.cgroup import Cgroup
from engine.runtime.create import Created, create, destroy, start
from engine.runtime.exec import enter, make_process
from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup
from tests.support import box

pytestmark = pytest.mark.root


class Running(NamedTuple):
    plan: dict[str, Any]
    created: Created
    cgroup: Cgroup

    def exec(self, *args: str, env: tuple[str, ...] = (), **options: Any) -> box.Result:
        """Run another program in it."""
        process = make_process(self.plan, list(args), env=list(env), **options)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            null = os.open("/dev/null", os.O_RDONLY)
            stdio = (null, output.fileno(), errors.fileno())
            created = enter(self.created.pid, self.plan, process, stdio, console=False)
            os.close(null)
            start(created)
            code = box.finish(created)
            output.seek(0)
            errors.seek(0)
            return box.Result(code, output.read().decode(), errors.read().decode())


@pytest.fixture
def running(root: Path) -> Iterator[Running]:
    plan = box.plan_of(root, "sleep", "60", env=["PATH=/bin", "A=1"], memory_bytes=32 << 20)
    cgroup = create_cgroup(plan)
    assert cgroup
    created = create(plan, (0, 1, 2), console=False)
    start(created)
    yield Running(plan, created, cgroup)
    destroy(created)
    cgroup.remove()


def test_program_joins_namespaces_root_and_cgroup(running: Running) -> None:
    script = "for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done; "
    script += "hostname; cat /proc/self/cgroup; ps -o pid,comm"
    lines = running.exec("sh", "-c", script).output.splitlines()
    for name, line in zip(("mnt", "pid", "uts", "ipc", "net", "cgroup"), lines, strict=False):
        assert line == os.readlink(f"/proc/{running.created.pid}/ns/{name}")
    assert lines[6] == "box"
    assert all(line.endswith(":/") for line in lines[7:] if line.count(":") == 2)
    assert any(line.split() == ["1", "sleep"] for line in lines)


def test_parent_is_still_in_its_own_namespaces(running: Running) -> None:
    before = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid_for_children", "mnt")]
    running.exec("true")
    after = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid_for_children", "mnt")]
    assert before == after


def test_it_is_confined_like_the_container(running: Running) -> None:
    output = running.exec("cat", "/proc/self/status").output
    assert "CapEff:\t00000000a80425fb" in output
    assert "Seccomp:\t2" in output
    assert running.exec("sh", "-c", "ls /proc/$$/fd; exit 0").output.split() == ["0", "1", "2"]


def test_a_privileged_one_has_every_capability_and_the_filter(running: Running) -> None:
    output = running.exec("cat", "/proc/self/status", privileged=True).output
    with open("/proc/self/status") as file:
        (mine,) = [line.strip() for line in file if line.startswith("CapEff:")]
    assert mine in output  # no more than this process has itself
    assert "Seccomp:\t2" in output


def test_environment_directory_and_user_are_its_own(running: Running) -> None:
    script = "echo $A $B $HOME; pwd; id -u"
    result = running.exec("sh", "-c", script, env=("B=2",), cwd="/tmp", user="bob")
    assert result.output.split() == ["1", "2", "/home/bob", "/tmp", "1000"]


def test_exit_code_is_the_programs_own(running: Running) -> None:
    assert running.exec("sh", "-c", "exit 42").code == 42
    assert running.exec("sh", "-c", "kill -9 $$").code == -9


@pytest.mark.parametrize(
    ("args", "options", "code"),
    [
        (("nothing",), {}, 127),
        (("/etc",), {}, 126),
        (("true",), {"user": "alice"}, 125),
        (("true",), {"cwd": "/etc/passwd"}, 125),
    ],
)
def test_what_cannot_run_is_told_with_its_code(
    running: Running, args: tuple[str, ...], options: dict[str, str], code: int
) -> None:
    with pytest.raises(StepError) as caught:
        running.exec(*args, **options)
    assert explain(*caught.value.fields).exit_code == code
    assert running.cgroup.pids() == [running.created.pid]


@pytest.mark.parametrize("number", range(3, 12))
def test_working_directory_cannot_be_a_leaked_descriptor(running: Running, number: int) -> None:
    """CVE-2024-21626 is open to exec as well."""
    outside = os.open("/", os.O_RDONLY)
    step, output = "", ""
    try:
        output = running.exec("ls", "-a", ".", "..", cwd=f"/proc/self/fd/{number}").output
    except StepError as error:
        step = error.step
    os.close(outside)
    assert step in ("", "working directory")
    assert "usr" not in output.split()


def test_paused_container_is_refused(running: Running) -> None:
    running.cgroup.freeze()
    with pytest.raises(StepError) as caught:
        running.exec("true")
    running.cgroup.thaw()
    error = explain(*caught.value.fields)
    assert error.kind == "Conflict"
    assert "unpause" in error.hint


def test_ended_container_is_refused(running: Running) -> None:
    process = make_process(running.plan, ["true"], env=[])
    with pytest.raises(StepError) as caught:
        enter(1 << 22, running.plan, process, (0, 1, 2), console=False)
    assert explain(*caught.value.fields).kind == "Conflict"


def test_terminal_is_one_of_the_containers(running: Running) -> None:
    process = make_process(
        running.plan, ["sh", "-c", "tty; stty size"], env=[], terminal=True, size=(20, 60)
    )
    created = enter(running.created.pid, running.plan, process, (0, 1, 2), console=True)
    start(created)
    output = b""
    while True:
        try:
            output += os.read(created.console_fd, 4096)
        except OSError:  # EIO: the last one has closed it
            break
    assert box.finish(created) == 0
    assert output.split() == [b"/dev/pts/0", b"20", b"60"]
