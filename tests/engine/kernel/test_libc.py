import errno
import os

import pytest

from engine.kernel import libc
from engine.runtime.seccomp_tables import numbers


def test_every_number_is_the_one_of_the_tables_for_its_machine() -> None:
    tables = numbers("SCMP_ARCH_X86_64"), numbers("SCMP_ARCH_AARCH64")
    for name, pair in libc._NUMBERS.items():
        assert pair == tuple(table[name] for table in tables), name


def test_failure_carries_errno_text_path_and_the_name_of_the_call() -> None:
    with pytest.raises(PermissionError if os.geteuid() else FileNotFoundError) as caught:
        libc.syscall("umount2", b"/nowhere", 0, path="/nowhere")
    assert caught.value.filename == "/nowhere"
    assert caught.value.strerror == os.strerror(caught.value.errno)
    assert libc.failed_call(caught.value) == "umount2"


def test_unknown_machine_says_that_the_call_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libc, "_COLUMN", None)
    with pytest.raises(OSError, match="not implemented") as caught:
        libc.syscall("openat2")
    assert caught.value.errno == errno.ENOSYS
