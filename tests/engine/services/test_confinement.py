"""What a container may do, told by the kernel from inside it."""

import json
import os
import stat
from typing import Any

import pytest

from engine.docker_json import container as docker_json
from engine.errors import EngineError, InvalidInput, NotFound, Unsupported
from engine.kernel import capabilities
from engine.local import LocalEngine
from engine.model.confinement import Confinement, Device, Ulimit
from engine.model.container import CreateOptions, MountRequest
from engine.runtime.bundle import CAPABILITIES
from tests.support.attached import Said, run
from tests.support.waiting import until

pytestmark = pytest.mark.root

KNOWN = capabilities.NAMES[: capabilities.last_capability() + 1]


def confined(engine: LocalEngine, image: str, script: str, /, **options: Any) -> Said:
    """What `sh -c script` said in a container that is confined so."""
    rest = {name: options.pop(name) for name in ("user", "network", "mounts") if name in options}
    return run(engine, image, "sh", "-c", script, confinement=Confinement(**options), **rest)


def bounding(engine: LocalEngine, image: str, **options: Any) -> set[str]:
    text = confined(engine, image, "busybox grep CapBnd /proc/self/status", **options).text
    mask = int(text.split()[1], 16)
    return {name for bit, name in enumerate(capabilities.NAMES) if mask >> bit & 1}


@pytest.fixture
def node() -> str:
    """A device of this host that anybody with the right to may open, and no container has."""
    for path in ("/dev/loop-control", "/dev/fuse", "/dev/hpet"):
        if os.path.exists(path):
            return path
    pytest.skip("this host has none of the devices that the test knows")


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (("CAP_NET_ADMIN",), ("CAP_CHOWN",), {*CAPABILITIES, "CAP_NET_ADMIN"} - {"CAP_CHOWN"}),
        ((), ("ALL",), set()),
        (("CAP_KILL",), ("ALL",), {"CAP_KILL"}),
        (("ALL",), ("CAP_SYS_ADMIN",), {*KNOWN} - {"CAP_SYS_ADMIN"}),
    ],
)
def test_capabilities_are_added_and_dropped(
    engine: LocalEngine, image: str, add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]
) -> None:
    ours = {name for bit, name in enumerate(KNOWN) if _bounding_of_ours() >> bit & 1}
    assert bounding(engine, image, cap_add=add, cap_drop=drop) == expected & ours


def _bounding_of_ours() -> int:
    with open("/proc/self/status") as file:
        (line,) = [each for each in file if each.startswith("CapBnd")]
    return int(line.split()[1], 16)


def test_a_dropped_capability_is_missed_and_an_added_one_works(
    engine: LocalEngine, image: str
) -> None:
    assert confined(engine, image, "busybox chown 5 /file").code == 0
    refused = confined(engine, image, "busybox chown 5 /file", cap_drop=("CAP_CHOWN",))
    assert refused.code == 1
    assert "Operation not permitted" in refused.text
    mount = "busybox mount -t tmpfs x /tmp && echo mounted"
    assert confined(engine, image, mount).code != 0
    assert confined(engine, image, mount, cap_add=("CAP_SYS_ADMIN",)).text == "mounted\n"


def test_the_filter_opens_with_the_capabilities_that_docker_opens_it_for(
    engine: LocalEngine, image: str
) -> None:
    unshare = "busybox unshare -n true"
    assert confined(engine, image, unshare).code == 1
    assert confined(engine, image, unshare, cap_add=("CAP_SYS_ADMIN",)).code == 0
    assert confined(engine, image, unshare, security=("seccomp=unconfined",)).code == 1


def test_a_privileged_container_has_everything(engine: LocalEngine, image: str, node: str) -> None:
    said = confined(
        engine,
        image,
        "busybox mount -t tmpfs x /tmp && busybox grep Seccomp: /proc/self/status "
        f"&& exec 3< {node} && busybox mount",
        privileged=True,
    )
    assert said.code == 0
    assert said.text.startswith("Seccomp:\t0\n")
    (sys,) = [line for line in said.text.splitlines() if " on /sys type sysfs" in line]
    assert "(rw," in sys
    assert "on /proc/kcore" not in said.text
    assert bounding(engine, image, privileged=True) == {
        name for bit, name in enumerate(KNOWN) if _bounding_of_ours() >> bit & 1
    }


def test_no_new_privileges_and_no_filter(engine: LocalEngine, image: str) -> None:
    show = "busybox grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    assert confined(engine, image, show).text == "NoNewPrivs:\t0\nSeccomp:\t2\n"
    both = ("no-new-privileges", "seccomp=unconfined")
    assert confined(engine, image, show, security=both).text == "NoNewPrivs:\t1\nSeccomp:\t0\n"
    off = ("no-new-privileges=true", "no-new-privileges=false")
    assert confined(engine, image, show, security=off).text.startswith("NoNewPrivs:\t0")


