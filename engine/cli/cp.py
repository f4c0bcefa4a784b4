"""`cp`: files and directories between a container and this host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine import units
from engine.cli.files import read_from
from engine.cli.parser import Command, Flag
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.engine import Cancel

_HINT = "write CONTAINER:PATH for one side, and a path of this host, or -, for the other"
_DIGITS = 3  # docker's


def split(text: str) -> tuple[str, str]:
    """Container and path; no container for a path of this host. One that has a colon in it begins
    with a dot or a slash, as docker has it."""
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def _cp(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    for text, what in zip(call.words, ("source", "destination"), strict=True):
        if not text:
            raise InvalidInput(f"{what} can not be empty", _HINT)
    (from_, source), (to, target) = map(split, call.words)
    if from_ and to:
        raise InvalidInput(
            "copying between containers is not supported",
            "pydock cp CONTAINER:PATH - | pydock cp - CONTAINER:PATH",
        )
    if not from_ and not to:
        raise InvalidInput("must specify at least one container source", _HINT)
    with cancelled_by_signals() as cancel:
        if from_:
            return _out(call, cancel, from_, source, target)
        return _in(call, cancel, source, to, target)


def _out(call: Call, cancel: Cancel, ref: str, path: str, target: str) -> int:
    follow, containers = call.on("follow-link"), call.engine.containers
    if target == "-":
        if call.output.is_terminal:
            raise InvalidInput(
                "cowardly refusing to write a tar archive to a terminal",
                "redirect it, or name a path",
            )
        containers.read_path(ref, path, call.output.stream(), follow_link=follow, cancel=cancel)
        return 0
    size_bytes = containers.copy_out(
        ref, path, target, follow_link=follow, keep_owner=call.on("archive"), cancel=cancel
    )
    _tell(call, size_bytes, os.path.abspath(target))
    return 0


def _in(call: Call, cancel: Cancel, source: str, ref: str, path: str) -> int:
    containers = call.engine.containers
    if source == "-":
        with read_from("-") as archive:
            containers.write_path(ref, path, archive, cancel=cancel)
        return 0
    size_bytes = containers.copy_in(
        source, ref, path, follow_link=call.on("follow-link"), keep_owner=call.on("archive"),
        cancel=cancel,
    )  # fmt: skip
    _tell(call, size_bytes, f"{ref}:{path}")
    return 0


def _tell(call: Call, size_bytes: int, where: str) -> None:
    if not call.on("quiet"):
        call.output.warn(f"Successfully copied {units.human_size(size_bytes, _DIGITS)} to {where}")


CP = Command(
    "cp",
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n"
    "        pydock cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    _cp,
    (
        Flag("archive", "Archive mode (copy all uid/gid information)", short="a"),
        Flag("follow-link", "Always follow symbol link in SRC_PATH", short="L"),
        Flag("quiet", "Suppress progress output during copy", short="q"),
    ),
    least=2,
    most=2,
    aliases="pydock container cp, pydock cp",
)
