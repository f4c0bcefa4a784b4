"""What a process in a container finds; each test runs one."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.kernel import process
from engine.kernel.namespaces import inside, netns_create, netns_remove
from engine.runtime.create import create, start
from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup
from tests.support import box
from tests.support.child import in_child

pytestmark = pytest.mark.root


def status_of(output: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)


def test_program_is_pid_1_in_six_namespaces_of_its_own(root: Path) -> None:
    names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    script = f"echo $$; for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done"
    first, *links = box.run(root, "sh", "-c", script).output.split()
    assert first == "1"
    assert len(links) == len(names)
    for name, link in zip(names, links, strict=True):
        assert link != os.readlink(f"/proc/self/ns/{name}")


def test_capabilities_and_filter_are_dockers(root: Path) -> None:
    status = status_of(box.run(root, "cat", "/proc/self/status").output)
    for key in ("CapEff", "CapPrm", "CapBnd"):
        assert status[key] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "0")


def test_other_users_have_no_capabilities(root: Path) -> None:
    status = status_of(box.run(root, "cat", "/proc/self/status", user="bob").output)
    assert status["CapEff"] == status["CapPrm"] == "0" * 16
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1001"] * 4
    assert status["Groups"].split() == ["10", "100", "1001"]


def test_signals_are_as_for_a_fresh_program(root: Path) -> None:
    def ignoring() -> str:
        process.ignore_signals(signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        return box.run(root, "cat", "/proc/self/status").output

    status = status_of(in_child(ignoring))
    assert status["SigIgn"] == status["SigBlk"] == "0" * 16


def test_descriptors_0_to_2_are_all(root: Path) -> None:
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    output = box.run(root, "sh", "-c", "ls /proc/1/fd; exit 0").output
    os.close(leak)
    assert output.split() == ["0", "1", "2"]


def test_exit_code_is_the_programs_own(root: Path) -> None:
    assert box.run(root, "sh", "-c", "exit 7").code == 7
    assert box.run(root, "sh", "-c", "kill -9 $$; exit 5").code == 5  # pid 1 is immune


def test_environment_is_what_was_given_and_home(root: Path) -> None:
    result = box.run(root, "env", env=["PATH=/bin", "A=1", "A=2", "B=x=y"], user="bob")
    assert sorted(result.output.split()) == ["A=2", "B=x=y", "HOME=/home/bob", "PATH=/bin"]
    assert "HOME=/mine" in box.run(root, "env", env=["PATH=/bin", "HOME=/mine"]).output
    assert "HOME=/root" in box.run(root, "env", env=["PATH=/bin", "HOME="]).output


def test_missing_working_directory_is_made(root: Path) -> None:
    assert box.run(root, "pwd", cwd="/srv/new/deep").output == "/srv/new/deep\n"
    assert (root / "srv/new/deep").is_dir()


@pytest.mark.parametrize("through_link", [False, True])
def test_working_directory_cannot_be_the_hosts(root: Path, through_link: bool) -> None:
    """The same attack with a descriptor that is the container's by right: its stdin."""
    (root / "link").symlink_to("/proc/self/fd/0")
    plan = box.plan_of(root, "ls", cwd="/link" if through_link else "/proc/self/fd/0")
    outside = os.open("/", os.O_RDONLY)
    cgroup = create_cgroup(plan)
    assert cgroup
    with pytest.raises(StepError) as caught:
        create(plan, (outside, 1, 2), console=False)
    assert caught.value.step == "working directory"
    os.close(outside)
    cgroup.remove()


@pytest.mark.parametrize("number", range(12))
def test_working_directory_cannot_be_a_leaked_descriptor(root: Path, number: int) -> None:
    """CVE-2024-21626"""
    outside = os.open("/", os.O_RDONLY)
    step, output = "", ""
    try:
        output = box.run(root, "sh", "-c", "ls -a . ..", cwd=f"/proc/self/fd/{number}").output
    except StepError as error:
        step = error.step
    os.close(outside)
    assert step in ("", "working directory")
    assert "usr" not in output.split()  # the host has it, this image has not


def test_hostname_and_umask(root: Path) -> None:
    output = box.run(root, "sh", "-c", "hostname; umask", hostname="web-1").output
    assert output.split() == ["web-1", "0022"]
    assert os.uname().nodename != "web-1"


def test_lonely_network_has_a_loopback_that_is_up(root: Path) -> None:
    output = box.run(root, "sh", "-c", "ifconfig; cat /proc/net/dev").output
    assert "127.0.0.1" in output
    assert "UP LOOPBACK" in output
    assert "eth0" not in output


def test_network_parameters_are_the_containers_own(root: Path) -> None:
    name = "net/ipv4/ip_unprivileged_port_start"
    before = Path("/proc/sys", name).read_text()
    script = f"cat /proc/sys/{name} /proc/sys/net/ipv4/ping_group_range"
    assert box.run(root, "sh", "-c", script).output.split() == ["0", "0", "2147483647"]
    assert Path("/proc/sys", name).read_text() == before


def test_network_namespace_of_a_path_is_joined(root: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "netns")
    netns_create(path)
    with inside(path):
        wanted = os.readlink("/proc/thread-self/ns/net")
    output = box.run(root, "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net", netns=path)
    netns_remove(path)
    assert output.output.split() == [wanted, "lo"]


def test_hosts_network_is_shared_when_asked(root: Path) -> None:
    output = box.run(root, "readlink", "/proc/self/ns/net", netns=None).output
    assert output.strip() == os.readlink("/proc/self/ns/net")


def test_memory_limit_reads_back_inside(root: Path) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
    output = box.run(root, "sh", "-c", script, memory_bytes=64 << 20).output
    assert output.strip() == str(64 << 20)


