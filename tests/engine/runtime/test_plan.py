import copy
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, InvalidInput, Unsupported
from engine.kernel import mount, namespaces
from engine.kernel.cgroup import DEVICES
from engine.runtime.bundle import make_config
from engine.runtime.plan import make_plan
from engine.runtime.plan_version import PLAN_VERSION

KEYS = {
    "version keyring namespaces cgroup_namespace joins cgroup limits settings device_rules overlay "
    "rootfs root_readonly root_propagation mounts make_dev devices masked_paths readonly_paths "
    "sysctls hostname domainname loopback oom_score_adj last_capability process"
}
FIELDS = [
    *("type", "path", "source", "destination", "options", "allow", "access", "major", "minor"),
    *("limit", "soft", "hard", "names", "action", "args", "index", "value", "op", "uid", "gid"),
]
PROCESS_KEYS = {
    "args env cwd user uid gid groups umask terminal size capabilities rlimits no_new_privs "
    "seccomp seccomp_flags added_groups init"
}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rootfs").mkdir()
    return make_config(
        args=["sh", "-c", "true"],
        env=["PATH=/bin", "A=1", "A=2"],
        rootfs=str(tmp_path / "rootfs"),
        hostname="web",
        cgroup_path="/pydock/x",
        memory_bytes=1 << 24,
        nano_cpus=500_000_000,
        pids=9,
    )


def test_keys_have_not_changed_without_a_new_version(config: dict[str, Any]) -> None:
    """A monitor that is older than the launcher refuses the plan by its version alone."""
    plan = make_plan(config, id="x")
    assert {" ".join(plan)} == KEYS
    assert {" ".join(plan["process"])} == PROCESS_KEYS
    assert plan["version"] == PLAN_VERSION == 2


def test_plan_holds_what_the_kernel_needs(config: dict[str, Any]) -> None:
    plan = make_plan(config, id="x", user="bob")
    assert marshal.loads(marshal.dumps(plan)) == plan
    assert plan["namespaces"] == (
        namespaces.CLONE_NEWNS
        | namespaces.CLONE_NEWPID
        | namespaces.CLONE_NEWUTS
        | namespaces.CLONE_NEWIPC
        | namespaces.CLONE_NEWNET
    )
    assert plan["cgroup_namespace"]
    assert plan["loopback"]
    assert plan["limits"] == (1 << 24, 500_000_000, 9)
    assert plan["device_rules"] == DEVICES
    assert plan["hostname"] == b"web"
    process = plan["process"]
    assert process["args"] == [b"sh", b"-c", b"true"]
    assert process["env"] == {b"PATH": b"/bin", b"A": b"2"}
    assert process["user"] == "bob"
    assert process["capabilities"] == (0xA80425FB, 0xA80425FB, 0xA80425FB, 0, 0)
    assert len(process["seccomp"]) > 1000


def test_mount_options_become_attributes(config: dict[str, Any]) -> None:
    options = ["rbind", "ro", "nosuid", "suid", "rnoexec", "noatime", "rslave"]
    config["mounts"] = [
        {"destination": "data//x/../y/", "type": "none", "source": "src", "options": options},
        {"destination": "/t", "type": "tmpfs", "options": ["nodev", "size=1m", "sync", "rw"]},
    ]
    bind, tmpfs = make_plan(config, id="x", bundle="/b")["mounts"]
    assert (bind["kind"], bind["source"], bind["target"]) == ("bind", "/b/src", b"data/y")
    assert bind["recursive"]
    assert bind["propagation"] == mount.MS_SLAVE
    read_only = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOATIME
    assert bind["changes"] == (
        (read_only, mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR__ATIME, False),
        (mount.MOUNT_ATTR_NOEXEC, 0, True),
    )
    assert tmpfs["attributes"] == mount.MOUNT_ATTR_NODEV
    assert tmpfs["options"] == (("size", "1m"), ("sync", None))


def test_bind_mounts_are_private_unless_said_otherwise(config: dict[str, Any]) -> None:
    config["mounts"] = [{"destination": "/x", "source": "/y", "options": ["bind"]}]
    assert make_plan(config, id="x")["mounts"][0]["propagation"] == mount.MS_PRIVATE


