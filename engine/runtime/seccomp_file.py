"""A profile of `--security-opt seccomp=FILE`, in docker's own format, made into a config.json's.

docker's has conditions (capabilities, architectures, kernel) that hold or not when a container is
made: github.com/moby/profiles/blob/main/seccomp/seccomp_linux.go, setupSeccomp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput
from engine.runtime.fields import list_of, object_of, text_of
from engine.runtime.seccomp_profile import GO_NAMES, native_architecture

if TYPE_CHECKING:
    from collections.abc import Collection


def resolve_profile(
    document: object, capabilities: Collection[str], machine: str, kernel: str
) -> dict[str, Any]:
    """linux.seccomp of a config.json, for a container with these (bounding) `capabilities` on
    `machine` and `kernel` release. Raises InvalidInput, in docker's words where it has any."""
    if not isinstance(document, dict):
        raise InvalidInput(
            f"decoding seccomp profile failed: expected an object, found {type(document).__name__}",
            "see https://docs.docker.com/engine/security/seccomp/",
        )
    native = native_architecture(machine)
    version = _version(kernel.split("-")[0])
    result: dict[str, Any] = {
        "defaultAction": text_of(document, "defaultAction"),
        "architectures": _architectures(document, native),
        "flags": list_of(document, "flags", str),
        "syscalls": [
            _rule(each)
            for each in list_of(document, "syscalls", dict)
            if _applies(each, capabilities, GO_NAMES[native], version)
        ],
    }
    for name in ("defaultErrnoRet", "listenerPath", "listenerMetadata"):
        if document.get(name) is not None:
            result[name] = document[name]
    return result


def _architectures(document: dict[str, Any], native: str) -> list[str]:
    plain = list_of(document, "architectures", str)
    mapped = list_of(document, "archMap", dict)
    if plain and mapped:
        raise InvalidInput(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either "
            "'architectures' or 'archMap'"
        )
    for each in mapped:
        if text_of(each, "architecture") == native:
            return [native, *list_of(each, "subArchitectures", str)]
    return plain


def _rule(document: dict[str, Any]) -> dict[str, Any]:
    name, names = text_of(document, "name"), list_of(document, "names", str)
    if name and names:
        raise InvalidInput(
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or "
            "'names'"
        )
    result: dict[str, Any] = {
        "names": names or [name],
        "action": text_of(document, "action"),
        "args": list_of(document, "args", dict),
    }
    if document.get("errnoRet") is not None:
        result["errnoRet"] = document["errnoRet"]
    return result


def _applies(
    document: dict[str, Any],
    capabilities: Collection[str],
    architecture: str,
    version: tuple[int, ...],
) -> bool:
    excludes, includes = object_of(document, "excludes"), object_of(document, "includes")
    least, above = text_of(includes, "minKernel"), text_of(excludes, "minKernel")
    architectures = list_of(includes, "arches", str)
    return not (
        architecture in list_of(excludes, "arches", str)
        or any(each in capabilities for each in list_of(excludes, "caps", str))
        or (above and version >= _version(above))
        or (architectures and architecture not in architectures)
        or any(each not in capabilities for each in list_of(includes, "caps", str))
        or (least and version < _version(least))
    )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    if len(parts) < 2 or not all(each.isdecimal() for each in parts):
        raise InvalidInput(
            f"invalid kernel version in the seccomp profile: {text!r}", 'write "MAJOR.MINOR"'
        )
    return tuple(map(int, parts))
