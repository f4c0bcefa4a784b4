"""Extended attributes, and what overlayfs makes of its own: xattr(7).

https://docs.kernel.org/filesystems/overlayfs.html#nesting-overlayfs-mounts
"""

import os

OPAQUE = "trusted.overlay.opaque"
OVERLAY = b"trusted.overlay."
USER_OVERLAY = b"user.overlay."
FUSE_OVERLAY = b"user.fuseoverlayfs."  # fuse-overlayfs' own, where it may not set trusted ones
ESCAPED_OVERLAY = b"trusted.overlay.overlay."  # shown as trusted.overlay.* inside the mount
# The host's own policy: neither taken from an image nor given to one.
POLICY = (b"security.selinux", b"security.ima", b"security.evm")
ACCESS_LISTS = (b"system.posix_acl_access", b"system.posix_acl_default")


def set_at(directory: int, name: bytes, key: bytes, value: bytes) -> None:
    """The entry `name` of `directory` itself has the attribute; a symbolic link is not followed.

    Through /proc/self/fd, because setxattrat(2) came with Linux 6.13 only.
    """
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    os.setxattr(path, key, value, follow_symlinks=False)


def all_of(path: bytes) -> dict[bytes, bytes]:
    """Every attribute of `path` itself, but overlayfs' own."""
    found: dict[bytes, bytes] = {}
    for name in os.listxattr(path, follow_symlinks=False):
        key = os.fsencode(name)
        if not key.startswith(OVERLAY) or key.startswith(ESCAPED_OVERLAY):
            found[key] = os.getxattr(path, key, follow_symlinks=False)
    return found


def is_opaque(path: bytes) -> bool:
    """Whether overlayfs takes the directory `path` as hiding all below it."""
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def can_escape_overlay() -> bool:
    """Whether this kernel passes escaped overlay attributes through (Linux 6.7)."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor[:2])) or 0)) >= (6, 7)
