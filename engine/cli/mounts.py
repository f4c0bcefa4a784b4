"""`--mount` and the rarer words of `-v`: https://github.com/docker/cli/blob/master/opts/mount.go.

Imported only where they are given.
"""

from __future__ import annotations

import csv
import os

from engine.errors import InvalidInput, Unsupported
from engine.model.container import MountRequest
from engine.named_tuple import NamedTuple

PROPAGATION = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
_HINT = "for example type=bind,source=/srv,target=/data,readonly"
_BARE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KEYS = (
    "type", "source", "target", "readonly", "consistency", "bind-propagation",
    "bind-nonrecursive", "bind-recursive", "bind-create-src", "volume-nocopy", "volume-subpath",
    "volume-label", "volume-driver", "volume-opt", "image-subpath", "tmpfs-size", "tmpfs-mode",
)  # fmt: skip
_NOT_BUILT = ("volume-subpath", "volume-label", "volume-driver", "volume-opt", "image-subpath")
_TYPES = ("bind", "volume", "tmpfs")


class Requested(NamedTuple):
    """What one `--mount` asks for: a mount, or a tmpfs as path and options."""

    mount: MountRequest | None = None
    tmpfs: tuple[str, str] = ("", "")


def parse_mount(text: str) -> Requested:
    """`type=bind,src=/srv,dst=/data`. Raises InvalidInput, Unsupported, in docker's words."""
    fields = _fields(text)
    kind = fields.get("type", "volume").lower()
    source, target = fields.get("source", ""), fields.get("target", "")
    for prefix in _TYPES:
        given = [key for key in fields if key.startswith(f"{prefix}-")]
        if given and kind in _TYPES and kind != prefix:
            raise InvalidInput(f"cannot mix '{prefix}-*' options with mount type '{kind}'", _HINT)
    if not target:
        raise InvalidInput("target is required", _HINT)
    if kind not in _TYPES:
        if kind in ("image", "npipe", "cluster"):
            raise Unsupported(f"mount type {kind}: not supported by pydock yet", _HINT)
        raise _bad(kind, "mount type unknown")
    for key in _NOT_BUILT:
        if key in fields:
            raise Unsupported(f"--mount {key}: not supported by pydock yet", "leave it out")
    if not target.startswith("/"):
        raise _bad(kind, f"invalid mount path: '{target}' mount path must be absolute")
    if os.path.normpath(target).strip("/") == "":
        raise _bad(kind, "invalid specification: destination can't be '/'")
    read_only = _truth(fields, "readonly")
    if kind == "tmpfs":
        if source:
            raise _bad(kind, "field Source must not be specified")
        return Requested(tmpfs=(target, _tmpfs_options(fields, read_only=read_only)))
    if kind == "volume":
        nocopy = _truth(fields, "volume-nocopy")
        return Requested(MountRequest("volume", source, target, read_only, nocopy))
    if not source:
        raise _bad(kind, "field Source must not be empty")
    if source.startswith("."):
        source = os.path.abspath(source)
    if not source.startswith("/"):
        raise _bad(kind, f"invalid mount path: '{source}' mount path must be absolute")
    return Requested(
        MountRequest(
            "bind",
            os.path.normpath(source),
            target,
            read_only,
            options=_bind_options(fields, read_only=read_only),
            must_exist=not _truth(fields, "bind-create-src"),
        )
    )


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    rows = list(csv.reader([text]))
    for field in rows[0] if rows else ():
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in _BARE:
            raise InvalidInput(f"invalid field '{field}' must be a key=value pair", _HINT)
        key = _NAMES.get(key, key)
        if key not in _KEYS:
            raise InvalidInput(f"unexpected key '{key}' in '{field}'", _HINT)
        found[key] = value.strip() if equals else "true"
    return found


def _truth(fields: dict[str, str], key: str) -> bool:
    value = fields.get(key, "false")
    if value not in _TRUE + _FALSE:
        raise InvalidInput(f"invalid value for {key}: {value}", "true or false")
    return value in _TRUE


def _bind_options(fields: dict[str, str], *, read_only: bool) -> tuple[str, ...]:
    """Words of mount(8) that come behind our own."""
    options: list[str] = []
    propagation = fields.get("bind-propagation", "").lower()
    if propagation:
        if propagation not in PROPAGATION:
            raise _bad("bind", f"invalid propagation mode: {propagation}")
        options.append(propagation)
    recursive = fields.get("bind-recursive", "enabled")
    if recursive not in ("enabled", "disabled", "writable", "readonly"):
        raise InvalidInput(
            f"invalid value for bind-recursive: {recursive} "
            '(must be "enabled", "disabled", "writable", or "readonly")',
            "enabled is the default",
        )
    if recursive in ("writable", "readonly") and not read_only:
        raise InvalidInput(
            f"option 'bind-recursive={recursive}' requires 'readonly' to be specified in "
            "conjunction",
            "add readonly",
        )
    if recursive == "writable":
        raise Unsupported(
            "--mount bind-recursive=writable: not supported by pydock yet",
            "bind-recursive=disabled leaves out what is mounted below",
        )
    if recursive == "disabled" or _truth(fields, "bind-nonrecursive"):
        options.append("bind")
    return tuple(options)


def _tmpfs_options(fields: dict[str, str], *, read_only: bool) -> str:
    from engine.units import parse_size

    options = ["ro"] if read_only else []
    if "tmpfs-size" in fields:
        try:
            options.append(f"size={parse_size(fields['tmpfs-size'])}")
        except InvalidInput as error:
            said = f"invalid value for tmpfs-size: {fields['tmpfs-size']}"
            raise InvalidInput(said, "for example 64m") from error
    if "tmpfs-mode" in fields:
        mode = fields["tmpfs-mode"]
        if not mode or set(mode) - set("01234567") or len(mode) > 5:
            raise InvalidInput(f"invalid value for tmpfs-mode: {mode}", "octal, for example 1770")
        options.append(f"mode={mode}")
    return ",".join(options)


def _bad(kind: str, problem: str) -> InvalidInput:
    return InvalidInput(f'invalid mount config for type "{kind}": {problem}', _HINT)
