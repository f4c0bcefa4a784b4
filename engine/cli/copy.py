"""`copy`: an image from any place to any other, in skopeo's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag

if TYPE_CHECKING:
    from engine.cli.call import Call


def _copy(call: Call) -> int:
    from engine.cli.progress import COPY_WORDS, cancelled_by_signals, show

    source, target = call.words
    display = show(call.output, call.one("progress", "auto"), words=COPY_WORDS)
    shown = None if call.on("quiet") else display
    with cancelled_by_signals() as cancel:
        copied = call.engine.images.copy(
            source,
            target,
            platform=call.one("platform") or None,
            every=call.on("all"),
            progress=shown.put if shown is not None else None,
            cancel=cancel,
        )
    if shown is not None:
        shown.say(f"{target}: digest: {copied.digest} size: {copied.size_bytes}")
    return 0


COPY = Command(
    "copy",
    "[OPTIONS] SOURCE DESTINATION\n\n"
    "Both are docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG],\n"
    "docker-archive:FILE[:REF], dir:DIR, store:NAME or NAME",
    "Copy an image between registries, files and this store",
    _copy,
    (
        Flag("all", "Copy all platforms, if it is an image for several", short="a"),
        Flag("platform", "Copy the image for this platform", kind="string"),
        Flag(
            "progress", 'Set type of progress output ("auto", "plain", "tty", "rawjson")',
            kind="string", default='"auto"',
        ),
        Flag("quiet", "Say nothing of progress", short="q"),
    ),
    refused="--format -f --preserve-digests --sign-by --remove-signatures --multi-arch",
    least=2,
    most=2,
)  # fmt: skip