def test_cgroup_files_cannot_be_written(root: Path) -> None:
    script = "find=$(ls -d /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null); "
    script += "for f in $find; do echo 1 > $f; done; mkdir /sys/fs/cgroup/x"
    result = box.run(root, "sh", "-c", script)
    assert result.errors.count("Read-only file system") == len(result.errors.splitlines()) > 1


def change_process(**values: Any) -> Any:
    return lambda config: config["process"].update(values)


def test_limits_of_the_process_are_set(root: Path) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    script = "ulimit -n; ulimit -Hn"
    output = box.run(root, "sh", "-c", script, change=change_process(rlimits=limits)).output
    assert output.split() == ["77", "99"]


def test_filter_and_no_new_privs_go_together(root: Path) -> None:
    change = change_process(noNewPrivileges=True)
    status = status_of(box.run(root, "cat", "/proc/self/status", change=change).output)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


def test_ambient_capabilities_survive_the_change_of_user(root: Path) -> None:
    names = ["CAP_NET_BIND_SERVICE"]
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    change = change_process(capabilities=dict.fromkeys(sets, names))
    status = status_of(box.run(root, "cat", "/proc/self/status", user="bob", change=change).output)
    assert status["CapEff"] == status["CapAmb"] == f"{1 << 10:016x}"


def test_numeric_user_of_the_config_is_taken_as_it_is(root: Path) -> None:
    user = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o77}
    change = change_process(user=user)
    output = box.run(root, "sh", "-c", "id; umask", user=None, change=change).output
    assert output.splitlines() == ["uid=5 gid=6 groups=7,8", "0077"]


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs x /tmp",
        "unshare -n true",
        "umount /dev/shm",
        "hostname other",
        "mknod /tmp/mem c 1 1 && cat /tmp/mem",
    ],
)
def test_what_docker_forbids_is_refused(root: Path, script: str) -> None:
    result = box.run(root, "sh", "-c", script)
    assert result.code != 0
    assert "not permitted" in result.errors or "denied" in result.errors


@pytest.mark.parametrize(
    ("argument", "code", "message"),
    [
        ("foo", 127, 'exec: "foo": executable file not found in $PATH'),
        ("/foo", 127, 'exec: "/foo": stat /foo: no such file or directory'),
        ("/etc", 126, 'exec: "/etc": is a directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/bad", 126, "exec /bad: exec format error"),
        ("/script", 127, "exec /script: no such file or directory"),
        ("passwd", 127, 'exec: "passwd": executable file not found in $PATH'),
    ],
)
def test_program_that_cannot_run_is_told_in_dockers_words(
    root: Path, argument: str, code: int, message: str
) -> None:
    (root / "bad").write_bytes(b"\x00\x01garbage")
    (root / "script").write_text("#!/no/such/interpreter\n")
    for name in ("bad", "script"):
        (root / name).chmod(0o755)
    (root / "bin/passwd").write_text("not executable")
    with pytest.raises(StepError) as caught:
        box.run(root, argument)
    error = explain(*caught.value.fields)
    assert (error.exit_code, error.message) == (code, message)


def test_program_that_only_root_may_run_is_refused_to_others(root: Path) -> None:
    (root / "secret").mkdir(mode=0o700)
    (root / "secret/true").symlink_to("/bin/busybox")
    with pytest.raises(StepError) as caught:
        box.run(root, "/secret/true", user="bob")
    assert explain(*caught.value.fields).exit_code == 126


def test_stdio_pipes_belong_to_the_user_who_can_open_them_again(root: Path) -> None:
    plan = box.plan_of(root, "sh", "-c", "echo hello > /dev/stdout", user="bob")
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    cgroup = create_cgroup(plan)
    assert cgroup
    created = create(plan, (null, writer, null), console=False)
    start(created)
    os.close(writer)
    os.close(null)
    assert os.read(reader, 100) == b"hello\n"
    os.close(reader)
    assert box.finish(created) == 0
    cgroup.remove()


def test_terminal_is_the_containers_own_console(root: Path) -> None:
    script = "tty; stty size; test -c /dev/console && echo console > /dev/console; ps -o tty,comm"
    plan = box.plan_of(root, "sh", "-c", script, terminal=True, size=(33, 101), user="bob")
    null = os.open("/dev/null", os.O_RDWR)
    cgroup = create_cgroup(plan)
    assert cgroup
    created = create(plan, (null, null, null), console=True)
    os.close(null)
    start(created)
    output = b""
    while True:
        try:
            output += os.read(created.console_fd, 4096)
        except OSError:  # EIO: the last one has closed it
            break
    assert box.finish(created) == 0
    cgroup.remove()
    lines = output.decode().splitlines()
    assert lines[:3] == ["/dev/pts/0", "33 101", "console"]
    assert "136,0" in output.decode()  # it controls the session


def test_nothing_is_loaded_from_the_image_after_pivot_root(root: Path, tmp_path: Path) -> None:
    """An import, a codec or a locale that is looked up there would be the image's own code."""
    from tests.support.trace import traced_calls

    calls = traced_calls(root, tmp_path)
    start_at = next(i for i, line in enumerate(calls) if "pivot_root" in line)
    for line in calls[start_at:]:
        assert ".py" not in line, line
        assert "locale" not in line, line
        assert "nsswitch" not in line, line


def test_half_made_process_cannot_be_looked_into(root: Path, tmp_path: Path) -> None:
    """CVE-2016-9962: its descriptors and its memory are the host's until execve."""
    from tests.support.trace import traced_calls

    calls = traced_calls(root, tmp_path)
    first = next(line for line in calls if "prctl" in line or "move_mount" in line)
    assert "PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in first
