"""`pull`: one image, or every tag of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag
from engine.errors import EngineError, InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.cli.progress import Display, RawJson
    from engine.engine import Cancel
    from engine.oci.reference import Reference


def pull(call: Call, ref: str, platform: str | None, *, quiet: bool, to_error: bool) -> None:
    """The image is here; progress is shown on the way, in docker's words."""
    from engine.cli.progress import cancelled_by_signals, show
    from engine.oci.reference import parse_reference

    display = None if quiet else show(call.output, "auto", to_error=to_error)
    with cancelled_by_signals() as cancel:
        state = _pull_one(call, parse_reference(ref), platform, display, cancel)
    if display is not None:
        display.say(state)


def _pull_one(
    call: Call,
    reference: Reference,
    platform: str | None,
    display: Display | RawJson | None,
    cancel: Cancel,
) -> str:
    """One image is here; docker's last line about it."""
    name = reference.familiar
    try:
        before = call.engine.images.inspect(name).summary.id
    except NotFound:
        before = ""
    if display is not None:
        display.say(
            f"Pulling from {_shown_path(reference)}", reference.tag or str(reference.digest)
        )
    progress = display.put if display is not None else None
    image = call.engine.images.pull(name, platform=platform, progress=progress, cancel=cancel)
    if display is not None:
        display.say(f"Digest: {image.digest}")
    news = "Image is up to date" if image.id == before else "Downloaded newer image"
    return f"Status: {news} for {name}"


def _shown_path(reference: Reference) -> str:
    from engine.oci.reference import DOCKER_HUB

    return reference.path if reference.domain == DOCKER_HUB else reference.familiar_name


def _pull(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals, show
    from engine.oci.reference import parse_reference

    ref, platform = call.words[0], call.one("platform") or None
    reference = parse_reference(ref)
    display = show(call.output, call.one("progress", "auto"))
    shown = None if call.on("quiet") else display
    with cancelled_by_signals() as cancel:
        if call.on("all-tags"):
            state = _pull_all(call, ref, reference, platform, shown, cancel)
        else:
            if reference.tag == "latest" and not ref.endswith(":latest") and shown is not None:
                shown.say("Using default tag: latest")
            state = _pull_one(call, reference, platform, shown, cancel)
    if shown is not None:
        shown.say(state)
    if shown is None or call.one("progress") != "rawjson":
        name = f"{reference.domain}/{reference.path}"
        call.output.line(name if call.on("all-tags") else reference.full)
    return 0


def _pull_all(
    call: Call,
    ref: str,
    reference: Reference,
    platform: str | None,
    display: Display | RawJson | None,
    cancel: Cancel,
) -> str:
    """Every tag that is an image is here; docker's last line about them."""
    if reference.digest or ref.endswith(f":{reference.tag}"):
        raise InvalidInput(
            "tag can't be used with --all-tags/-a", f"pydock pull -a {reference.familiar_name}"
        )
    states: list[str] = []
    failure: EngineError = NotFound(
        f"{reference.familiar_name} has no tags", f"check the name: {reference.familiar_name}"
    )
    for tag in call.engine.images.remote_tags(reference.familiar_name, cancel=cancel):
        each = reference._replace(tag=tag)
        try:
            states.append(_pull_one(call, each, platform, display, cancel))
        except (NotFound, Unsupported) as error:  # a signature, a chart, for another platform
            if display is not None:
                display.say(f"Skipped: {error.message}", tag)
            failure = error
    if not states:
        raise failure
    newer = any("newer" in state for state in states)
    news = "Downloaded newer image" if newer else "Image is up to date"
    return f"Status: {news} for {reference.familiar_name}"


PULL = Command(
    "pull",
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    _pull,
    (
        Flag("all-tags", "Download all tagged images in the repository", short="a"),
        Flag("platform", "Set platform if server is multi-platform capable", kind="string"),
        Flag(
            "progress", 'Set type of progress output ("auto", "plain", "tty", "rawjson")',
            kind="string", default='"auto"',
        ),
        Flag("quiet", "Suppress verbose output", short="q"),
    ),
    refused="--disable-content-trust",
    least=1,
    most=1,
    aliases="pydock image pull, pydock pull",
)  # fmt: skip
