"""What went wrong between clone and execve: carried as five plain values, told as one sentence.

The child knows the step, the errno and the path; the parent, who knows what a person asked for,
makes docker's text, a hint and an exit code of them (125 the engine, 126 cannot be run, 127 not
found). Lean on purpose: monitors import this.
"""

import errno
import os

from engine.errors import Conflict, EngineError, InvalidInput, NotFound, Unavailable, Unsupported
from engine.kernel.libc import failed_call


class StepError(Exception):
    """A step of create, start or exec failed; everything that it had made is undone."""

    def __init__(self, step: str, number: int, call: str, path: str, extra: str = "") -> None:
        super().__init__(step, number, call, path, extra)
        self.step = step
        self.errno = number
        self.syscall = call
        self.path = path
        self.extra = extra

    @property
    def fields(self) -> tuple[str, int, str, str, str]:
        """What `explain` takes and `marshal` carries."""
        return self.step, self.errno, self.syscall, self.path, self.extra


class Where:
    """The step that a process is at, so that whatever it fails with can be placed."""

    def __init__(self) -> None:
        self.step = "start"
        self.path = ""

    def at(self, step: str, path: str | bytes = "") -> None:
        """What follows is `step`, working on `path`."""
        self.step = step
        self.path = os.fsdecode(path)

    def describe(self, error: BaseException) -> tuple[str, int, str, str, str]:
        """`error`, raised at this step, as the fields of a StepError."""
        if isinstance(error, StepError):
            return error.fields
        if not isinstance(error, OSError):
            return self.step, 0, "", self.path, f"{type(error).__name__}: {error}"
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        notes: list[str] = getattr(error, "__notes__", [])
        details = [name] if name and name != self.path else []
        extra = "; ".join(details + notes[1:])
        return self.step, error.errno or 0, failed_call(error), self.path, extra


def explain(step: str, number: int, call: str, path: str, extra: str) -> EngineError:
    """The error to raise for a StepError's fields: kind, docker's words, next step, exit code."""
    reason = os.strerror(number).lower() if number else extra or "unexpected failure"
    if step == "command":
        return _explain_command(number, reason, path, extra)
    if step == "user":
        return _explain_user(number, reason, path, extra)
    if number == errno.ENOSYS:
        return Unsupported(
            f"{step}: this kernel lacks {call or 'a system call'}",
            "Linux 5.12 or newer is needed",
            exit_code=125,
        )
    detail = f"{extra}: " if extra and number else ""
    where = f"{step} {path}" if path else step
    message = f"{where}: {detail}{reason}"
    kind, hint = _KINDS.get(number, (Unavailable, ""))
    hint = _HINTS.get((step, number)) or _HINTS.get((step, 0)) or hint
    code = 126 if step == "working directory" and number == errno.EACCES else 125
    return kind(message, hint, exit_code=code)


def _explain_command(number: int, reason: str, path: str, extra: str) -> EngineError:
    """`path` is the command as given, `extra` how far the search came: docker's (Go's) texts."""
    if extra == "PATH":
        return NotFound(
            f'exec: "{path}": executable file not found in $PATH',
            "name a program that is in the image, or give its whole path",
            exit_code=127,
        )
    if extra == "stat":
        message = f'exec: "{path}": stat {path}: {reason}'
    elif extra == "execve":
        message = f"exec {path}: {reason}"
    else:
        message = f'exec: "{path}": {reason}'
    if number in (errno.ENOENT, errno.ENOTDIR):
        hint = "the file, or the interpreter that its first line names, is not in the image"
        return NotFound(message, hint, exit_code=127)
    hint = {
        errno.EACCES: "make it executable in the image: chmod +x",
        errno.EPERM: "make it executable in the image: chmod +x",
        errno.EISDIR: "name a program, not a directory",
        errno.ENOEXEC: "it is built for another machine, or a script without a first line #!…",
        errno.E2BIG: "the arguments and the environment together are too long",
    }.get(number, "")
    return InvalidInput(message, hint, exit_code=126)


def _explain_user(number: int, reason: str, path: str, extra: str) -> EngineError:
    """docker's texts for `USER`; `extra` is "user NAME", "group NAME" or a number."""
    what, _, name = extra.partition(" ")
    if number == errno.ENOENT and what in ("user", "group"):
        file = "passwd" if what == "user" else "group"
        return InvalidInput(
            f"unable to find {what} {name}: no matching entries in {file} file",
            f"give a number, or a name from the image's /etc/{file}",
            exit_code=125,
        )
    if number == errno.ERANGE:
        return InvalidInput(
            f"user {path}: uids and gids must be in range 0-2147483647",
            "choose another number",
            exit_code=125,
        )
    return Unavailable(f"user {path}: {extra}: {reason}".replace(": : ", ": "), exit_code=125)


_KINDS: dict[int, tuple[type[EngineError], str]] = {
    errno.ENOENT: (NotFound, ""),
    errno.ENOTDIR: (InvalidInput, "a part of the path is not a directory"),
    errno.EISDIR: (InvalidInput, "one side is a directory, the other is not"),
    errno.EINVAL: (InvalidInput, ""),
    errno.EEXIST: (Conflict, ""),
    errno.EBUSY: (Conflict, ""),
    errno.ELOOP: (InvalidInput, "it is a symbolic link, or has one in its path"),
    errno.EOPNOTSUPP: (Unsupported, ""),
    errno.ENODEV: (Unsupported, "the kernel lacks this file system or device"),
    errno.EPERM: (Unavailable, "run it as root, with all capabilities"),
    errno.EACCES: (Unavailable, "run it as root, with all capabilities"),
    errno.ENOSPC: (Unavailable, "free some disk space, or raise the kernel's limit"),
    errno.ENOMEM: (Unavailable, "free some memory, or raise the memory limit"),
    errno.EAGAIN: (Unavailable, "the limit of processes is reached"),
    errno.ESRCH: (Conflict, "the process has ended meanwhile"),
}
_HINTS: dict[tuple[str, int], str] = {
    ("mount", errno.ELOOP): "in the image this is a symbolic link; it must be a real directory",
    ("mount", errno.ENOTDIR): "a directory is mounted on a directory, a file on a file: look at "
    "both sides",
    ("rlimit", errno.EPERM): "the limit is above what this process may set (ulimit -H)",
    ("cgroup", errno.EBUSY): "the container is paused, or its cgroup is in use: unpause it first",
    ("cgroup", errno.EOPNOTSUPP): "this host does not have the cgroup controller for that limit",
    ("working directory", 0): "choose another one with --workdir",
    ("plan", 0): "pydock was upgraded meanwhile: try again",
}
