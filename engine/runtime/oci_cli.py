"""`pydock-oci`: the OCI runtime's command line on a bundle, as runc and crun have it.

No monitor here: whoever calls (conmon, a shim, a shell) looks after the process. `create` leaves an
init that waits on a named pipe, `start` opens it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, EngineError, InvalidInput, NotFound, Unavailable
from engine.kernel.mount import readonly_clone
from engine.kernel.process import is_alive, pidfd_open, pidfd_send_signal, start_time
from engine.named_tuple import NamedTuple
from engine.runtime import state as states
from engine.runtime.create import Created, create, destroy, start_by_fifo
from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_ROOT = "/run/pydock-oci"
_CGROUP_PARENT = "/pydock-oci"
_SIGKILL, _SIGTERM = 9, 15
_STOP_SECONDS = 10

_USAGE = """\
usage: pydock-oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND [OPTION]... ID

Run containers from OCI bundles (a directory with config.json and a root file system).

commands:
  create  make the container up to its program
  start   run the program of a created container
  run     create, start, wait for its end and delete, or --detach
  state   print the container's state as JSON
  kill    send a signal to it: ID [SIGNAL], TERM by default; --all: to each of its processes
  delete  remove what is left of it; --force: also when it runs

options of create and run:
  --bundle DIR            the bundle (default: the working directory)
  --pid-file FILE         where to write the pid of its first process
  --console-socket PATH   a socket that gets the master of its terminal

global options:
  --root DIR         where states are kept (default /run/pydock-oci)
  --log FILE         append errors to FILE
  --log-format WORD  text (default) or json
  --version          print the version
  --help             print this text
"""
# Options with a value, and flags, of each command ("": before the command).
_OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "": (("root", "log", "log-format"), ("help", "version")),
    "create": (("bundle", "pid-file", "console-socket"), ()),
    "run": (("bundle", "pid-file", "console-socket"), ("detach",)),
    "start": ((), ()),
    "state": ((), ()),
    "kill": ((), ("all",)),
    "delete": ((), ("force",)),
}
_SHORT = {"b": "bundle", "d": "detach", "a": "all", "f": "force", "h": "help", "v": "version"}


class Request(NamedTuple):
    """A parsed command line."""

    command: str
    options: dict[str, str]  # of the command; flags have an empty value
    arguments: list[str]
    root: str


def main() -> int:
    """The exit code: 0, the program's own for `run`, 126 or 127 if it cannot run, else 1."""
    _open_standard_files()
    options: dict[str, str] = {}
    try:
        options, rest = _parse(sys.argv[1:], "")
        if "version" in options:
            from importlib.metadata import version  # slow, and needed here alone

            print(f"pydock-oci version {version('pydock-tui')}\nspec: {states.OCI_VERSION}")
            return 0
        if "help" in options or not rest or "--help" in rest or "-h" in rest:
            print(_USAGE, end="")
            return 0 if rest or "help" in options else 1
        command = rest[0]
        if command not in _COMMANDS:
            raise InvalidInput(f"unknown command {command!r}", "see pydock-oci --help")
        own, arguments = _parse(rest[1:], command)
        if not arguments or len(arguments) > (2 if command == "kill" else 1):
            raise InvalidInput(f"{command}: expected one container ID", "see pydock-oci --help")
        root = os.path.abspath(options.get("root", DEFAULT_ROOT))
        return _COMMANDS[command](Request(command, own, arguments, root))
    except EngineError as error:
        return _report(error, options)
    except StepError as error:
        return _report(explain(*error.fields), options)
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        return _report(Unavailable(f"{path}{(error.strerror or str(error)).lower()}"), options)


