"""The command line on a real Debian image, from a real registry to the last trace gone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.waiting import until

pytestmark = pytest.mark.root

Pydock = Callable[..., subprocess.CompletedProcess[str]]
BIN = Path(sys.executable).parent


@pytest.fixture
def pydock(roots: tuple[str, str]) -> Pydock:
    def run(*args: str, check: bool = True, **keywords: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / "pydock", *args],
            capture_output=True,
            text=True,
            timeout=120,
            **keywords,  # type: ignore[call-overload]
        )
        if check and done.returncode:
            raise AssertionError(f"pydock {' '.join(args)}: {done.returncode}\n{done.stderr}")
        return done  # type: ignore[no-any-return]

    return run


@pytest.fixture
def debian(debian_reference: str, pydock: Pydock) -> str:
    """The Debian image, pulled into this test's own store."""
    pydock("pull", debian_reference)
    return debian_reference


def test_pull_run_stats_exec_stop_rm(debian: str, pydock: Pydock) -> None:
    identity = pydock("run", "-d", "--name", "c1", debian, "sleep", "1000").stdout.strip()
    assert len(identity) == 64
    assert "c1" in pydock("ps").stdout
    row = json.loads(pydock("stats", "--no-stream", "--format", "json", "c1").stdout)
    assert row["Name"] == "c1"
    assert pydock("exec", "c1", "bash", "-c", "echo $((6 * 7))").stdout == "42\n"
    assert pydock("exec", "c1", "perl", "-e", "print 6 * 7").stdout == "42"
    assert pydock("exec", "c1", "apt-get", "--version").stdout.startswith("apt ")
    assert pydock("exec", "c1", "sh", "-c", "exit 3", check=False).returncode == 3
    pydock("stop", "-t", "1", "c1")
    assert "Exited (137)" in pydock("ps", "-a").stdout  # sleep as pid 1 ignores TERM
    pydock("rm", "c1")
    assert pydock("ps", "-aq").stdout == ""
    pydock("rmi", debian)
    assert pydock("images", "-q").stdout == ""


def test_the_exit_code_is_the_commands_own(debian: str, pydock: Pydock) -> None:
    assert pydock("run", "--rm", debian, "sh", "-c", "exit 7", check=False).returncode == 7
    missing = pydock("run", "--rm", debian, "no-such-program", check=False)
    assert missing.returncode == 127
    assert 'exec: "no-such-program": executable file not found in $PATH' in missing.stderr
    assert pydock("run", "--rm", debian, "/etc", check=False).returncode == 126
    killed = pydock("run", "--rm", debian, "sh", "-c", "sh -c 'kill -9 $$'; exit $?", check=False)
    assert killed.returncode == 137
    assert pydock("ps", "-aq").stdout == ""


def test_a_container_is_shut_in(debian: str, pydock: Pydock) -> None:
    script = """
        echo pid=$$
        grep -E 'CapEff|Seccomp:' /proc/self/status
        for kind in mnt pid uts ipc net cgroup; do echo ns_$kind=$(readlink /proc/self/ns/$kind); done
        echo limit=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null)
        echo kcore=$(head -c 1 /proc/kcore | wc -c)
        (echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo sys=read-only
        printf descriptors=; ls -m /proc/$$/fd
    """  # noqa: E501
    before = Path("/proc/self/mountinfo").read_text()
    out = pydock("run", "--rm", "--memory", "64m", debian, "sh", "-c", script).stdout
    assert Path("/proc/self/mountinfo").read_text() == before
    seen = dict(
        line.replace(":\t", "=", 1).split("=", 1)
        for line in out.splitlines()
        if "=" in line or ":\t" in line
    )
    assert seen["pid"] == "1"
    assert seen["CapEff"] == "00000000a80425fb"
    assert seen["Seccomp"] == "2"
    for kind in ("mnt", "pid", "uts", "ipc", "net", "cgroup"):
        assert seen[f"ns_{kind}"] != os.readlink(f"/proc/self/ns/{kind}")
    assert seen["limit"] == str(64 << 20)
    assert seen["kcore"] == "0"
    assert seen["sys"] == "read-only"
    assert seen["descriptors"] == "0, 1, 2"


