"""`push`: one image, or every tag of a repository that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag, integer
from engine.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.oci.reference import Reference


def _push(call: Call) -> int:
    from engine.cli.progress import PUSH_WORDS, cancelled_by_signals, show
    from engine.oci.reference import parse_reference

    ref, all_tags = call.words[0], call.on("all-tags")
    reference = parse_reference(ref)
    mode = call.one("progress", "auto")
    display = show(call.output, mode, words=PUSH_WORDS)
    shown = None if call.on("quiet") else display
    has_tag = ref.endswith(f":{reference.tag}")
    if all_tags and (has_tag or reference.digest):
        raise InvalidInput(
            "tag can't be used with --all-tags/-a", f"pydock push -a {reference.familiar_name}"
        )
    if shown is not None:
        if not all_tags and not has_tag and reference.tag:
            shown.say("Using default tag: latest")
        shown.say(f"The push refers to repository [{reference.domain}/{reference.path}]")
    with cancelled_by_signals() as cancel:
        for name in _tags(call, reference) if all_tags else [reference.familiar]:
            pushed = call.engine.images.push(
                name,
                platform=call.one("platform") or None,
                compression=call.one("compression") or None,
                level=call.value("compression-level"),
                progress=shown.put if shown is not None else None,
                cancel=cancel,
            )
            if shown is not None:
                tag = parse_reference(pushed.reference).tag
                shown.say(f"{tag}: digest: {pushed.digest} size: {pushed.size_bytes}")
    if shown is None:
        name = f"{reference.domain}/{reference.path}"
        call.output.line(name if all_tags else reference.full)
    return 0


def _tags(call: Call, reference: Reference) -> list[str]:
    """Every name of the repository that is here."""
    prefix = f"{reference.familiar_name}:"
    names = sorted(
        name
        for image in call.engine.images.list(filters=[("reference", reference.familiar_name)])
        for name in image.references
        if name.startswith(prefix)
    )
    if not names:
        raise NotFound(
            f"an image does not exist locally with the tag: {reference.familiar_name}",
            f"pydock tag IMAGE {reference.familiar_name}:TAG gives one that name",
        )
    return names


PUSH = Command(
    "push",
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to a registry",
    _push,
    (
        Flag("all-tags", "Push all tags of an image to the repository", short="a"),
        Flag(
            "compression", 'Compression of layers that have none yet ("gzip", "zstd", "none")',
            kind="string", default='"gzip"',
        ),
        Flag("compression-level", "How much: gzip 1-9, zstd 1-22", kind="int", read=integer),
        Flag("platform", "Push a platform-specific manifest as a single-platform image to the "
             "registry", kind="string"),
        Flag(
            "progress", 'Set type of progress output ("auto", "plain", "tty", "rawjson")',
            kind="string", default='"auto"',
        ),
        Flag("quiet", "Suppress verbose output", short="q"),
    ),
    refused="--disable-content-trust",
    least=1,
    most=1,
    aliases="pydock image push, pydock push",
)  # fmt: skip