def test_a_profile_of_ones_own_filters(engine: LocalEngine, image: str) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {
                "names": ["chmod", "fchmodat"],
                "action": "SCMP_ACT_ERRNO",
                "includes": {"caps": ["CAP_SYS_ADMIN"]},
            },
        ],
    }
    text = "seccomp=" + json.dumps(profile)
    said = confined(engine, image, "busybox mkdir /x; busybox chmod 600 /file", security=(text,))
    assert said == (0, "mkdir: can't create directory '/x': No space left on device\n")
    admin = {"cap_add": ("CAP_SYS_ADMIN",), "security": (text,)}
    assert (
        "chmod: /file: Operation not permitted"
        in confined(engine, image, "busybox chmod 600 /file", **admin).text
    )


def test_masked_paths_are_open_when_asked_for(engine: LocalEngine, image: str) -> None:
    show = "busybox mount | busybox grep -c -E ' on /proc/(sys|irq|timer_list) '"
    assert confined(engine, image, show).text == "3\n"
    assert confined(engine, image, show, unmasked=True).text == "0\n"


def test_a_read_only_root_has_writable_mounts(engine: LocalEngine, image: str) -> None:
    said = confined(
        engine,
        image,
        "touch /x; touch /data/x && touch /run/x && touch /dev/shm/x && echo rest",
        read_only=True,
        tmpfs=(("/run", ""),),
        mounts=(MountRequest("volume", "", "/data"),),
    )
    assert said == (0, "touch: /x: Read-only file system\nrest\n")


def test_a_tmpfs_has_dockers_defaults_and_the_given_options(
    engine: LocalEngine, image: str
) -> None:
    said = confined(
        engine,
        image,
        "busybox grep -E ' /(run|scratch/deep|scratch) ' /proc/mounts; ls /scratch",
        tmpfs=(("/scratch", "size=1m,mode=1770,exec"), ("/run", "")),
        mounts=(MountRequest("volume", "", "/scratch/deep"),),
    )
    lines = {line.split()[1]: line.split() for line in said.text.splitlines() if " " in line}
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(lines["/run"][3].split(","))
    options = set(lines["/scratch"][3].split(","))
    assert {"size=1024k", "mode=1770", "nosuid", "nodev"} <= options
    assert "noexec" not in options
    assert said.text.endswith("deep\n")


def test_shared_memory_has_the_size_asked_for(engine: LocalEngine, image: str) -> None:
    show = "busybox df -k /dev/shm | busybox tail -n 1"
    assert confined(engine, image, show).text.split()[1] == "65536"
    assert confined(engine, image, show, shm_bytes=1 << 20).text.split()[1] == "1024"


def test_limits_of_a_process_are_set(engine: LocalEngine, image: str) -> None:
    limits = (Ulimit("nofile", 64, 128), Ulimit("core", 0, 0), Ulimit("locks", 7, 9))
    said = confined(engine, image, "busybox cat /proc/self/limits", ulimits=limits)
    rows = {line[:26].strip(): line[26:].split()[:2] for line in said.text.splitlines()}
    assert rows["Max open files"] == ["64", "128"]
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max file locks"] == ["7", "9"]


def test_a_limit_above_ours_is_told(engine: LocalEngine, image: str) -> None:
    with open("/proc/self/status") as file:
        text = file.read()
    if int(text.partition("CapEff:")[2].split()[0], 16) >> 24 & 1:
        pytest.skip("CAP_SYS_RESOURCE may set any limit")
    with pytest.raises(EngineError, match="rlimit") as failure:
        confined(engine, image, "true", ulimits=(Ulimit("nofile", -1, -1),))
    assert failure.value.exit_code == 125


def test_kernel_parameters_are_the_containers_own(engine: LocalEngine, image: str) -> None:
    sysctls = (("net.ipv4.ip_forward", "0"), ("kernel.msgmax", "4242"))
    said = confined(
        engine,
        image,
        "busybox cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        sysctls=sysctls,
    )
    assert said.text == "0\n4242\n"
    with open("/proc/sys/kernel/msgmax") as file:
        assert file.read() != "4242\n"