def test_without_cgroup_there_is_no_mount_of_it(config: dict[str, Any]) -> None:
    config["linux"]["resources"] = {}
    plan = make_plan(config, id="x", cgroup_path="")
    assert plan["cgroup"] is None
    assert all(each["kind"] != "cgroup" for each in plan["mounts"])


def test_overlay_is_mounted_beside_its_upper_layer(config: dict[str, Any], tmp_path: Path) -> None:
    overlay = (["/l/2", "/l/1"], str(tmp_path / "diff"), str(tmp_path / "work"))
    plan = make_plan(config, id="x", overlay=overlay)
    assert plan["overlay"] == (("/l/2", "/l/1"), *overlay[1:])
    assert plan["rootfs"] == str(tmp_path)


def test_devices_are_added_to_dockers(config: dict[str, Any]) -> None:
    config["linux"]["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "access": "r"},
    ]
    assert make_plan(config, id="x")["device_rules"] == (*DEVICES, "c 10:229 rw", "b 8:* r")


@pytest.mark.parametrize(
    ("pids", "limit"), [(0, 1), (-1, 0), (5, 5), (None, 0)], ids=["zero", "none", "five", "unset"]
)
def test_limit_of_pids_as_runc_reads_it(
    config: dict[str, Any], pids: int | None, limit: int
) -> None:
    config["linux"]["resources"]["pids"] = {"limit": pids}
    assert make_plan(config, id="x")["limits"][2] == limit


Change = Callable[[dict[str, Any]], object]


def process(**values: Any) -> Change:
    return lambda config: config["process"].update(values)


def linux(**values: Any) -> Change:
    return lambda config: config["linux"].update(values)


def top(**values: Any) -> Change:
    return lambda config: config.update(values)


