"""`manifest`: lists of images for several platforms, and what registries have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.cli.parser import Command, Flag

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.manifest import ManifestEntry, ManifestView

_LIST_INDENT = "   "  # docker's own lists have three blanks, all else tabs


def _create(call: Call) -> int:
    from engine.cli.progress import cancelled_by_signals

    name, *refs = call.words
    with cancelled_by_signals() as cancel:
        full = call.engine.manifests.create(name, refs, amend=call.on("amend"), cancel=cancel)
    call.output.line(f"Created manifest list {full}")
    return 0


CREATE = Command(
    "manifest create",
    "MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Create a local manifest list for annotating and pushing to a registry",
    _create,
    (Flag("amend", "Amend an existing manifest list", short="a"),),
    refused="--insecure",
    least=2,
)


def _annotate(call: Call) -> int:
    from engine.model.manifest import ManifestChange

    features = [each for text in call.many("os-features") for each in text.split(",")]
    change = ManifestChange(
        call.value("os"), call.value("arch"), call.value("variant"), call.value("os-version"),
        tuple(features) if features else None,
    )  # fmt: skip
    call.engine.manifests.annotate(call.words[0], call.words[1], change)
    return 0


ANNOTATE = Command(
    "manifest annotate",
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Add additional information to a local image manifest",
    _annotate,
    (
        Flag("arch", "Set architecture", kind="string"),
        Flag("os", "Set operating system", kind="string"),
        Flag("os-features", "Set operating system feature", kind="list"),
        Flag("os-version", "Set operating system version", kind="string"),
        Flag("variant", "Set architecture variant", kind="string"),
    ),
    least=2,
    most=2,
)


def _inspect(call: Call) -> int:
    import json

    from engine.cli.progress import cancelled_by_signals

    *within, ref = call.words
    verbose = call.on("verbose")
    with cancelled_by_signals() as cancel:
        view = call.engine.manifests.inspect(
            ref, within=within[0] if within else None, children=verbose, cancel=cancel
        )
    document: Any = json.loads(view.data)
    if verbose:
        document = [_verbose(view, entry) for entry in view.entries]
        if not view.is_list:
            (document,) = document
    indent = _LIST_INDENT if view.is_list and not verbose else "\t"
    call.output.text(json.dumps(document, indent=indent, ensure_ascii=False))
    return 0


def _verbose(view: ManifestView, entry: ManifestEntry) -> dict[str, Any]:
    """docker's `-v`: the descriptor, and the manifest itself twice."""
    import base64
    import json

    from engine.oci.descriptor import OCI_MANIFEST

    platform: dict[str, Any] = {"architecture": entry.architecture, "os": entry.os}
    for key, value in (
        ("os.version", entry.os_version),
        ("os.features", list(entry.os_features)),
        ("variant", entry.variant),
    ):
        if value:
            platform[key] = value
    kind = "OCIManifest" if entry.media_type == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": entry.reference,
        "Descriptor": {
            "mediaType": entry.media_type,
            "digest": entry.digest,
            "size": entry.size_bytes,
            "platform": platform,
        },
        "Raw": base64.b64encode(entry.data).decode(),
        kind: json.loads(entry.data),
    }


INSPECT = Command(
    "manifest inspect",
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Display an image manifest, or manifest list",
    _inspect,
    (Flag("verbose", "Output additional info including layers and platform", short="v"),),
    refused="--insecure",
    least=1,
    most=2,
)


def _push(call: Call) -> int:
    from engine.cli.progress import PUSH_WORDS, cancelled_by_signals, show

    # In a pipe docker says nothing of layers.
    shown = show(call.output, "auto", words=PUSH_WORDS) if call.output.is_terminal else None
    with cancelled_by_signals() as cancel:
        *members, root = call.engine.manifests.push(
            call.words[0],
            purge=call.on("purge"),
            progress=shown.put if shown is not None else None,
            cancel=cancel,
        )
    for each in members:
        call.output.line(f"Pushed ref {each.reference} with digest: {each.digest}")
    call.output.line(root.digest)
    return 0


PUSH = Command(
    "manifest push",
    "[OPTIONS] MANIFEST_LIST",
    "Push a manifest list to a repository",
    _push,
    (Flag("purge", "Remove the local manifest list after push", short="p"),),
    refused="--insecure",
    least=1,
    most=1,
)


def _rm(call: Call) -> int:
    return call.each(call.words, call.engine.manifests.remove, say=False)


RM = Command(
    "manifest rm",
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Delete one or more manifest lists from local storage",
    _rm,
    least=1,
)
