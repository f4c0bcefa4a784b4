import errno

import pytest

from engine.errors import EngineError
from engine.kernel.libc import failure
from engine.runtime.failure import StepError, Where, explain


@pytest.mark.parametrize(
    ("fields", "kind", "message", "exit_code"),
    [
        (
            ("command", errno.ENOENT, "stat", "foo", "PATH"),
            "NotFound",
            'exec: "foo": executable file not found in $PATH',
            127,
        ),
        (
            ("command", errno.ENOENT, "stat", "/foo", "stat"),
            "NotFound",
            'exec: "/foo": stat /foo: no such file or directory',
            127,
        ),
        (
            ("command", errno.EACCES, "access", "/etc/passwd", ""),
            "InvalidInput",
            'exec: "/etc/passwd": permission denied',
            126,
        ),
        (
            ("command", errno.EISDIR, "stat", "/etc", ""),
            "InvalidInput",
            'exec: "/etc": is a directory',
            126,
        ),
        (
            ("command", errno.ENOEXEC, "execve", "/x", "execve"),
            "InvalidInput",
            "exec /x: exec format error",
            126,
        ),
        (
            ("user", errno.ENOENT, "read", "alice", "user alice"),
            "InvalidInput",
            "unable to find user alice: no matching entries in passwd file",
            125,
        ),
        (
            ("user", errno.ENOENT, "read", "bob:nope", "group nope"),
            "InvalidInput",
            "unable to find group nope: no matching entries in group file",
            125,
        ),
        (
            ("user", errno.ERANGE, "read", "big", "4294967296"),
            "InvalidInput",
            "user big: uids and gids must be in range 0-2147483647",
            125,
        ),
        (
            ("mount", errno.ENOENT, "open_tree", "data", "/host/data"),
            "NotFound",
            "mount data: /host/data: no such file or directory",
            125,
        ),
        (
            ("mount", errno.ELOOP, "openat2", "proc", ""),
            "InvalidInput",
            "mount proc: too many levels of symbolic links",
            125,
        ),
        (
            ("mount", errno.ENOSYS, "mount_setattr", "data", ""),
            "Unsupported",
            "mount: this kernel lacks mount_setattr",
            125,
        ),
        (
            ("working directory", errno.EACCES, "", "/root", ""),
            "Unavailable",
            "working directory /root: permission denied",
            126,
        ),
        (
            ("cgroup", errno.EBUSY, "write", "/pydock/x", ""),
            "Conflict",
            "cgroup /pydock/x: device or resource busy",
            125,
        ),
        (("start", 0, "", "", "it was killed"), "Unavailable", "start: it was killed", 125),
    ],
)
def test_failure_is_told_in_dockers_words(
    fields: tuple[str, int, str, str, str], kind: str, message: str, exit_code: int
) -> None:
    error = explain(*fields)
    assert isinstance(error, EngineError)
    assert (error.kind, error.message, error.exit_code) == (kind, message, exit_code)


def test_failing_step_is_described_by_where_it_was() -> None:
    where = Where()
    where.at("mount", b"data")
    error = failure("open_tree", errno.ENOENT, "/host/data")
    error.add_note("overlay: bad layer")
    assert where.describe(error) == (
        "mount",
        errno.ENOENT,
        "open_tree",
        "data",
        "/host/data; overlay: bad layer",
    )
    assert where.describe(ValueError("x")) == ("mount", 0, "", "data", "ValueError: x")
    inner = StepError("command", errno.ENOENT, "stat", "foo", "PATH")
    assert where.describe(inner) == inner.fields
