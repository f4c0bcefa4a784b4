"""`pydock`: docker's verbs over this host's own engine.

A command's file is imported when its verb is typed: what `pydock ps` does not need, it does not
load. tests/engine/cli/test_main.py holds the list.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from engine.cli import parser
from engine.cli.output import Output
from engine.cli.parser import Command, Flag
from engine.errors import EngineError, InvalidInput, Unsupported

if TYPE_CHECKING:
    from engine.cli.call import Connect
    from engine.engine import Engine

# Where each verb is: file and name.
COMMON = {
    "run": "run:RUN",
    "exec": "attached:EXEC",
    "ps": "containers:PS",
    "pull": "pull:PULL",
    "images": "images:IMAGES",
    "version": "system:VERSION",
    "info": "system:INFO",
}
OTHERS = {
    "analyze": "layers:ANALYZE",
    "attach": "attached:ATTACH",
    "commit": "changes:COMMIT",
    "compare": "compare:COMPARE",
    "copy": "copy:COPY",
    "cp": "cp:CP",
    "create": "run:CREATE",
    "diff": "changes:DIFF",
    "events": "events:EVENTS",
    "export": "changes:EXPORT",
    "fsck": "system:FSCK",
    "history": "images:HISTORY",
    "import": "archives:IMPORT",
    "inspect": "inspect:INSPECT",
    "kill": "lifecycle:KILL",
    "load": "archives:LOAD",
    "login": "registry:LOGIN",
    "logout": "registry:LOGOUT",
    "logs": "logs:LOGS",
    "pause": "lifecycle:PAUSE",
    "port": "containers:PORT",
    "push": "push:PUSH",
    "rename": "lifecycle:RENAME",
    "restart": "lifecycle:RESTART",
    "rm": "lifecycle:RM",
    "rmi": "images:RMI",
    "save": "archives:SAVE",
    "search": "registry:SEARCH",
    "start": "attached:START",
    "stats": "stats:STATS",
    "stop": "lifecycle:STOP",
    "tag": "images:TAG",
    "top": "containers:TOP",
    "unpause": "lifecycle:UNPAUSE",
    "update": "update:UPDATE",
    "wait": "lifecycle:WAIT",
}
GROUPS = {
    "container": (
        "Manage containers",
        {
            "attach": "attached:ATTACH",
            "commit": "changes:COMMIT",
            "cp": "cp:CP",
            "create": "run:CREATE",
            "diff": "changes:DIFF",
            "exec": "attached:EXEC",
            "export": "changes:EXPORT",
            "inspect": "inspect:CONTAINER_INSPECT",
            "kill": "lifecycle:KILL",
            "logs": "logs:LOGS",
            "ls": "containers:PS",
            "pause": "lifecycle:PAUSE",
            "port": "containers:PORT",
            "prune": "prune:CONTAINER_PRUNE",
            "rename": "lifecycle:RENAME",
            "restart": "lifecycle:RESTART",
            "rm": "lifecycle:RM",
            "run": "run:RUN",
            "start": "attached:START",
            "stats": "stats:STATS",
            "stop": "lifecycle:STOP",
            "top": "containers:TOP",
            "unpause": "lifecycle:UNPAUSE",
            "update": "update:UPDATE",
            "wait": "lifecycle:WAIT",
        },
    ),
    "demo": ("Manage the demo", {"down": "system:DEMO_DOWN", "up": "system:DEMO_UP"}),
    "image": (
        "Manage images",
        {
            "analyze": "layers:ANALYZE",
            "compare": "compare:COMPARE",
            "history": "images:HISTORY",
            "import": "archives:IMPORT",
            "inspect": "inspect:IMAGE_INSPECT",
            "load": "archives:LOAD",
            "ls": "images:IMAGES",
            "mount": "image_mounts:MOUNT",
            "prune": "prune:IMAGE_PRUNE",
            "pull": "pull:PULL",
            "push": "push:PUSH",
            "rm": "images:RMI",
            "save": "archives:SAVE",
            "tag": "images:TAG",
            "unmount": "image_mounts:UNMOUNT",
        },
    ),
    "manifest": (
        "Manage image manifests and manifest lists",
        {
            "annotate": "manifest:ANNOTATE",
            "create": "manifest:CREATE",
            "inspect": "manifest:INSPECT",
            "push": "manifest:PUSH",
            "rm": "manifest:RM",
        },
    ),
    "network": (
        "Manage networks",
        {
            "create": "networks:CREATE",
            "inspect": "inspect:NETWORK_INSPECT",
            "ls": "networks:LS",
            "prune": "prune:NETWORK_PRUNE",
            "rm": "networks:RM",
        },
    ),
    "system": (
        "Manage the engine",
        {
            "boot": "boot:BOOT",
            "df": "df:DF",
            "events": "events:EVENTS",
            "fsck": "system:FSCK",
            "halt": "boot:HALT",
            "info": "system:INFO",
            "install-service": "boot:INSTALL",
            "prune": "prune:SYSTEM_PRUNE",
        },
    ),
    "volume": (
        "Manage volumes",
        {
            "create": "volumes:CREATE",
            "inspect": "inspect:VOLUME_INSPECT",
            "ls": "volumes:LS",
            "prune": "prune:VOLUME_PRUNE",
            "rm": "volumes:RM",
        },
    ),
}
# docker's other names for the same.
_ALIASES = {
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "image": {"list": "ls", "remove": "rm", "umount": "unmount"},
    "network": {"list": "ls", "remove": "rm"},
    "volume": {"list": "ls", "remove": "rm"},
}
# The exit command's way in: not for people.
_HIDDEN = {"container": {"cleanup": "lifecycle:CLEANUP"}}
_NOT_YET = (
    "build builder buildx checkpoint compose config connect context disconnect node plugin "
    "secret service stack swarm trust"
)  # fmt: skip
GLOBALS = (
    Flag("root", "Where images and containers are kept", kind="string"),
    Flag("run-root", "Where run-time state is kept", kind="string"),
    Flag("version", "Print version information and quit", short="v"),
)
_REFUSED = (
    "--config -c --context -D --debug -H --host -l --log-level --tls --tlscacert --tlscert "
    "--tlskey --tlsverify"
)
BROKEN_PIPE_EXIT = 141  # what a shell shows for SIGPIPE
INTERRUPT_EXIT = 130


def main(
    argv: Sequence[str] | None = None,
    *,
    connect: Connect | None = None,
    output: Output | None = None,
) -> int:
    """The exit code of one command line; docker's. Tests give an engine and an output."""
    words = sys.argv[1:] if argv is None else argv
    output = output or _standard_output()
    try:
        return _guarded(words, connect, output)
    except BrokenPipeError:
        return _hang_up(BROKEN_PIPE_EXIT)
    except EngineError as error:
        return _hang_up(error.exit_code)  # it could not even be said


