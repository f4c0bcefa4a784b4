"""A mount of another container, cloned inside its mount namespace: from outside the kernel refuses.

Its parent is single-threaded, as everything that makes containers is. Imported for a container
that shares what is mounted in another one.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

from engine.kernel.files import open_in_root
from engine.kernel.libc import failure
from engine.kernel.mount import open_tree
from engine.kernel.namespaces import CLONE_NEWNS, open_namespace, setns


def open_foreign_tree(path: str, *, recursive: bool) -> int:
    """A detached copy of what process PID has mounted at the end of `path`, "/proc/PID/root/…".
    Raises OSError."""
    _, _, pid, _, rest = path.split("/", 4)
    namespace = open_namespace(f"/proc/{pid}/ns/mnt", CLONE_NEWNS)
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        os.close(namespace)
        raise
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        child = os.fork()  # noqa: TID251  see above
        if not child:
            _send(theirs, namespace, root, rest, recursive)
        os.waitpid(child, 0)
        theirs.close()
        data, control, _, _ = ours.recvmsg(16, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        theirs.close()
        os.close(root)
        os.close(namespace)
    for _, _, payload in control:
        (tree,) = struct.unpack("i", payload)
        return int(tree)
    raise failure("open_tree", int(data) if data else errno.EIO, path)


def _send(channel: socket, namespace: int, root: int, path: str, recursive: bool) -> None:
    """The child's part: it never returns."""
    try:
        setns(namespace, CLONE_NEWNS)
        found = open_in_root(root, os.fsencode(path), os.O_PATH)
        tree = open_tree(found, recursive=recursive)
        channel.sendmsg([b"0"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", tree))])
    except OSError as error:
        channel.send(b"%d" % (error.errno or errno.EIO))
    finally:
        os._exit(0)
