"""`version`, `info`, `system fsck`, `demo`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from engine import docker_json, units
from engine.cli.parser import Command, Flag
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.cli.call import Call

_FORMAT = Flag(
    "format",
    "Format output using a custom template:\n'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.",
    short="f",
    kind="string",
)


def _print(call: Call, document: dict[str, Any]) -> bool:
    """What `--format` asks for; False when it was not given."""
    style = call.one("format")
    if not style:
        return False
    from engine.cli import templates

    text = templates.to_json(document) if style == "json" else templates.parse(style)(document)
    call.output.text(text)
    return True


def _version(call: Call) -> int:
    from engine.cli.main import version

    failure: EngineError | None = None
    server: dict[str, Any] | None = None
    try:
        server = docker_json.version(call.engine.info)
    except EngineError as error:  # the client's part is said nonetheless
        failure = error
    number = version() if server is None else server["Version"]
    client = {
        "Version": number,
        "ApiVersion": docker_json.API_VERSION,
        "PythonVersion": sys.version.partition(" ")[0],
    }
    if not _print(call, {"Client": client, "Server": server}):
        call.output.line("Client: pydock")
        _pairs(call, client)
        if server is not None:
            call.output.line("")
            call.output.line("Engine: embedded")
            _pairs(call, {name: text for name, text in server.items() if name != "Platform"})
    if failure is not None:
        raise failure
    return 0


def _pairs(call: Call, pairs: dict[str, Any]) -> None:
    words = {
        "ApiVersion": "API version",
        "MinAPIVersion": "Minimum API version",
        "PythonVersion": "Python version",
        "KernelVersion": "Kernel",
        "Os": "OS",
    }
    for name, text in pairs.items():
        call.output.line(f" {f'{words.get(name, name)}:':<21}{text}")


VERSION = Command(
    "version",
    "[OPTIONS]",
    "Show the pydock version information",
    _version,
    (_FORMAT,),
    most=0,
)


def _info(call: Call) -> int:
    info, counts = call.engine.info, call.engine.system.counts()
    document, warnings = docker_json.info(info, counts), list(info.warnings)
    settings = None
    try:
        settings = call.engine.registries.settings()
        document |= docker_json.registries(settings)
    except EngineError as error:  # a broken file hides no more than itself
        warnings.append(error.message)
    if _print(call, document):
        return 0
    lines: list[tuple[str, object]] = [
        ("Containers", document["Containers"]),
        (" Running", counts.running),
        (" Paused", counts.paused),
        (" Stopped", counts.stopped),
        ("Images", counts.images),
        ("Engine Version", info.version),
        ("Storage Driver", document["Driver"]),
        *((f" {name}", value) for name, value in document["DriverStatus"]),
        ("Logging Driver", document["LoggingDriver"]),
        ("Cgroup Version", info.cgroup),
        ("Seccomp", "docker's default profile" if info.seccomp else "this kernel has none"),
        ("Kernel Version", info.kernel),
        ("Operating System", info.distribution),
        ("OSType", info.os),
        ("Architecture", document["Architecture"]),
        ("CPUs", info.cpus),
        ("Total Memory", units.binary_size(info.memory_bytes)),
        ("Name", info.name),
        ("ID", info.root_id),
        ("Root Dir", info.root),
        ("Run Dir", info.run_root),
    ]
    for name, value in lines:
        call.output.line(f"{name}: {value}")
    if settings and settings.insecure:
        call.output.line("Insecure Registries:")
        call.output.text("\n".join(f" {each}" for each in settings.insecure))
    if settings and settings.mirrors:
        call.output.line("Registry Mirrors:")
        call.output.text("\n".join(f" {place} ({name})" for name, place in settings.mirrors))
    call.output.flush()
    for warning in warnings:
        call.output.warn(f"WARNING: {warning}")
    return 0


INFO = Command(
    "info",
    "[OPTIONS]",
    "Display system-wide information",
    _info,
    (_FORMAT,),
    most=0,
    aliases="pydock system info, pydock info",
)


def _fsck(call: Call) -> int:
    left = found = 0
    for damage in call.engine.system.fsck(repair=call.on("repair")):
        found += 1
        left += not damage.repaired
        state = " (repaired)" if damage.repaired else ""
        call.output.line(f"{damage.kind} {damage.subject}: {damage.text}{state}")
    if not found:
        call.output.line("no damage found")
    elif left and not call.on("repair"):
        call.output.warn("hint: pydock fsck --repair mends what can be mended")
    return 1 if left else 0


FSCK = Command(
    "system fsck",
    "[OPTIONS]",
    "Check the store, and what the kernel holds for it",
    _fsck,
    (Flag("repair", "Mend what can be mended"),),
    most=0,
    aliases="pydock system fsck, pydock fsck",
)


def _demo_up(call: Call) -> int:
    from engine import demo

    call.is_demo = True
    demo.up(call.engine)
    return 0


DEMO_UP = Command(
    "demo up", "", "Make the demo's image, network, volume and containers", _demo_up, most=0
)


def _demo_down(call: Call) -> int:
    from engine import demo
    from engine.home import DEMO_ROOT, DEMO_RUN_ROOT

    root, run_root = call.roots
    if not demo.down(root or DEMO_ROOT, run_root or DEMO_RUN_ROOT):
        call.output.line("there is no demo")
    return 0


DEMO_DOWN = Command("demo down", "", "Remove every trace of the demo", _demo_down, most=0)
