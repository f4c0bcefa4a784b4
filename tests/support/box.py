"""Containers for the runtime's tests: a small root with busybox, started without any monitor."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.runtime.bundle import make_config
from engine.runtime.create import Created, create, start
from engine.runtime.limits import create_cgroup
from engine.runtime.plan import make_plan
from tests.support.host import CGROUP_PARENT

APPLETS = """
    awk cat chmod chown cut dd echo env false grep head hostname id ifconfig kill ln ls mkdir mknod
    mount nc od ps pwd readlink rm seq sh sleep sort stat stty tail test touch tr true tty umount
    unshare wc who
"""
CGROUP_PATH = f"{CGROUP_PARENT}/box/c"


class Result(NamedTuple):
    """How a container's program ended, and what it has written to 1 and 2."""

    code: int
    output: str
    errors: str


def make_root(path: Path) -> Path:
    """A root file system: /bin/busybox with links, a few users, nothing mounted."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    busybox = shutil.which("busybox")
    assert busybox, "busybox is not installed"
    shutil.copy(busybox, path / "bin/busybox")
    for name in APPLETS.split():
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\n"
    )
    (path / "etc/group").write_text(
        "root:x:0:\nwheel:x:10:root,bob\nbob:x:1001:\nusers:x:100:bob\n"
    )
    return path


def plan_of(
    root: Path,
    *args: str,
    user: str | None = "",
    change: Callable[[dict[str, Any]], object] | None = None,
    overlay: tuple[list[str], str, str] | None = None,
    **config: Any,
) -> dict[str, Any]:
    """The plan of a container with `args`; `change` may edit the config.json before."""
    config.setdefault("env", ["PATH=/bin"])
    config.setdefault("hostname", "box")
    document = make_config(args=args, rootfs=str(root), cgroup_path=CGROUP_PATH, **config)
    if change:
        change(document)
    return make_plan(document, id="box", user=user, overlay=overlay)


def run(root: Path, *args: str, **options: Any) -> Result:
    """The container ran from its creation to its end; raises StepError if it could not."""
    return run_plan(plan_of(root, *args, **options))


def run_plan(plan: dict[str, Any]) -> Result:
    """The same for a plan."""
    cgroup = create_cgroup(plan)
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        open("/dev/null") as null,
    ):
        try:
            stdio = (null.fileno(), output.fileno(), errors.fileno())
            created = create(plan, stdio, console=False)
            start(created)
            code = finish(created)
        finally:
            if cgroup:
                cgroup.remove()
        output.seek(0)
        errors.seek(0)
        return Result(code, output.read().decode(), errors.read().decode())


def finish(created: Created) -> int:
    """The exit code, when the process has ended."""
    _, status = os.waitpid(created.pid, 0)
    os.close(created.pidfd)
    if created.console_fd >= 0:
        os.close(created.console_fd)
    return os.waitstatus_to_exitcode(status)
