"""`inspect`, of every kind: docker's JSON, or a template over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine import docker_json
from engine.cli.parser import Command, Flag
from engine.errors import Conflict, EngineError, InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.cli.call import Call

Look = Callable[[str], dict[str, Any]]


def _container(call: Call) -> Look:
    def look(ref: str) -> dict[str, Any]:
        document = docker_json.container(call.engine.containers.inspect(ref))
        return document | _sizes(call, document) if call.on("size") else document

    return look


def _sizes(call: Call, document: dict[str, Any]) -> dict[str, int]:
    """What the container wrote, and all that it sees."""
    usage = call.engine.system.df()
    own = sum(each.size_bytes for each in usage.each_container if each.id == document["Id"])
    image = sum(each.size_bytes for each in usage.each_image if each.id == document["Image"])
    return {"SizeRw": own, "SizeRootFs": own + image}


def _image(call: Call) -> Look:
    return lambda ref: docker_json.image(call.engine.images.inspect(ref))


def _network(call: Call) -> Look:
    return lambda ref: docker_json.network(call.engine.networks.inspect(ref))


def _volume(call: Call) -> Look:
    return lambda ref: docker_json.volume(call.engine.volumes.inspect(ref))


_KINDS = {"container": _container, "image": _image, "network": _network, "volume": _volume}


def _any(call: Call) -> Look:
    kind = call.one("type")
    if kind:
        if kind not in _KINDS:
            raise InvalidInput(f'"{kind}" is not a valid value for --type', ", ".join(_KINDS))
        return _KINDS[kind](call)

    def look(ref: str) -> dict[str, Any]:
        for each in _KINDS.values():
            try:
                return each(call)(ref)
            except (NotFound, InvalidInput):  # not of this kind, or no name of this kind
                continue
            except Conflict:
                raise  # ambiguous
        raise NotFound(f"no such object: {ref}", "pydock ps -a, images, network ls, volume ls")

    return look


def _inspect(call: Call, look: Look) -> int:
    """What is found is printed though something else is not, as docker does."""
    documents: list[dict[str, Any]] = []
    failures: list[EngineError] = []
    for ref in call.words:
        try:
            documents.append(look(ref))
        except EngineError as error:
            failures.append(error)
    _print(call, documents)
    for failure in failures:
        call.output.error(failure)
    return 1 if failures else 0


def _print(call: Call, documents: Sequence[dict[str, Any]]) -> None:
    style = call.one("format")
    if style in ("", "json"):
        import json

        indent = None if style else 4
        separators = (",", ":") if style else None
        call.output.text(
            json.dumps(documents, indent=indent, separators=separators, ensure_ascii=False)
        )
        return
    from engine.cli.templates import parse

    render = parse(style)
    for document in documents:
        call.output.text(render(document))


def _command(kind: str, usage: str, text: str) -> Command:
    name = f"{kind} inspect"
    return Command(
        name, f"[OPTIONS] {usage}", text, lambda call: _inspect(call, _KINDS[kind](call)),
        (_FORMAT, _SIZE) if kind == "container" else (_FORMAT,),
        refused="--platform -v --verbose", least=1,
    )  # fmt: skip


_FORMAT = Flag(
    "format",
    "Format output using a custom template:\n'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.",
    short="f",
    kind="string",
)

_SIZE = Flag("size", "Display total file sizes if the type is container", short="s")

INSPECT = Command(
    "inspect",
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on Docker objects",
    lambda call: _inspect(call, _any(call)),
    (_FORMAT, _SIZE, Flag("type", "Only inspect objects of the given type", kind="string")),
    least=1,
)
CONTAINER_INSPECT = _command(
    "container",
    "CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
)
IMAGE_INSPECT = _command(
    "image", "IMAGE [IMAGE...]", "Display detailed information on one or more images"
)
NETWORK_INSPECT = _command(
    "network", "NETWORK [NETWORK...]", "Display detailed information on one or more networks"
)
VOLUME_INSPECT = _command(
    "volume", "VOLUME [VOLUME...]", "Display detailed information on one or more volumes"
)
