import os
import struct

import pytest

from engine.kernel import seccomp
from tests.support.child import in_child

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
RETURN_ALLOW = struct.pack("HBBI", 0x06, 0, 0, ALLOW)


def test_program_is_in_force() -> None:
    # load the number; if it is getppid's (110 on x86_64, 173 on aarch64) return errno 42
    number = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
    program = (
        struct.pack("HBBI", 0x20, 0, 0, 0)
        + struct.pack("HBBI", 0x15, 0, 1, number)
        + struct.pack("HBBI", 0x06, 0, 0, ERRNO | 42)
        + RETURN_ALLOW
    )

    def filtered() -> int:
        from engine.kernel.process import set_no_new_privs

        set_no_new_privs()
        seccomp.install(program)
        return os.getppid()

    assert in_child(filtered) == -42  # getppid cannot fail, so libc gives on what it gets


def test_broken_program_is_refused() -> None:
    def install() -> None:
        seccomp.install(struct.pack("HBBI", 0x20, 0, 0, 0))  # does not end in a return

    with pytest.raises(AssertionError, match="Invalid argument"):
        in_child(install)
