"""`run`'s options about what a container may do: docker's words, right and wrong."""

import json
from pathlib import Path

import pytest

from engine.model.confinement import Confinement, Device, Ulimit
from engine.model.resources import Resources
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

IMAGE = "debian:bookworm"


@pytest.fixture(autouse=True)
def image(double: Double) -> None:
    double.add_image(IMAGE)


def confinement(pydock: Pydock, double: Double, *words: str) -> Confinement:
    said = pydock("create", *words, IMAGE)
    assert (said.code, said.err) == (0, "")
    found = double.containers.inspect(said.out.strip()).confinement
    assert found is not None
    return found


def resources(pydock: Pydock, double: Double, *words: str) -> Resources:
    said = pydock("create", *words, IMAGE)
    assert (said.code, said.err) == (0, "")
    found = double.containers.inspect(said.out.strip()).resources
    assert found is not None
    return found


def test_every_option_becomes_a_part_of_the_request(pydock: Pydock, double: Double) -> None:
    assert confinement(
        pydock, double, "--cap-add", "net_admin", "--cap-add=CAP_KILL", "--cap-drop", "all",
        "--privileged", "--security-opt", "no-new-privileges", "--security-opt", "label:disable",
        "--security-opt", "systempaths=unconfined", "--security-opt", "seccomp=unconfined",
        "--read-only", "--tmpfs", "/run", "--tmpfs", "/x:size=1m,exec", "--shm-size", "1m",
        "--ulimit", "nofile=1:2", "--ulimit", "core=-1", "--sysctl", "net.ipv4.ip_forward=1",
        "--init", "--device", "/dev/fuse", "--device", "/dev/a:/dev/b:r", "--device", "/dev/c:rw",
        "--device-cgroup-rule", "c 1:* rwm", "--group-add", "audio", "--oom-score-adj", "-5",
        "--pid", "container:x", "--ipc", "shareable", "--uts", "host", "--cgroupns", "private",
        "--userns=host",
    ) == Confinement(
        cap_add=("CAP_KILL", "CAP_NET_ADMIN"),
        cap_drop=("ALL",),
        privileged=True,
        security=("no-new-privileges", "label=disable", "seccomp=unconfined"),
        unmasked=True,
        read_only=True,
        tmpfs=(("/run", ""), ("/x", "size=1m,exec")),
        shm_bytes=1 << 20,
        ulimits=(Ulimit("nofile", 1, 2), Ulimit("core", -1, -1)),
        sysctls=(("net.ipv4.ip_forward", "1"),),
        init=True,
        devices=(
            Device("/dev/fuse", "/dev/fuse"),
            Device("/dev/a", "/dev/b", "r"),
            Device("/dev/c", "/dev/c", "rw"),
        ),
        device_rules=("c 1:* rwm",),
        groups=("audio",),
        oom_score_adj=-5,
        pid="container:x",
        ipc="shareable",
        uts="host",
        cgroupns="private",
        userns="host",
    )  # fmt: skip


def test_every_limit_becomes_a_part_of_the_request(pydock: Pydock, double: Double) -> None:
    assert resources(
        pydock, double, "-c", "5", "--cpu-period", "1000", "--cpu-quota", "2000", "--cpuset-cpus",
        "0,1", "--cpuset-mems", "0", "--memory-swap", "-1", "--memory-reservation", "8m",
        "--oom-kill-disable", "--blkio-weight", "20", "--device-read-bps", "/dev/a:1mb",
        "--device-write-bps", "/dev/a:2", "--device-read-iops", "/dev/a:3", "--device-write-iops",
        "/dev/b:4",
    ) == Resources(
        memory_swap_bytes=-1,
        memory_reservation_bytes=8 << 20,
        oom_kill_disable=True,
        cpu_shares=5,
        cpu_period_us=1000,
        cpu_quota_us=2000,
        cpuset_cpus="0,1",
        cpuset_mems="0",
        blkio_weight=20,
        read_bps=(("/dev/a", 1 << 20),),
        write_bps=(("/dev/a", 2),),
        read_iops=(("/dev/a", 3),),
        write_iops=(("/dev/b", 4),),
    )  # fmt: skip


def test_without_them_there_is_nothing_to_ask_for(pydock: Pydock, double: Double) -> None:
    said = pydock("create", "--privileged=false", "--oom-score-adj", "0", IMAGE)
    found = double.containers.inspect(said.out.strip())
    assert (found.confinement, found.resources) == (None, None)