def test_an_init_buries_and_hands_signals_on(engine: LocalEngine, image: str) -> None:
    script = (
        "trap 'echo caught; exit 9' USR1; "
        "(sh -c 'sleep 0.01 & exec true'); busybox test $$ != 1 && echo ready; "
        "while :; do sleep 0.02; done"
    )
    ref = engine.containers.create(
        CreateOptions(
            image, command=("sh", "-c", script), network="none", confinement=Confinement(init=True)
        )
    )
    engine.containers.start(ref)

    def log() -> list[bytes]:
        return [line.text for line in engine.containers.logs(ref)]

    until(lambda: log() == [b"ready"])
    pid = engine.containers.inspect(ref).summary.pid

    def zombies() -> list[str]:
        states = []
        for row in engine.containers.top(ref):
            with open(f"/proc/{row.pid}/stat") as file:
                states.append(file.read().rpartition(")")[2].split()[0])
        return [each for each in states if each == "Z"]

    until(lambda: not zombies())
    os.kill(pid, 10)  # USR1, to the init
    assert engine.containers.wait(ref) == 9
    assert log() == [b"ready", b"caught"]


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", 143), ("true", 0)])
def test_an_init_ends_as_its_program_does(
    engine: LocalEngine, image: str, script: str, code: int
) -> None:
    assert confined(engine, image, script, init=True).code == code


def test_what_an_init_cannot_execute_is_told(engine: LocalEngine, image: str) -> None:
    with pytest.raises(NotFound, match='"/nothing": stat /nothing: no such file') as failure:
        run(engine, image, "/nothing", confinement=Confinement(init=True))
    assert failure.value.exit_code == 127
    with pytest.raises(InvalidInput, match="exec format error") as failed:
        run(
            engine, image, "/data/bad", confinement=Confinement(init=True),
            mounts=(MountRequest("bind", _bad_program(), "/data/bad"),),
        )  # fmt: skip
    assert failed.value.exit_code == 126


def _bad_program() -> str:
    path = "/run/bad"
    with open(path, "w") as file:
        file.write("\x7fELF but not")
    os.chmod(path, 0o755)
    return path


def test_devices_are_given_with_their_accesses(engine: LocalEngine, image: str, node: str) -> None:
    number = os.stat(node).st_rdev
    given = (Device(node, "/dev/deep/here", "r"),)
    show = "busybox stat -c '%t %T' /dev/deep/here; exec 3< /dev/deep/here && echo opened"
    said = confined(engine, image, show, devices=given)
    assert said.text == f"{os.major(number):x} {os.minor(number):x}\nopened\n"
    refused = confined(engine, image, "exec 3> /dev/deep/here", devices=given)
    assert refused.code != 0
    assert "Operation not permitted" in refused.text


def test_a_directory_of_devices_is_given_whole(engine: LocalEngine, image: str, node: str) -> None:
    os.makedirs("/run/nodes/below")
    os.mknod("/run/nodes/below/node", 0o600 | stat.S_IFCHR, os.stat(node).st_rdev)
    show = "exec 3<> /dev/all/below/node && echo opened"
    assert confined(engine, image, show, devices=(Device("/run/nodes", "/dev/all"),)).code == 0


def test_a_rule_opens_a_device_that_is_made_inside(
    engine: LocalEngine, image: str, node: str
) -> None:
    number = os.stat(node).st_rdev
    major, minor = os.major(number), os.minor(number)
    make = f"busybox mknod /tmp/node c {major} {minor} && exec 3< /tmp/node"
    assert "Operation not permitted" in confined(engine, image, make).text
    for rule in (f"c {major}:{minor} r", f"c {major}:* rwm", "a *:* rwm"):
        assert confined(engine, image, make, device_rules=(rule,)).code == 0


def test_groups_are_added_by_number_and_name(engine: LocalEngine, image: str) -> None:
    assert confined(engine, image, "id -G", groups=("77", "5000")).text == "0 77 5000\n"
    ref = engine.containers.create(
        CreateOptions(
            image, command=("sleep", "1000"), network="none",
            confinement=Confinement(groups=("77",)),
        )
    )  # fmt: skip
    engine.containers.start(ref)
    session = engine.containers.exec(ref, ["id", "-G"])
    assert session.read()[1] == b"0 77\n"
    session.close()
    with pytest.raises(InvalidInput, match="unable to find group nobodys: no matching entries"):
        confined(engine, image, "true", groups=("nobodys",))


