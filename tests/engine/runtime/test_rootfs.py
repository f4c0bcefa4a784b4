"""Mounts of a container, and images that are made to mislead whoever mounts them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.kernel.mount import MNT_DETACH, MS_SHARED, mount, umount
from engine.runtime.failure import StepError, explain
from tests.support import box
from tests.support.descriptors import open_now, opened_since

pytestmark = pytest.mark.root


def mounts(output: str) -> dict[str, tuple[str, str]]:
    """Mount point: attributes and type, from mountinfo."""
    found = {}
    for line in output.splitlines():
        left, _, right = line.partition(" - ")
        found[left.split()[4]] = (left.split()[5], right.split()[0])
    return found


def test_mounts_are_dockers(root: Path) -> None:
    found = mounts(box.run(root, "cat", "/proc/self/mountinfo").output)
    harmless = "nosuid,nodev,noexec,relatime"
    assert found["/proc"] == (f"rw,{harmless}", "proc")
    assert found["/dev"] == ("rw,nosuid", "tmpfs")
    assert found["/dev/pts"] == ("rw,nosuid,noexec,relatime", "devpts")
    assert found["/dev/shm"] == (f"rw,{harmless}", "tmpfs")
    assert found["/dev/mqueue"] == (f"rw,{harmless}", "mqueue")
    assert found["/sys"] == (f"ro,{harmless}", "sysfs")
    assert found["/sys/fs/cgroup"][0] == f"ro,{harmless}"
    assert found["/proc/sys"] == (f"ro,{harmless}", "proc")
    assert not any("oldroot" in point or str(root) in point for point in found)


def test_device_nodes_and_links_are_dockers(root: Path) -> None:
    script = "cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty; "
    script += "for l in fd stdin stdout stderr core ptmx; do readlink $l; done; ls"
    lines = box.run(root, "sh", "-c", script).output.splitlines()
    assert lines[:6] == [
        "null 1:3 666",
        "zero 1:5 666",
        "full 1:7 666",
        "random 1:8 666",
        "urandom 1:9 666",
        "tty 5:0 666",
    ]
    assert lines[6:12] == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "/proc/kcore",
        "pts/ptmx",
    ]
    assert len(lines[12:]) == 15


def test_masked_paths_are_empty_and_read_only_ones_refuse(root: Path) -> None:
    script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do cat $f; done; "
    script += "ls /sys/firmware /proc/acpi /proc/scsi; echo 1 > /proc/sys/kernel/panic; "
    script += "echo b > /proc/sysrq-trigger; touch /sys/x; touch /proc/acpi/x"
    result = box.run(root, "sh", "-c", script)
    left = [line for line in result.output.splitlines() if line and not line.endswith(":")]
    assert left == []
    assert "/proc/sys/kernel/panic: Read-only file system" in result.errors
    assert "/sys/x: Read-only file system" in result.errors


def test_root_can_be_read_only(root: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["root"]["readonly"] = True

    result = box.run(root, "sh", "-c", "touch /x; touch /dev/shm/y && echo yes", change=change)
    assert "Read-only" in result.errors
    assert result.output == "yes\n"


def test_root_of_128_layers(root: Path, tmp_path: Path) -> None:
    lower = []
    for number in range(127):
        layer = tmp_path / "layers" / f"{number:026d}" / "diff"
        layer.mkdir(parents=True)
        (layer / f"file-{number}").touch()
        lower.append(str(layer))
    (tmp_path / "upper/diff").mkdir(parents=True)
    (tmp_path / "upper/work").mkdir()
    overlay = ([*lower, str(root)], str(tmp_path / "upper/diff"), str(tmp_path / "upper/work"))
    result = box.run(root, "sh", "-c", "ls -d /file-* | wc -l; touch /new", overlay=overlay)
    assert result.output.strip() == "127"
    assert (tmp_path / "upper/diff/new").exists()
    assert not (root / "new").exists()


def test_bind_mounts_show_the_host_and_read_only_ones_hold(root: Path, tmp_path: Path) -> None:
    for name in ("rw", "ro"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    binds = [(str(tmp_path / "rw"), "/data/rw", False), (str(tmp_path / "ro"), "/data/ro", True)]
    script = "cat /data/*/file; echo new > /data/rw/file; echo new > /data/ro/file"
    result = box.run(root, "sh", "-c", script, mounts=binds)
    assert result.output == "rorw"
    assert "/data/ro/file: Read-only" in result.errors
    assert (tmp_path / "rw/file").read_text() == "new\n"
    assert (tmp_path / "ro/file").read_text() == "ro"


@pytest.mark.parametrize("target", ["/etc", "/etc/passwd"])
def test_a_directory_is_not_mounted_on_a_file_nor_the_other_way(
    root: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "file").touch()
    source = tmp_path / "file" if target == "/etc" else tmp_path
    with pytest.raises(StepError) as caught:
        box.run(root, "true", mounts=[(str(source), target, False)])
    error = explain(*caught.value.fields)
    assert error.message == f"mount {target[1:]}: not a directory"
    assert error.hint.startswith("a directory is mounted on a directory, a file on a file")


def test_bind_mounts_are_cut_off_from_the_hosts(root: Path, tmp_path: Path) -> None:
    """What is mounted later below a shared source does not appear inside, nor the other way."""
    (tmp_path / "source").mkdir()
    mount("tmpfs", tmp_path / "source", "tmpfs")
    mount(None, tmp_path / "source", None, MS_SHARED)
    bind = (str(tmp_path / "source"), "/data", False)
    output = box.run(root, "grep", "/data", "/proc/self/mountinfo", mounts=[bind]).output
    umount(tmp_path / "source")
    assert " - tmpfs" in output
    assert "shared:" not in output
    assert "master:" not in output


def test_read_only_holds_for_mounts_below_too(root: Path, tmp_path: Path) -> None:
    (tmp_path / "source/below").mkdir(parents=True)
    mount("tmpfs", tmp_path / "source/below", "tmpfs")
    result = box.run(
        root, "touch", "/data/below/x", mounts=[(str(tmp_path / "source"), "/data", True)]
    )
    umount(tmp_path / "source/below")
    assert "Read-only" in result.errors


def test_files_of_the_engine_cover_the_images(root: Path, tmp_path: Path) -> None:
    for name in ("hosts", "hostname", "resolv.conf"):
        (tmp_path / name).write_text(f"our {name}\n")
    (root / "etc/resolv.conf").symlink_to("../run/systemd/stub-resolv.conf")  # dangling
    (root / "etc/hosts").write_text("the image's")
    result = box.run(
        root,
        "cat",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        etc_hosts=str(tmp_path / "hosts"),
        etc_hostname=str(tmp_path / "hostname"),
        etc_resolv_conf=str(tmp_path / "resolv.conf"),
    )
    assert result.output == "our hosts\nour hostname\nour resolv.conf\n"
    assert (root / "etc/hosts").read_text() == "the image's"


def test_mount_over_a_default_one_replaces_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "shm").mkdir()
    result = box.run(
        root, "touch", "/dev/shm/x", mounts=[(str(tmp_path / "shm"), "/dev/shm", False)]
    )
    assert result.code == 0
    assert (tmp_path / "shm/x").exists()


def test_mounts_of_the_container_never_reach_the_host(root: Path, tmp_path: Path) -> None:
    """Even when everything on the host is shared, as systemd makes it."""
    (tmp_path / "source").mkdir()
    mount("tmpfs", tmp_path / "source", "tmpfs")
    mount(None, tmp_path / "source", None, MS_SHARED)
    shared = tmp_path / "source/root"
    shutil.copytree(root, shared, symlinks=True)
    before = Path("/proc/self/mountinfo").read_text()
    try:
        assert box.run(shared, "true").code == 0
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        umount(tmp_path / "source", MNT_DETACH)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/etc", "../../../../etc", "/tmp/nothing"])
def test_image_with_a_link_for_a_system_directory_is_refused(
    root: Path, name: str, target: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2026-41579: the mount would land somewhere else."""
    (root / name).rmdir()
    (root / name).symlink_to(target)
    with pytest.raises(StepError) as caught:
        box.run(root, "true")
    error = explain(*caught.value.fields)
    assert (error.kind, error.exit_code) == ("InvalidInput", 125)
    assert name in error.message
    assert "symbolic link" in error.hint


