"""The OCI config.json of a container, with docker's defaults (runtime-spec, config.md).

What docker puts into every container without being asked: its mounts, masked paths, capabilities,
devices and seccomp profile; github.com/moby/moby/blob/master/daemon/pkg/oci/defaults.go.
"""

import os
from collections.abc import Sequence
from typing import Any

from engine.runtime.seccomp_profile import default_profile

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SHM_BYTES = 64 << 20


def make_config(
    *,
    args: Sequence[str],
    env: Sequence[str] = (),
    cwd: str = "/",
    hostname: str = "",
    terminal: bool = False,
    size: tuple[int, int] = (0, 0),
    rootfs: str = "rootfs",
    mounts: Sequence[tuple[str, str, bool] | tuple[str, str, bool, tuple[str, ...]]] = (),
    etc_hosts: str = "",
    etc_hostname: str = "",
    etc_resolv_conf: str = "",
    netns: str | None = "",
    cgroup_path: str = "",
    memory_bytes: int = 0,
    nano_cpus: int = 0,
    pids: int = 0,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What docker would write for this request.

    `size` is rows and columns of the terminal. `mounts` are host path, path in the container,
    whether it is read-only, and words of mount(8) that come behind our own. The `etc_…` files of
    the host are bound over the image's. `netns` is the path of a network namespace, "" for a new
    and lonely one (network none), None for the host's. Limits of 0 are none. Users are names in
    the image: `make_plan` takes them.
    """
    namespaces = [{"type": each} for each in ("mount", "uts", "pid", "ipc", "cgroup")]
    if netns is not None:
        namespaces.append({"type": "network", **({"path": netns} if netns else {})})
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if memory_bytes:
        resources["memory"] = {"limit": memory_bytes, "swap": 2 * memory_bytes}
    if nano_cpus:
        resources["cpu"] = {"period": 100_000, "quota": nano_cpus // 10_000}
    if pids:
        resources["pids"] = {"limit": pids}
    process: dict[str, Any] = {
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": list(env),
        "cwd": cwd,
        "capabilities": {
            each: list(CAPABILITIES) for each in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": False,
        "oomScoreAdj": 0,
    }
    if terminal:
        process["terminal"] = True
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    uname = os.uname()
    own = {mount[1] for mount in mounts}  # what is asked for replaces docker's of that name
    given = [
        *_default_mounts(),
        *(
            bind(source, target, read_only=False)
            for source, target in (
                (etc_resolv_conf, "/etc/resolv.conf"),
                (etc_hostname, "/etc/hostname"),
                (etc_hosts, "/etc/hosts"),
            )
            if source
        ),
    ]
    return {
        "ociVersion": "1.0.2",  # nothing newer is in it, and older runtimes read it too
        "root": {"path": rootfs, "readonly": False},
        "hostname": hostname,
        "process": process,
        "mounts": [
            *(each for each in given if each["destination"] not in own),
            # A path comes after those above it, or they would cover it.
            *(bind(*each) for each in sorted(mounts, key=lambda each: each[1].count("/"))),
        ],
        "annotations": dict(labels or {}),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup_path,
            "resources": resources,
            "sysctl": _default_sysctls() if netns is not None else {},
            "maskedPaths": list(MASKED_PATHS) + _thermal_throttles(),
            "readonlyPaths": list(READONLY_PATHS),
            "seccomp": default_profile(CAPABILITIES, uname.machine, uname.release),
        },
    }


def _default_mounts() -> list[dict[str, Any]]:
    harmless = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", harmless),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", "sysfs", [*harmless, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", *harmless]),
        _mount("/dev/mqueue", "mqueue", "mqueue", harmless),
        _mount("/dev/shm", "tmpfs", "shm", [*harmless, "mode=1777", f"size={SHM_BYTES}"]),
    ]


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def bind(source: str, target: str, read_only: bool, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mount of a host's path."""
    # Of mounts below it too; of two words about one thing the last counts.
    options = ["rbind", "rro" if read_only else "rw", "rprivate", *words]
    return _mount(target, "bind", source, options)


def _default_sysctls() -> dict[str, str]:
    """Ping and ports below 1024 for every user of the container's own network (docker 20.10)."""
    wanted = {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    return {
        name: value
        for name, value in wanted.items()
        if os.path.exists("/proc/sys/" + name.replace(".", "/"))
    }


def _thermal_throttles() -> list[str]:
    """Counters of each CPU that tell containers about each other (moby, 2024)."""
    top = "/sys/devices/system/cpu"
    return [
        path
        for number in range(os.cpu_count() or 0)
        if os.path.exists(path := f"{top}/cpu{number}/thermal_throttle")
    ]