def mounted(**values: Any) -> Change:
    return lambda config: config["mounts"].append(values)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (top(ociVersion="2.0.0"), InvalidInput, "ociVersion '2.0.0'"),
        (top(ociVersion=None), InvalidInput, "ociVersion None"),
        (top(process=None), InvalidInput, "process.args must not be empty"),
        (top(process=[]), InvalidInput, "process: expected an object"),
        (top(hooks={"prestart": [{"path": "/x"}]}), Unsupported, "hooks"),
        (top(root={"path": ""}), InvalidInput, "root.path"),
        (top(root={"path": "/no/such/place"}), InvalidInput, "no such directory"),
        (top(root={"path": "/"}), InvalidInput, "the host's own root"),
        (top(hostname=5), InvalidInput, "hostname: expected a text"),
        (process(args=[]), InvalidInput, "process.args must not be empty"),
        (process(args=["a", 1]), InvalidInput, "args: expected a list of texts"),
        (process(args=["a\0b"]), InvalidInput, "cannot be passed to the kernel"),
        (process(cwd="relative"), InvalidInput, "not an absolute path"),
        (process(cwd=""), InvalidInput, "not an absolute path"),
        (process(env=["=x"]), InvalidInput, "NAME=value"),
        (process(env=["NOVALUE"]), InvalidInput, "NAME=value"),
        (process(capabilities={"bounding": ["CAP_FLY"]}), InvalidInput, "CAP_FLY"),
        (process(rlimits=[{"type": "RLIMIT_X"}]), InvalidInput, "RLIMIT_X"),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            InvalidInput,
            "soft 2 is above hard 1",
        ),
        (process(rlimits=[{"type": "RLIMIT_CPU"}] * 2), InvalidInput, "there twice"),
        (process(user={"uid": -1}), InvalidInput, "uid: expected a number"),
        (process(oomScoreAdj=5000), InvalidInput, "oomScoreAdj"),
        (process(apparmorProfile="x"), Unsupported, "apparmorProfile"),
        (process(scheduler={"policy": "SCHED_IDLE"}), Unsupported, "scheduler"),
        (linux(namespaces=[{"type": "mount"}]), InvalidInput, "needs a uts namespace"),
        (linux(namespaces=[]), InvalidInput, "a mount namespace is needed"),
        (linux(namespaces=[{"type": "uts"}]), InvalidInput, "a mount namespace is needed"),
        (linux(namespaces=[{"type": "warp"}]), InvalidInput, "unknown type 'warp'"),
        (linux(namespaces=[{"type": "pid"}] * 2), InvalidInput, "pid is there twice"),
        (linux(namespaces=[{"type": "user"}]), Unsupported, "user namespace"),
        (
            linux(namespaces=[{"type": "mount", "path": "/x"}]),
            Unsupported,
            "joining a mount namespace",
        ),
        (linux(maskedPaths=["relative"]), InvalidInput, "not an absolute path"),
        (linux(rootfsPropagation="sideways"), InvalidInput, "sideways"),
        (linux(sysctl={"kernel.panic": "1"}), InvalidInput, "sysctl kernel.panic"),
        (linux(sysctl={"net/../kernel/panic": "1"}), InvalidInput, "sysctl net"),
        (linux(sysctl={"vm.swappiness": "1"}), InvalidInput, "sysctl vm.swappiness"),
        (linux(resources={"cpu": {"idle": 1}}), Unsupported, "cpu.idle"),
        (linux(resources={"blockIO": {"leafWeight": 5}}), Unsupported, "blockIO.leafWeight"),
        (linux(resources={"memory": {"kernel": 5}}), Unsupported, "memory.kernel"),
        (linux(resources={"pids": {"limit": "many"}}), InvalidInput, "limit: expected a number"),
        (
            linux(resources={"devices": [{"allow": False, "type": "c", "major": 1}]}),
            Unsupported,
            "only denying all",
        ),
        (linux(devices=[{"path": "/dev/x", "type": "z"}]), InvalidInput, "unknown type 'z'"),
        (linux(devices=[{"path": "/", "type": "c"}]), InvalidInput, "below the root"),
        (linux(seccomp={"defaultAction": "x"}), InvalidInput, "unknown action"),
        (linux(intelRdt={"closID": "x"}), Unsupported, "intelRdt"),
        (linux(cgroupsPath="/a/../b"), InvalidInput, "cgroupsPath"),
        (linux(cgroupsPath="relative"), InvalidInput, "cgroupsPath"),
        (linux(cgroupsPath=""), Unsupported, "limits need a cgroup"),
        (mounted(destination="/"), InvalidInput, "below the root"),
        (mounted(destination="/a/../.."), InvalidInput, "below the root"),
        (mounted(destination=""), InvalidInput, "below the root"),
        (mounted(destination="/x"), InvalidInput, "without the option bind"),
        (mounted(destination="/x", options=["bind"]), InvalidInput, "needs a source"),
        (
            mounted(destination="/x", source="/y", options=["bind", "size=5"]),
            InvalidInput,
            "means nothing to a bind mount",
        ),
        (
            mounted(destination="/x", source="/y", options=["bind", "idmap"]),
            Unsupported,
            "option idmap",
        ),
        (mounted(destination="/x\0", type="tmpfs"), InvalidInput, "cannot be passed"),
        (top(hostname="\ud800"), InvalidInput, "hostname"),
        (process(user={"additionalGids": [-1]}), InvalidInput, "additionalGids"),
        (process(user={"additionalGids": 5}), InvalidInput, "additionalGids"),
    ],
)
def test_each_bad_field_is_refused_by_name(
    config: dict[str, Any], change: Change, kind: type[EngineError], text: str
) -> None:
    changed = copy.deepcopy(config)
    change(changed)
    with pytest.raises(kind, match=text.replace("(", r"\(")):
        make_plan(changed, id="x")


def test_unknown_fields_are_ignored(config: dict[str, Any]) -> None:
    config["linux"]["newerThanUs"] = {"a": 1}
    config["somethingElse"] = True
    make_plan(config, id="x")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(), max_size=5)
    | st.just("/x"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in the document that holds a value."""
    found = [path] if path else []
    if isinstance(document, dict):
        for key, value in document.items():
            found += places(value, (*path, key)) if key != "syscalls" else [(*path, key)]
    elif isinstance(document, list):
        for index, value in enumerate(document[:2]):
            found += places(value, (*path, index))
    return found


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_field_gives_a_plan_or_a_clear_error(data: st.DataObject) -> None:
    config = make_config(args=["true"], rootfs="/proc", cgroup_path="/x", memory_bytes=1 << 24)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(places(config)))
        here: Any = config
        for key in parents:
            here = here[key]
        here[last] = data.draw(JSON)
    try:
        marshal.dumps(make_plan(config, id="x"))
    except (InvalidInput, Unsupported):
        return
