import marshal
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engine.kernel.process import pidfd_send_signal
from engine.runtime import create as creating
from engine.runtime.create import create, destroy, start, start_by_fifo
from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup
from tests.support import box

pytestmark = pytest.mark.root


def stdio() -> tuple[int, int, int]:
    return (0, 1, 2)


def made(plan: dict[str, Any], **options: Any) -> tuple[creating.Created, Any]:
    cgroup = create_cgroup(plan)
    return create(plan, stdio(), console=False, **options), cgroup


def test_program_waits_for_start(root: Path) -> None:
    created, cgroup = made(box.plan_of(root, "sh", "-c", "exit 9"))
    assert cgroup.pids() == [created.pid]
    time.sleep(0.05)
    assert os.waitpid(created.pid, os.WNOHANG) == (0, 0)
    assert b"python" in Path(f"/proc/{created.pid}/cmdline").read_bytes()  # still ours
    start(created)
    assert box.finish(created) == 9
    cgroup.remove()


def test_process_ends_with_the_parent_that_should_start_it(root: Path) -> None:
    created, cgroup = made(box.plan_of(root, "sleep", "60"))
    created.channel.close()
    assert box.finish(created) == 127
    cgroup.remove()


def test_plan_travels_by_marshal(root: Path) -> None:
    plan = marshal.loads(marshal.dumps(box.plan_of(root, "sh", "-c", "exit 4")))
    assert box.run_plan(plan).code == 4


def test_plan_of_another_version_is_refused(root: Path) -> None:
    plan = box.plan_of(root, "true") | {"version": -1}
    with pytest.raises(StepError) as caught:
        create(plan, stdio(), console=False)
    assert explain(*caught.value.fields).hint == "pydock was upgraded meanwhile: try again"


def test_failed_execution_is_reported_by_start(root: Path) -> None:
    (root / "bad").write_bytes(b"\0garbage")
    (root / "bad").chmod(0o755)
    created, cgroup = made(box.plan_of(root, "/bad"))
    with pytest.raises(StepError) as caught:
        start(created)
    assert (caught.value.step, caught.value.extra) == ("command", "execve")
    with pytest.raises(ChildProcessError):
        os.waitpid(created.pid, 0)  # it is reaped
    cgroup.remove()


def test_killed_init_is_told_as_such(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = box.plan_of(root, "true")
    cgroup = create_cgroup(plan)
    assert cgroup

    def kill(created: creating.Created, *_: object) -> None:
        pidfd_send_signal(created.pidfd, signal.SIGKILL)
        select.select([created.pidfd], [], [])
        await_ready(created, None, None)

    await_ready = creating.await_ready
    monkeypatch.setattr(creating, "await_ready", kill)
    with pytest.raises(StepError) as caught:
        create(plan, stdio(), console=False)
    assert caught.value.step == "start"
    cgroup.remove()


def test_started_by_a_named_pipe(root: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "exec.fifo"
    os.mkfifo(fifo)
    created, cgroup = made(
        box.plan_of(root, "sh", "-c", "(ls /proc/1/fd) >/out; exit 0"), fifo=str(fifo)
    )
    created.channel.close()  # as when the one that has created it is gone
    time.sleep(0.05)
    assert os.waitpid(created.pid, os.WNOHANG) == (0, 0)
    start_by_fifo(str(fifo), created.pidfd)
    assert box.finish(created) == 0
    assert (root / "out").read_text().split() == ["0", "1", "2"]
    cgroup.remove()


def test_failure_comes_back_through_the_named_pipe(root: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "exec.fifo"
    os.mkfifo(fifo)
    (root / "bad").write_bytes(b"\0garbage")
    (root / "bad").chmod(0o755)
    created, cgroup = made(box.plan_of(root, "/bad"), fifo=str(fifo))
    with pytest.raises(StepError) as caught:
        start_by_fifo(str(fifo), created.pidfd)
    assert caught.value.step == "command"
    destroy(created)
    cgroup.remove()


def test_start_does_not_wait_for_a_dead_process(root: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "exec.fifo"
    os.mkfifo(fifo)
    created, cgroup = made(box.plan_of(root, "true"), fifo=str(fifo))
    pidfd_send_signal(created.pidfd, signal.SIGKILL)
    start_by_fifo(str(fifo), created.pidfd)  # its end is seen by whoever watches it
    destroy(created)
    cgroup.remove()


def test_host_with_the_v2_tree_alone(root: Path) -> None:
    """Born in its cgroup, device rules by eBPF, one cgroup2 mount: the v2 tree that hybrid hosts
    have serves as such a host's."""
    script = "cat /proc/self/cgroup; grep cgroup /proc/self/mountinfo; "
    script += "cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x; "
    script += "mknod /tmp/mem c 1 1; cat /tmp/mem"
    plan = box.plan_of(root, "sh", "-c", script)
    path, (_, v2) = plan["cgroup"]
    plan["cgroup"] = (path, ((), v2))
    result = box.run_plan(plan)
    lines = result.output.splitlines()
    assert "0::/" in lines
    mounts = [line for line in lines if " - cgroup" in line]
    assert len(mounts) == 1
    assert " - cgroup2 " in mounts[0]
    assert "1" in lines
    assert "Read-only file system" in result.errors
    assert "can't open '/tmp/mem': Operation not permitted" in result.errors
