"""`diff`, `commit`, `export`: what a container's file system has become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.files import write_to
from engine.cli.parser import Command, Flag

if TYPE_CHECKING:
    from engine.cli.call import Call


def _diff(call: Call) -> int:
    for change in call.engine.containers.changes(call.words[0]):
        call.output.line(f"{change.kind} {change.path}")
    return 0


DIFF = Command(
    "diff",
    "CONTAINER",
    "Inspect changes to files or directories on a container's filesystem",
    _diff,
    least=1,
    most=1,
    aliases="pydock container diff, pydock diff",
)


def _commit(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    with cancelled_by_signals() as cancel:
        identity = call.engine.containers.commit(
            call.words[0],
            call.words[1] if len(call.words) > 1 else None,
            author=call.one("author"),
            message=call.one("message"),
            changes=call.many("change"),
            pause=bool(call.value("pause", True)),
            cancel=cancel,
        )
    call.output.line(identity)
    return 0


COMMIT = Command(
    "commit",
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    _commit,
    (
        Flag(
            "author",
            'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")',
            short="a",
            kind="string",
        ),
        Flag("change", "Apply Dockerfile instruction to the created image", short="c", kind="list"),
        Flag("message", "Commit message", short="m", kind="string"),
        Flag("pause", "Pause container during commit", short="p", default="true"),
    ),
    least=1,
    most=2,
    aliases="pydock container commit, pydock commit",
)


def _export(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    with cancelled_by_signals() as cancel, write_to(call, "export") as output:
        call.engine.containers.export(call.words[0], output, cancel=cancel)
    return 0


EXPORT = Command(
    "export",
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
    _export,
    (Flag("output", "Write to a file, instead of STDOUT", short="o", kind="string"),),
    least=1,
    most=1,
    aliases="pydock container export, pydock export",
)
