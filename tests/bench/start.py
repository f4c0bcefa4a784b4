"""From a command to a process, and to its end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import busybox
from tests.bench.measure import Action, command, interleaved, table

BIN = Path(sys.executable).parent
ROUNDS = 15


def run(directory: Path) -> None:
    """The shell's view against podman; the runtime's against crun and runc."""
    image = busybox.REFERENCE
    archive = busybox.archive(directory)
    roots = {"PYDOCK_ROOT": str(directory / "root"), "PYDOCK_RUN_ROOT": str(directory / "run")}
    os.environ.update(roots)
    podman = ["podman", "--root", directory / "podman", "--runroot", directory / "podman-run",
              "--cgroup-manager", "cgroupfs"]  # fmt: skip
    # crun, podman's runtime too, refuses a host with controllers in both trees; in this mount
    # namespace there is one now, for everybody.
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], stderr=subprocess.DEVNULL)
    # podman asks for more than root without CAP_SYS_RESOURCE may set.
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    command([BIN / "pydock", "load", "-i", archive])
    command([*podman, "load", "-q", "-i", archive])
    for network in ("none", "bridge"):
        theirs = "none" if network == "none" else "podman"
        actions: dict[str, Action] = {
            "pydock run --rm": lambda: command(
                [BIN / "pydock", "run", "--rm", "--network", network, image, "true"]  # noqa: B023
            ),
            "podman run --rm": lambda: command(
                [*podman, "run", "--rm", *limits, "--network", theirs, image, "true"]  # noqa: B023
            ),
        }
        table(
            f"From the shell, `true` in a busybox image, network {network}",
            "pydock run --rm",
            interleaved(actions, ROUNDS),
        )
    _engine(image)
    _runtimes(directory)


def _runtimes(directory: Path) -> None:
    """One bundle under three low-level runtimes."""
    bundle = directory / "bundle"
    rootfs = bundle / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    busybox = rootfs / "bin" / "busybox"
    busybox.write_bytes(Path("/bin/busybox").read_bytes())
    busybox.chmod(0o755)
    (rootfs / "bin" / "true").symlink_to("busybox")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/true"])
    config["root"]["readonly"] = False
    (bundle / "config.json").write_text(json.dumps(config))

    def runtime(*argv: str | Path) -> Action:
        return lambda: command([*argv, "run", "--bundle", bundle, f"b{time.monotonic_ns()}"])

    results = interleaved(
        {
            "pydock-oci run": runtime(BIN / "pydock-oci", "--root", directory / "oci"),
            "crun run": runtime("crun", "--cgroup-manager=cgroupfs"),
            "runc run": runtime("runc"),
        },
        ROUNDS,
    )
    table("The low-level runtime: one busybox bundle, all v1 cgroups", "pydock-oci run", results)


def _engine(image: str) -> None:
    """What starting costs inside a process that is open already (the console, a server)."""
    from engine.connect import connect
    from engine.model.container import CreateOptions

    engine = connect()
    starts, ends = [], []
    for _ in range(ROUNDS + 1):
        name = engine.containers.create(
            CreateOptions(image=image, command=("true",), network="none")
        )
        time.sleep(0.2)
        begin = time.perf_counter()
        engine.containers.start(name)
        starts.append(time.perf_counter() - begin)
        engine.containers.wait(name)
        ends.append(time.perf_counter() - begin)
        engine.containers.remove(name)
    engine.close()
    middle = len(starts) // 2
    to_execve, to_exit = sorted(starts[1:])[middle - 1], sorted(ends[1:])[middle - 1]
    print(f"\nEngine part (all cgroups, network none): to `execve` {to_execve * 1000:.1f} ms, "
          f"to exit with everything folded {to_exit * 1000:.1f} ms")  # fmt: skip
