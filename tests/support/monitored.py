"""Containers with a monitor: launched as services do, in roots of a test's own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.home import Home
from engine.kernel.cgroup import open_cgroup
from engine.monitor import client
from engine.monitor.launch import Launched, LaunchSpec, launch
from engine.monitor.standby import interpreter
from engine.runtime.bundle import make_config
from engine.runtime.exec import make_process
from engine.runtime.plan import make_plan
from tests.support.box import make_root

REPOSITORY = Path(__file__).parents[2]
# What services' exit command does, as far as a monitor can tell: it folds, and ends.
EXIT_COMMAND = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from engine.kernel.cgroup import open_cgroup
run_dir, cgroup, folded, held = sys.argv[2:]
open_cgroup(cgroup).remove()
import time
while os.path.exists(held):
    time.sleep(0.005)
with open(folded, "a") as file:
    file.write(open(f"{run_dir}/exit.json").read())
"""


class Host:
    """A home and a root file system for containers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = Home(str(path / "root"), str(path / "run"), "7e57ab1e")
        self.rootfs = make_root(path / "rootfs")
        os.makedirs(self.home.run_root)
        (path / "exit_command.py").write_text(EXIT_COMMAND)

        self.containers: list[Monitored] = []

    def container(self, name: str = "box") -> "Monitored":
        self.containers.append(Monitored(self, name))
        return self.containers[-1]


class Monitored:
    """One container of a host."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.home = host.home
        self.name = name
        self.id = (name.encode().hex() * 64)[:64]
        self.run_dir = self.home.run_dir(self.id)
        self.cgroup = self.home.cgroup_path(name)
        self.folded = host.path / f"{name}.folded"
        self.directory = Path(self.home.container_dir(self.id))
        self.plan: dict[str, Any] = {}
        self.held = host.path / f"{name}.held"  # while it exists, its end is not folded
        os.makedirs(self.directory, exist_ok=True)

    def spec(
        self,
        *args: str,
        open_stdin: bool = False,
        user: str | None = "",
        change: Callable[[dict[str, Any]], object] | None = None,
        **config: Any,
    ) -> LaunchSpec:
        config.setdefault("env", ["PATH=/bin"])
        document = make_config(
            args=args, rootfs=str(self.host.rootfs), cgroup_path=self.cgroup, hostname="box",
            **config,
        )  # fmt: skip
        if change:
            change(document)
        self.plan = make_plan(document, id=self.id, user=user)
        return LaunchSpec(
            id=self.id,
            name=self.name,
            plan=self.plan,
            open_stdin=open_stdin,
            attributes={"image": "busybox"},
            exit_command=(
                interpreter(), "-I", "-S", str(self.host.path / "exit_command.py"), str(REPOSITORY),
                self.run_dir, self.cgroup, str(self.folded), str(self.held),
            ),
            exit_environment={},
        )  # fmt: skip

    def launch(
        self,
        *args: str,
        attach: bool = False,
        stdin: bool = False,
        cleans: bool = False,
        **options: Any,
    ) -> Launched:
        return launch(
            self.home, self.id, lambda: self.spec(*args, open_stdin=stdin, **options),
            attach=attach, stdin=stdin and attach, cleans=cleans,
        )  # fmt: skip

    def attach(self, *, stdin: bool = False, replay: bool = False) -> client.MonitorSession:
        return client.attach(self.run_dir, stdin=stdin, replay=replay)

    def exec(
        self, *args: str, stdin: bool = False, terminal: bool = False, **options: Any
    ) -> client.MonitorSession:
        process = make_process(self.plan, list(args), env=[], terminal=terminal, **options)
        return client.exec(self.run_dir, process, stdin=stdin)

    def end(self) -> dict[str, Any]:
        """What was folded, once it was."""
        client.wait_gone(self.run_dir)
        found: dict[str, Any] = json.loads(self.folded.read_text().splitlines()[-1])
        return found

    def destroy(self) -> None:
        """Nothing of it is left, however the test ended."""
        self.held.unlink(missing_ok=True)
        cgroup = open_cgroup(self.cgroup)
        cgroup.kill()
        client.wait_gone(self.run_dir)
        cgroup.remove()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.run_dir, "state.json").read_text())
        return found

    def log(self, stream: str = "stdout") -> bytes:
        """What the stream said, from all files of the log."""
        found: list[bytes] = []
        for name in ("log.2", "log.1", "log"):
            path = self.directory / name
            for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
                _, source, mark, text = line.split(b" ", 3)
                if source.decode() == stream:
                    found += [text, b"\n" * (mark == b"F")]
        return b"".join(found)

    def events(self) -> list[str]:
        path = Path(self.home.events_path)
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["action"] for line in lines if f'"{self.name}"' in line]


def everything(session: client.MonitorSession) -> tuple[bytes, bytes]:
    """What it says to its end, on both streams."""
    found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    while True:
        stream, data = session.read()
        if not data:
            return b"".join(found["stdout"]), b"".join(found["stderr"])
        found[stream].append(data)
