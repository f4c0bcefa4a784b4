import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from engine.kernel import mount

pytestmark = pytest.mark.root


def attributes(path: Path) -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4] == str(path):
            return line.split()[5]
    raise AssertionError(f"{path} is not mounted")


def test_detached_bind_mount_is_read_only_from_its_first_moment(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    tree = mount.open_tree(str(source))
    mount.mount_setattr(tree, set_=mount.MOUNT_ATTR_RDONLY, propagation=mount.MS_PRIVATE)
    descriptor = os.open(target, os.O_PATH)
    mount.move_mount(tree, descriptor)
    try:
        with pytest.raises(OSError, match="Read-only"):
            (target / "x").touch()
        (source / "x").touch()
    finally:
        os.close(tree)
        os.close(descriptor)
        mount.umount(str(target))


def test_access_time_modes_replace_each_other(tmp_path: Path) -> None:
    tree = mount.open_tree(str(tmp_path))
    mount.mount_setattr(tree, set_=mount.MOUNT_ATTR_NOATIME)
    mount.mount_setattr(tree, set_=mount.MOUNT_ATTR_STRICTATIME)
    target = tmp_path / "target"
    target.mkdir()
    descriptor = os.open(target, os.O_PATH)
    mount.move_mount(tree, descriptor)
    os.close(tree)
    os.close(descriptor)
    found = attributes(target)
    mount.umount(str(target))
    assert "noatime" not in found
    assert "relatime" not in found


def test_refused_file_system_option_brings_the_kernels_words(tmp_path: Path) -> None:
    context = mount.fsopen("tmpfs")
    with pytest.raises(OSError, match="Invalid argument") as caught:
        mount.fsconfig(context, "nonsense", "1")
    os.close(context)
    assert caught.value.errno == errno.EINVAL


def test_new_file_system_is_attached_by_descriptor(tmp_path: Path) -> None:
    context = mount.fsopen("tmpfs")
    mount.fsconfig(context, "size", "64k")
    tree = mount.fsmount(context, mount.MOUNT_ATTR_NOSUID)
    target = os.open(tmp_path, os.O_PATH)
    mount.move_mount(tree, target)
    os.close(target)
    os.close(tree)
    assert "nosuid" in attributes(tmp_path)
    mount.umount(str(tmp_path), mount.MNT_DETACH)


def test_program_run_through_a_read_only_clone_cannot_be_overwritten(tmp_path: Path) -> None:
    """CVE-2019-5736: the container opens /proc/<pid>/exe of ours for writing."""
    program = tmp_path / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    clone = mount.readonly_clone(str(program))
    process = subprocess.Popen([f"/proc/self/fd/{clone}", "60"], pass_fds=[clone])
    try:
        exe = f"/proc/{process.pid}/exe"
        while os.stat(exe).st_ino != program.stat().st_ino:
            time.sleep(0.001)
        held = os.open(exe, os.O_PATH)
        process.kill()
        process.wait()
        with pytest.raises(OSError, match="Read-only"):
            os.open(f"/proc/self/fd/{held}", os.O_WRONLY)
        os.close(held)
    finally:
        process.kill()
        process.wait()
        os.close(clone)
    os.close(os.open(program, os.O_WRONLY))  # the file itself is as writable as before