def _open_standard_files() -> None:
    """A caller may have closed some of 0 to 2; files of ours must not take their places."""
    while (descriptor := os.open("/dev/null", os.O_RDWR)) < 3:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _parse(words: list[str], command: str) -> tuple[dict[str, str], list[str]]:
    """Options of `command` and the words that are none; global ones end at the first such word."""
    with_value, flags = _OPTIONS[command]
    options: dict[str, str] = {}
    arguments: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            if not command:
                return options, [word, *words]
            arguments.append(word)
            continue
        if word == "--":
            return options, arguments + words
        name, equal, value = word.lstrip("-").partition("=")
        name = _SHORT.get(name, name) if not word.startswith("--") else name
        if name in flags and not equal:
            options[name] = ""
        elif name in with_value and (equal or words):
            options[name] = value if equal else words.pop(0)
        else:
            place = f"{command}: " if command else ""
            raise InvalidInput(f"{place}unknown or incomplete option {word}", "see --help")
    return options, arguments


def _report(error: EngineError, options: dict[str, str]) -> int:
    hint = f" ({error.hint})" if error.hint else ""
    print(f"pydock-oci: {error.message}{hint}", file=sys.stderr)
    if log := options.get("log"):
        import json  # here and below: only where it is needed, it costs as much as the container
        import time

        text = error.message
        if options.get("log-format") == "json":
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            text = json.dumps({"level": "error", "msg": error.message, "time": stamp})
        with open(log, "a") as file:
            file.write(text + "\n")
    return error.exit_code if error.exit_code in (126, 127) else 1


def _create(request: Request) -> int:
    _make(request)
    return 0


def _run(request: Request) -> int:
    detach = "detach" in request.options
    state, created = _make(request)
    try:
        if detach:
            _begin(state)
            return 0
        from engine.runtime.foreground import follow  # signals and terminals, for this case alone

        return follow(created.pid, created.pidfd, created.console_fd, lambda: _begin(state))
    except BaseException:
        destroy(created)
        detach = False  # nobody will look after it
        raise
    finally:
        if not detach:
            _remove(state)


def _make(request: Request) -> tuple[states.State, Created]:
    """A created container; whatever fails, nothing is left of it."""
    _run_from_read_only_mount()
    import json
    import time

    from engine.runtime.plan import make_plan  # checks and tables, for these two commands alone

    id = request.arguments[0]
    bundle = os.path.abspath(request.options.get("bundle", "."))
    try:
        with open(f"{bundle}/config.json", "rb") as file:
            config = json.load(file)
    except FileNotFoundError as error:
        raise NotFound(f"{bundle}/config.json: no such file", "name the bundle by -b") from error
    except ValueError as error:
        raise InvalidInput(f"{bundle}/config.json: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"{bundle}/config.json: expected an object")
    plan = make_plan(config, id=id, bundle=bundle, cgroup_path=_cgroup_path(config, id))
    terminal = bool(plan["process"]["terminal"])
    socket_path = request.options.get("console-socket", "")
    foreground = request.command == "run" and "detach" not in request.options
    if terminal and not socket_path and not foreground:
        raise InvalidInput(
            "cannot allocate tty if detached: no console socket", "give --console-socket"
        )
    if socket_path and not terminal:
        raise InvalidInput("cannot use console socket: process.terminal is not set")
    directory = states.reserve(request.root, id)
    undo: list[Callable[[], object]] = [lambda: states.remove(request.root, id)]
    try:
        fifo = f"{directory}/exec.fifo"
        os.mkfifo(fifo, 0o600)
        if cgroup := create_cgroup(plan):
            undo.append(cgroup.remove)
        created = create(plan, (0, 1, 2), console=terminal, fifo=fifo)
        undo.append(lambda: destroy(created))
        state = states.State(
            root=request.root,
            id=id,
            pid=created.pid,
            started=start_time(created.pid),
            boot_id=states.boot_id(),
            bundle=bundle,
            rootfs=plan["rootfs"],
            created=time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime()),
            annotations=config.get("annotations") or {},
            cgroup_path=plan["cgroup"][0],
            hierarchies=plan["cgroup"][1],
        )
        states.save(state)
        if socket_path:
            _send_console(socket_path, created.console_fd)
            os.close(created.console_fd)
            created.console_fd = -1
        if path := request.options.get("pid-file"):
            _write_pid_file(path, created.pid)
        return state, created
    except BaseException:
        for each in reversed(undo):
            each()
        raise