def _guarded(words: Sequence[str], connect: Connect | None, output: Output) -> int:
    """The exit code, after every failure is said. Raises BrokenPipeError, and Unavailable when
    nothing can be said any more."""
    try:
        code = _run(words, connect, output)
        output.flush()
        return code
    except EngineError as error:
        output.error(error)
        return error.exit_code
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return INTERRUPT_EXIT
    except Exception as error:
        if os.environ.get("PYDOCK_TRACEBACK") == "1":
            raise
        output.warn(f"pydock: {type(error).__name__}: {error}: this is a bug")
        output.warn("hint: PYDOCK_TRACEBACK=1 shows where")
        return 1


def _hang_up(code: int) -> int:
    """Nobody reads any more: what is left in buffers must not be tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (AttributeError, OSError, ValueError):  # it is not a file
            continue
    os.close(nowhere)
    return code


def _standard_output() -> Output:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened must not become the output
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None or sys.stderr is None:
        return Output(open(1, "wb", closefd=False), open(2, "wb", closefd=False), terminal=False)
    return Output(sys.stdout.buffer, sys.stderr.buffer, terminal=sys.stdout.isatty())


def _run(words: Sequence[str], connect: Connect | None, output: Output) -> int:
    taken = parser.take_flags(GLOBALS, words, "", _REFUSED, ordered=True)
    if taken.on("version"):
        output.line(f"pydock version {version()}")
        return 0
    if taken.on("help") or not taken.words or list(taken.words) == ["help"]:
        output.text(_help())
        return 0
    asked = list(taken.words)
    if asked[0] == "help":
        asked = [*asked[1:], "--help"]
    if asked[0] in GROUPS and (len(asked) == 1 or asked[1] in ("--help", "-h")):
        output.text(_group_help(asked[0]))
        return 0
    command, rest = _find(asked)
    arguments = parser.parse(command, rest)
    if arguments.on("help"):
        output.text(parser.usage(command))
        return 0
    from engine.cli.call import Call

    root, run_root = taken.one("root") or None, taken.one("run-root") or None
    connect = connect or _connector(root, run_root, output, starting=command.starts)
    call = Call(arguments, output, connect, roots=(root, run_root))
    try:
        return command.run(call)
    finally:
        call.close()


def _connector(
    root: str | None, run_root: str | None, output: Output, *, starting: bool
) -> Connect:
    def warn(text: str) -> None:
        output.warn(f"WARNING: {text}")

    def open_engine(demo: bool) -> Engine:
        from engine.connect import connect  # brings the whole engine: not for --help

        return connect(root, run_root, demo=demo, starting=starting, warn=warn)

    return open_engine


def _find(words: list[str]) -> tuple[Command, list[str]]:
    """The command that the first words name, and what is behind them."""
    name = words[0]
    if name in GROUPS:
        group = GROUPS[name][1] | _HIDDEN.get(name, {})
        verb = _ALIASES.get(name, {}).get(words[1], words[1])
        if verb in group:
            return load(group[verb]), words[2:]
        name = f"{name} {words[1]}"
    elif name in COMMON or name in OTHERS:
        return load(COMMON.get(name) or OTHERS[name]), words[1:]
    if name.rpartition(" ")[2] in _NOT_YET.split():
        raise Unsupported(
            f"command {name}: not supported by pydock yet", "'pydock --help' lists what there is"
        )
    raise InvalidInput(f"unknown command: pydock {name}", parser.see(name.rpartition(" ")[0]))


def load(where: str) -> Command:
    """The command at `file:NAME`."""
    module, _, name = where.partition(":")
    command: Command = getattr(import_module(f"engine.cli.{module}"), name)
    return command


def version() -> str:
    """Of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("pydock-tui")
    except PackageNotFoundError:
        return "unknown"


def _help() -> str:
    def section(title: str, entries: Sequence[tuple[str, str]]) -> list[str]:
        return ["", f"{title}:", *(f"  {name:<11} {text}" for name, text in entries)]

    lines = ["Usage:  pydock [OPTIONS] COMMAND", "", "Containers without a daemon"]
    lines += section("Common Commands", [(name, load(at).text) for name, at in COMMON.items()])
    lines += section("Management Commands", [(name, text) for name, (text, _) in GROUPS.items()])
    lines += section("Commands", [(name, load(at).text) for name, at in OTHERS.items()])
    lines += ["", "Global Options:", *parser.options(GLOBALS)]
    lines += ["", "Run 'pydock COMMAND --help' for more information on a command."]
    return "\n".join(lines)


def _group_help(name: str) -> str:
    text, group = GROUPS[name]
    lines = [f"Usage:  pydock {name} COMMAND", "", text, "", "Commands:"]
    width = max(11, *map(len, group))
    lines += [f"  {verb:<{width}} {load(at).text}" for verb, at in group.items()]
    lines += ["", f"Run 'pydock {name} COMMAND --help' for more information on a command."]
    return "\n".join(lines)