def test_containers_outlive_their_starter(debian: str, pydock: Pydock) -> None:
    starter = subprocess.Popen(
        [BIN / "pydock", "run", "--name", "talker", debian, "sh", "-c",
         "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert starter.stdout
    assert starter.stdout.readline() == b"line 0\n"
    starter.kill()
    starter.wait()
    starter.stdout.close()
    first = len(pydock("logs", "talker").stdout.splitlines())
    until(lambda: len(pydock("logs", "talker").stdout.splitlines()) > first)
    lines = pydock("logs", "talker").stdout.splitlines()
    assert lines == [f"line {i}" for i in range(len(lines))]
    pydock("rm", "-f", "talker")


def test_a_removed_container_is_gone_though_nobody_waits(debian: str, pydock: Pydock) -> None:
    pydock("run", "-d", "--rm", debian, "true")
    until(lambda: not pydock("ps", "-aq").stdout)


def test_ten_runs_at_once(debian: str, pydock: Pydock) -> None:
    runs = [
        subprocess.Popen(
            [BIN / "pydock", "run", "--rm", debian, "sh", "-c", f"exit {i}"],
            stderr=subprocess.PIPE,
        )
        for i in range(10)
    ]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", i) for i in range(10)]
    assert pydock("ps", "-aq").stdout == ""
    assert pydock("system", "fsck").returncode == 0


def test_removal_races_leave_a_consistent_store(debian: str, pydock: Pydock) -> None:
    for _ in range(3):
        pydock("run", "-d", "--name", "race", debian, "sleep", "100")
        removals = [
            subprocess.Popen(
                [BIN / "pydock", "rm", "-f", "race"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        codes = sorted(removal.wait() for removal in removals)
        assert codes[0] == 0
        assert pydock("ps", "-aq").stdout == ""
    assert pydock("system", "fsck").returncode == 0


def test_volumes_keep_their_data(debian: str, pydock: Pydock, tmp_path: Path) -> None:
    pydock("run", "--rm", "-v", "data:/data", debian, "sh", "-c", "echo kept >/data/file")
    again = pydock("run", "--rm", "-v", "data:/data:ro", debian, "cat", "/data/file")
    assert again.stdout == "kept\n"
    refused = pydock(
        "run", "--rm", "-v", "data:/data:ro", debian, "touch", "/data/file", check=False
    )
    assert "Read-only file system" in refused.stderr
    (tmp_path / "from-host").write_text("hello\n")
    bound = pydock("run", "--rm", "-v", f"{tmp_path}:/mnt", debian, "cat", "/mnt/from-host")
    assert bound.stdout == "hello\n"
    assert "data" in pydock("volume", "ls").stdout
    pydock("volume", "rm", "data")
    assert pydock("volume", "ls", "-q").stdout == ""


def test_a_new_volume_begins_as_the_image_has_it(debian: str, pydock: Pydock) -> None:
    script = "cat /etc/debian_version && stat -c %a:%U /etc/shadow && echo mine >/etc/hostname.new"
    first = pydock("run", "--rm", "-v", "conf:/etc", debian, "sh", "-c", script).stdout
    assert first.splitlines()[1] == "640:root"
    again = pydock("run", "--rm", "-v", "conf:/x", debian, "cat", "/x/hostname.new")
    assert again.stdout == "mine\n"
    empty = pydock("run", "--rm", "-v", "none:/var/log:nocopy", debian, "ls", "-A", "/var/log")
    assert empty.stdout == ""
    refused = pydock("run", "--rm", "-v", "new:/etc/passwd", debian, "true", check=False)
    assert refused.returncode == 125
    assert "cannot mount volume over existing file" in refused.stderr
    assert pydock("volume", "ls", "-q").stdout == "conf\nnone\n"
    assert pydock("system", "fsck").returncode == 0


def test_pause_kill_rename_and_wait(debian: str, pydock: Pydock) -> None:
    pydock("run", "-d", "--name", "one", debian, "sleep", "1000")
    pydock("pause", "one")
    assert "(Paused)" in pydock("ps").stdout
    refused = pydock("exec", "one", "true", check=False)
    assert refused.returncode == 1
    assert "paused" in refused.stderr
    pydock("unpause", "one")
    pydock("rename", "one", "two")
    waiter = subprocess.Popen([BIN / "pydock", "wait", "two"], stdout=subprocess.PIPE)
    pydock("kill", "-s", "KILL", "two")
    assert waiter.communicate()[0] == b"137\n"
    pydock("start", "two")
    pydock("restart", "-t", "0", "two")
    assert "Up" in pydock("ps").stdout
    pydock("rm", "-f", "two")


def test_flags_that_are_not_built_are_refused(debian: str, pydock: Pydock) -> None:
    for flag in ("--link=db", "--health-cmd=true"):
        refused = pydock("run", flag, debian, "true", check=False)
        assert refused.returncode == 125
        assert flag.partition("=")[0] in refused.stderr
    assert pydock("ps", "-aq").stdout == ""