def _run_from_read_only_mount() -> None:
    """This process' program cannot be overwritten through /proc/<pid>/exe.

    A container may execute that file of its own init (CVE-2019-5736), so the command starts itself
    once more from a read-only mount that nobody else sees.
    """
    if not os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY:
        program = readonly_clone(sys.executable)
        os.execv(f"/proc/self/fd/{program}", [sys.executable, *sys.orig_argv[1:]])


def _cgroup_path(config: dict[str, Any], id: str) -> str:
    """The config's, also in systemd's form slice:prefix:name, as a plain path; else one of ours."""
    linux = config.get("linux")
    path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    if not path or not isinstance(path, str):
        return f"{_CGROUP_PARENT}/{id}"
    return "/" + "/".join(each for each in path.replace(":", "/").split("/") if each)


def _send_console(path: str, master: int) -> None:
    """The master of the terminal goes to whoever listens at `path`, as runc sends it."""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"/dev/ptmx"], [master])


def _write_pid_file(path: str, pid: int) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "x") as file:
        file.write(str(pid))
    os.rename(temporary, path)


def _start(request: Request) -> int:
    state = states.load(request.root, request.arguments[0])
    status = state.status()
    if status != "created":
        what = "an already running container" if status != "stopped" else "a stopped container"
        raise Conflict(f"cannot start {what}", "delete it and create it again")
    _begin(state)
    return 0


def _begin(state: states.State) -> None:
    """The program runs."""
    pidfd = pidfd_open(state.pid)
    try:
        start_by_fifo(state.fifo, pidfd)
    finally:
        os.close(pidfd)
        os.unlink(state.fifo)


def _state(request: Request) -> int:
    import json

    print(json.dumps(states.load(request.root, request.arguments[0]).document(), indent=2))
    return 0


def _kill(request: Request) -> int:
    id, *rest = request.arguments
    state = states.load(request.root, id)
    signal = _signal(rest[0]) if rest else _SIGTERM
    if "all" in request.options and (cgroup := state.cgroup):
        cgroup.kill(signal)
        return 0
    if state.status() == "stopped":
        raise Conflict("container not running")
    pidfd = pidfd_open(state.pid)
    try:
        if not is_alive(state.pid, state.started):  # its number was given away meanwhile
            raise Conflict("container not running")
        pidfd_send_signal(pidfd, signal)
    finally:
        os.close(pidfd)
    return 0


def _signal(word: str) -> int:
    from signal import Signals

    if word.isdecimal() and 1 <= int(word) <= 64:
        return int(word)
    try:
        return int(Signals["SIG" + word.upper().removeprefix("SIG")])
    except KeyError as error:
        raise InvalidInput(f"unknown signal {word!r}", "a name like TERM, or a number") from error


def _delete(request: Request) -> int:
    id = request.arguments[0]
    force = "force" in request.options
    try:
        state = states.load(request.root, id)
    except NotFound:
        if force:
            return 0
        raise
    status = state.status()
    if status not in ("stopped", "created") and not force:
        raise Conflict(
            f"cannot delete container {id} that is not stopped: {status}",
            "stop it, or use --force",
        )
    _remove(state)
    return 0


def _remove(state: states.State) -> None:
    """Its processes are dead, its cgroup and its state gone."""
    import select

    if state.status() != "stopped":
        pidfd = pidfd_open(state.pid)
        try:
            pidfd_send_signal(pidfd, _SIGKILL)
            if cgroup := state.cgroup:
                cgroup.kill()  # the first one of a shared pid namespace does not take others along
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_STOP_SECONDS * 1000):
                raise Unavailable(f"container {state.id} does not end", "a device may be stuck")
        finally:
            os.close(pidfd)
    if cgroup := state.cgroup:
        cgroup.kill()
        cgroup.remove()
    states.remove(state.root, state.id)


_COMMANDS = {
    "create": _create,
    "run": _run,
    "start": _start,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
}
