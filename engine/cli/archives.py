"""`save`, `load` and `import`: images as archives, and an image of a tar."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from engine.cli.files import read_from, write_to
from engine.cli.parser import Command, Flag
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.cli.call import Call


def _save(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    with cancelled_by_signals() as cancel, write_to(call, "save") as output:
        call.engine.images.save(
            call.words, output, platform=call.one("platform") or None, cancel=cancel
        )
    return 0


SAVE = Command(
    "save",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    _save,
    (
        Flag("output", "Write to a file, instead of STDOUT", short="o", kind="string"),
        Flag("platform", "Save only the given platform variant", kind="string"),
    ),
    least=1,
    aliases="pydock image save, pydock save",
)


def _load(call: Call) -> int:
    if not call.one("input") and os.isatty(0):
        raise InvalidInput("requested load from stdin, but stdin is empty", "pydock load -i FILE")
    with read_from(call.one("input") or "-") as archive:
        return _load_from(call, archive)


def _load_from(call: Call, archive: IO[bytes]) -> int:
    from engine.cli.progress import Display, cancelled_by_signals

    # In a pipe docker says nothing of layers; on a terminal, how far it is.
    shown = call.output.is_terminal and not call.on("quiet")
    display = Display(call.output) if shown else None
    with cancelled_by_signals() as cancel:
        names = call.engine.images.load(
            archive,
            platform=call.one("platform") or None,
            progress=display.put if display else None,
            cancel=cancel,
        )
    for name in names:
        kind = "image ID" if name.startswith("sha256:") else "image"
        call.output.line(f"Loaded {kind}: {name}")
    return 0


LOAD = Command(
    "load",
    "[OPTIONS]",
    "Load an image from a tar archive or STDIN",
    _load,
    (
        Flag("platform", "Load only the given platform variant", kind="string"),
        Flag("input", "Read from tar archive file, instead of STDIN", short="i", kind="string"),
        Flag("quiet", "Suppress the load output", short="q"),
    ),
    most=0,
    aliases="pydock image load, pydock load",
)


def _import(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    source = call.words[0]
    with cancelled_by_signals() as cancel, read_from(source) as archive:
        identity = call.engine.images.import_(
            archive,
            call.words[1] if len(call.words) > 1 else None,
            changes=call.many("change"),
            message=call.one("message") or f"Imported from {source}",
            platform=call.one("platform") or None,
            cancel=cancel,
        )
    call.output.line(identity)
    return 0


IMPORT = Command(
    "import",
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    _import,
    (
        Flag("change", "Apply Dockerfile instruction to the created image", short="c", kind="list"),
        Flag("message", "Set commit message for imported image", short="m", kind="string"),
        Flag("platform", "Set platform if server is multi-platform capable", kind="string"),
    ),
    least=1,
    most=2,
    aliases="pydock image import, pydock import",
)