def test_what_is_added_is_not_dropped(pydock: Pydock, double: Double) -> None:
    found = confinement(pydock, double, "--cap-add", "ALL", "--cap-add", "KILL", "--cap-drop=kill")
    assert (found.cap_add, found.cap_drop) == (("ALL",), ("CAP_KILL",))
    found = confinement(pydock, double, "--cap-add=chown", "--cap-drop=chown", "--cap-drop=kill")
    assert (found.cap_add, found.cap_drop) == (("CAP_CHOWN",), ("CAP_KILL",))


def test_a_profile_is_read_from_its_file(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text('{\n  "defaultAction": "SCMP_ACT_ALLOW"\n}\n')
    found = confinement(pydock, double, "--security-opt", f"seccomp={path}")
    assert found.security == ('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',)
    path.write_text("{")
    said = pydock("create", "--security-opt", f"seccomp={path}", IMAGE)
    assert f"compacting json for seccomp profile ({path}) failed" in said.err
    path.write_bytes(b"\xff")
    said = pydock("create", "--security-opt", f"seccomp={path}", IMAGE)
    assert f"opening seccomp profile ({path}) failed: open {path}: not utf-8" in said.err


def test_inspect_has_dockers_names(pydock: Pydock) -> None:
    pydock("create", "--name", "box", "--cap-add", "SYS_TIME", "-m", "64m", "-c", "7", IMAGE)
    (document,) = json.loads(pydock("inspect", "box").out)
    config = document["HostConfig"]
    assert config["CapAdd"] == ["CAP_SYS_TIME"]
    assert (config["Privileged"], config["CpuShares"]) == (False, 7)
    assert config["MemorySwap"] == 128 << 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--security-opt", "foo"], 'Invalid --security-opt: "foo"'),
        (["--security-opt", "seccomp="], 'Invalid --security-opt: "seccomp="'),
        (["--security-opt", "systempaths=all"], 'invalid --security-opt 2: "systempaths=all"'),
        (["--security-opt", "seccomp=/none"], "opening seccomp profile (/none) failed: open /none"),
        (["--ulimit", "nofile"], 'for "--ulimit" flag: invalid ulimit argument: nofile'),
        (["--ulimit", "foo=1"], "invalid ulimit type: foo"),
        (["--ulimit", "nofile=1:2:3"], "too many limit value arguments - 1:2:3"),
        (["--ulimit", "nofile=a"], 'strconv.ParseInt: parsing "a": invalid syntax'),
        (["--ulimit", "nofile=3:2"], "less than or equal to hard limit: 3 > 2"),
        (["--ulimit", "nofile=-1:2"], "soft: -1 (unlimited), hard: 2"),
        (["--ulimit", "nofile=-7"], "invalid ulimit argument: nofile=-7"),
        (["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
        (["--sysctl", "net.ipv4.ip_forward"], "sysctl 'net.ipv4.ip_forward' is not allowed"),
        (["--device", "fuse"], 'for "--device" flag: fuse is not an absolute path'),
        (["--device", "/dev/a:/b:q"], "bad mode specified: q"),
        (["--device", "/dev/a:b:r:w"], "bad format for path: /dev/a:b:r:w"),
        (["--device-cgroup-rule", "x 1:2 r"], "invalid device cgroup format 'x 1:2 r'"),
        (["--device-cgroup-rule", "c 1 r"], "invalid device cgroup format 'c 1 r'"),
        (["--pid", "container:"], "--pid: invalid PID mode"),
        (["--uts", "container:x"], "--uts: invalid UTS mode"),
        (["--userns", "private"], "--userns: invalid USER mode"),
        (["--cgroupns", "x"], "--cgroupns: invalid CGROUP mode"),
        (["--shm-size", "big"], "invalid size: 'big'"),
        (["--oom-score-adj", "low"], 'strconv.ParseInt: parsing "low": invalid syntax'),
        (["--memory-swap", "-2"], "invalid size: '-2'"),
        (["--blkio-weight", "-1"], 'strconv.ParseUint: parsing "-1": invalid syntax'),
        (["--blkio-weight", "70000"], "value out of range"),
        (["--device-read-bps", "/dev/a"], "bad format: /dev/a"),
        (["--device-read-bps", "/srv:1"], "bad format for device path: /srv:1"),
        (["--device-write-bps", "/dev/a:fast"], "invalid rate for device: /dev/a:fast. The"),
        (["--device-read-iops", "/dev/a:1k"], "<device-path>:<number>. Number must be"),
        (["--cpu-shares", "x"], 'for "-c, --cpu-shares" flag: strconv.ParseInt'),
    ],
)
def test_mistakes_are_told_in_dockers_words(
    pydock: Pydock, double: Double, words: list[str], said: str
) -> None:
    result = pydock("run", *words, IMAGE)
    assert (result.code, result.out) == (125, "")
    assert said in result.err.splitlines()[0]
    assert result.err.count("\n") == 2
    assert double.containers.list(all=True) == []
