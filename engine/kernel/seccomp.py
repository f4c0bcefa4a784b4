"""System call filters: seccomp(2)."""

import ctypes
import struct

from engine.kernel.libc import syscall

_SET_MODE_FILTER = 1


def install(program: bytes, flags: int = 0) -> None:
    """This thread and what it executes are filtered by `program`, an array of struct sock_filter.

    Needs CAP_SYS_ADMIN or no_new_privs (EACCES).
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("H6xQ", len(program) // 8, ctypes.addressof(instructions))
    syscall("seccomp", _SET_MODE_FILTER, flags, header)