def test_the_oom_score_is_adjusted(engine: LocalEngine, image: str) -> None:
    said = confined(engine, image, "busybox cat /proc/self/oom_score_adj", oom_score_adj=500)
    assert said.text == "500\n"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"cap_add": ("CAP_FLY",)}, InvalidInput, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
        ({"cap_drop": ("CAP_X",)}, InvalidInput, 'invalid CapDrop: unknown capability: "CAP_X"'),
        ({"security": ("foo=bar",)}, InvalidInput, 'invalid --security-opt 2: "foo=bar"'),
        ({"security": ("no-new-privileges=maybe",)}, InvalidInput, "invalid --security-opt 2"),
        ({"security": ("seccomp={",)}, InvalidInput, "decoding seccomp profile failed"),
        ({"security": ("seccomp=[]",)}, InvalidInput, "expected an object, found list"),
        ({"security": ('seccomp={"defaultAction":"x"}',)}, InvalidInput, "unknown action"),
        (
            {"security": ('seccomp={"architectures":["a"],"archMap":[{}]}',)},
            InvalidInput,
            "use either 'architectures' or 'archMap'",
        ),
        (
            {"security": ('seccomp={"syscalls":[{"name":"a","names":["b"]}]}',)},
            InvalidInput,
            "use either 'name' or 'names'",
        ),
        (
            {"security": ('seccomp={"syscalls":[{"includes":{"minKernel":"x"}}]}',)},
            InvalidInput,
            "invalid kernel version",
        ),
        ({"security": ("apparmor=mine",)}, Unsupported, "apparmor=mine: not supported"),
        ({"security": ("label=user:me",)}, Unsupported, "label=user:me: not supported"),
        ({"shm_bytes": -1}, InvalidInput, "SHM size can not be less than 0"),
        ({"oom_score_adj": 1001}, InvalidInput, r"range for oom score adj is \[-1000, 1000\]"),
        ({"tmpfs": (("run", ""),)}, InvalidInput, "mount path must be absolute"),
        ({"tmpfs": (("//", ""),)}, InvalidInput, "destination can't be '/'"),
        ({"tmpfs": (("/x", "color=red"),)}, InvalidInput, 'invalid tmpfs option "color=red"'),
        ({"tmpfs": (("/x", "size="),)}, InvalidInput, 'invalid tmpfs option "size="'),
        ({"tmpfs": (("/data", ""),)}, InvalidInput, "duplicate mount point: /data"),
        ({"sysctls": (("net.no.such", "1"),)}, InvalidInput, "this kernel has no such parameter"),
        ({"devices": (Device("/dev/none", "/x"),)}, NotFound, "/dev/none.*no such file"),
        ({"devices": (Device("/etc/passwd", "/x"),)}, InvalidInput, "not a device node"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(
    engine: LocalEngine, image: str, options: dict[str, Any], kind: type[EngineError], text: str
) -> None:
    before = os.listdir(f"{engine.info.root}/containers")
    with pytest.raises(kind, match=text):
        engine.containers.create(
            CreateOptions(image, network="none", confinement=Confinement(**options))
        )
    assert engine.containers.list(all=True) == []
    assert os.listdir(f"{engine.info.root}/containers") == before
    assert engine.volumes.list() == []


def test_the_hosts_network_parameters_are_not_a_containers(engine: LocalEngine, image: str) -> None:
    with pytest.raises(InvalidInput, match="not allowed in host network namespace"):
        confined(engine, image, "true", network="host", sysctls=(("net.ipv4.ip_forward", "1"),))


def test_options_that_turn_off_what_the_host_lacks_are_taken(
    engine: LocalEngine, image: str
) -> None:
    off = ("label=disable", "apparmor=unconfined")
    if any(map(os.path.exists, ("/sys/fs/selinux/enforce", "/sys/kernel/security/apparmor"))):
        pytest.skip("this host confines by a security module")
    assert confined(engine, image, "echo in", security=off).text == "in\n"


def test_inspect_says_what_was_asked_for(engine: LocalEngine, image: str) -> None:
    wanted = Confinement(
        cap_add=("CAP_NET_ADMIN",),
        read_only=True,
        tmpfs=(("/run", "size=1m"),),
        ulimits=(Ulimit("nofile", 1, 2),),
        sysctls=(("kernel.msgmax", "1"),),
        devices=(Device("/dev/kmsg", "/dev/kmsg", "r"),),
        init=True,
        unmasked=True,
    )
    ref = engine.containers.create(CreateOptions(image, command=("true",), confinement=wanted))
    found = engine.containers.inspect(ref)
    assert found.confinement == wanted
    config = docker_json(found)["HostConfig"]
    assert config["CapAdd"] == ["CAP_NET_ADMIN"]
    assert config["ReadonlyRootfs"] is True
    assert config["Tmpfs"] == {"/run": "size=1m"}
    assert config["Ulimits"] == [{"Name": "nofile", "Hard": 2, "Soft": 1}]
    assert config["Sysctls"] == {"kernel.msgmax": "1"}
    assert config["Devices"] == [
        {"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "r"}
    ]
    assert config["Init"] is True
    assert config["MaskedPaths"] == config["ReadonlyPaths"] == []
    plain = engine.containers.create(CreateOptions(image, command=("true",)))
    assert engine.containers.inspect(plain).confinement is None
    assert docker_json(engine.containers.inspect(plain))["HostConfig"]["ShmSize"] == 64 << 20