def test_links_below_a_mount_target_stay_inside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "outside").mkdir()
    (root / "data").symlink_to(tmp_path / "outside")
    result = box.run(
        root, "touch", "/data/sub/x", mounts=[(str(tmp_path / "source"), "/data/sub", False)]
    )
    assert result.code == 0
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "source/x").exists()


def test_mask_must_be_the_null_device(root: Path, tmp_path: Path) -> None:
    """CVE-2025-31133: with a /dev of the image's, its /dev/null is anything."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").symlink_to("/proc/sysrq-trigger")
    with pytest.raises(StepError) as caught:
        box.run(root, "true", mounts=[(str(tmp_path / "dev"), "/dev", False)])
    assert caught.value.step == "masked path"


def test_devices_in_a_root_without_a_dev_of_its_own_must_be_right(root: Path) -> None:
    def no_dev(config: dict[str, Any]) -> None:
        config["mounts"] = [each for each in config["mounts"] if "/dev" not in each["destination"]]

    assert box.run(root, "sh", "-c", "echo x > /dev/null", change=no_dev).code == 0
    assert (
        box.run(root, "sh", "-c", "echo x > /dev/null", change=no_dev).code == 0
    )  # they are there
    (root / "dev/zero").unlink()
    (root / "dev/zero").write_text("not a device")
    with pytest.raises(StepError) as caught:
        box.run(root, "true", change=no_dev)
    assert caught.value.step == "devices"


def test_devices_of_the_config_are_made(root: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        device = {"path": "/dev/sub/fuse", "type": "c", "major": 10, "minor": 229, "uid": 1000}
        config["linux"]["devices"] = [device | {"fileMode": 0o640}]

    result = box.run(root, "stat", "-c", "%t:%T %a %u", "/dev/sub/fuse", change=change)
    assert result.output == "a:e5 640 1000\n"


def test_tmpfs_keeps_the_mode_of_what_it_covers(root: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})

    assert box.run(root, "stat", "-c", "%a", "/tmp", change=change).output == "1777\n"


def bad(change: Any) -> Any:
    return change


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("mount", {"mounts": [("/no/such/source", "/data", False)]}),
        ("mount", {"mounts": [("/etc/passwd", "/bin", False)]}),
        ("namespace", {"netns": "/etc/passwd"}),
        ("namespace", {"netns": "/no/such/netns"}),
        ("user", {"user": "nobody-here"}),
        ("user", {"user": "root:nogroup"}),
        ("working directory", {"cwd": "/etc/passwd"}),
        (
            "mount",
            {"change": lambda c: c["mounts"].append({"destination": "/x", "type": "nosuchfs"})},
        ),
        (
            "mount",
            {
                "change": lambda c: c["mounts"].append(
                    {"destination": "/x", "type": "tmpfs", "options": ["nosuchoption=1"]}
                )
            },
        ),
        ("sysctl", {"change": lambda c: c["linux"]["sysctl"].update({"net.no.such": "1"})}),
        (
            "rlimit",
            {
                "change": lambda c: c["process"].update(
                    rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]
                )
            },
        ),
    ],
)
def test_failing_step_is_named_and_leaves_nothing(
    root: Path, step: str, options: dict[str, Any]
) -> None:
    """The fixture of all root tests looks for mounts, cgroups, processes and namespaces."""
    before = open_now()
    with pytest.raises(StepError) as caught:
        box.run(root, "true", **options)
    assert caught.value.step == step
    error = explain(*caught.value.fields)
    assert error.exit_code == 125
    assert step in error.message or step == "user"
    assert not opened_since(before)
