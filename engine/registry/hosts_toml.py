"""containerd's hosts.toml: where a registry's repositories may be asked for, in order.

https://github.com/containerd/containerd/blob/main/docs/hosts.md
"""

from __future__ import annotations

import os

from engine.errors import InvalidInput
from engine.registry.fields import Fields, read_toml
from engine.registry.source import Source, Trust, split_location


def find_hosts_toml(
    directories: tuple[str, ...], domain: str, upstream: Source
) -> tuple[Source, ...] | None:
    """The mirrors and the server of the first file that is there for `domain`, or for all
    registries; None when there is none. Raises InvalidInput."""
    host, colon, port = domain.rpartition(":")
    names = [domain, f"{host}_{port}_"] if colon else [domain]
    for name in (*names, "_default"):
        for directory in directories:
            path = f"{directory}/{name}/hosts.toml"
            document = read_toml(path)
            if document is not None:
                return _sources(Fields(document, path), domain, upstream)
    return None


def named_domains(directories: tuple[str, ...]) -> list[str]:
    """The registries that have a file of their own; `_default` for all others."""
    found: list[str] = []
    for directory in directories:
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        for name in names:
            if os.path.exists(f"{directory}/{name}/hosts.toml"):
                host, _, port = name.removesuffix("_").rpartition("_")
                is_old = name.endswith("_") and port.isdecimal()
                found.append(f"{host}:{port}" if is_old else name)
    return list(dict.fromkeys(found))


def _sources(fields: Fields, domain: str, upstream: Source) -> tuple[Source, ...]:
    directory = os.path.dirname(fields.where)
    found = [
        _source(url, host, directory, domain, upstream)._replace(is_mirror=True)
        for url, host in fields.tables("host")
    ]
    server = fields.text("server")
    last = _source(server, fields, directory, "", upstream) if server else upstream
    return (*found, last)


def _source(url: str, fields: Fields, directory: str, domain: str, upstream: Source) -> Source:
    scheme, name, path = split_location(url, fields.where)
    if fields.flag("override_path"):
        base = f"/{path}" if path else ""
    else:
        base = f"/{path}" if path == "v2" or path.endswith("/v2") else f"/{path}/v2"
        base = base.replace("//", "/")
    able = fields.texts("capabilities") or ["pull", "resolve", "push"]
    unchecked = fields.flag("skip_verify")
    trust = Trust(
        tuple(os.path.join(directory, each) for each in fields.texts("ca")),
        tuple(_pairs(fields, directory)),
        unchecked,
    )
    return Source(
        name=name,
        path=upstream.path,
        base=base,
        scheme=scheme,
        resolves="resolve" in able,
        pulls="pull" in able,
        namespace=domain,
        headers=tuple(_headers(fields)),
        trust=trust,
    )


def _pairs(fields: Fields, directory: str) -> list[tuple[str, str]]:
    """`client`: a file that holds both, several of them, or pairs of certificate and key."""
    if "client" not in fields:
        return []
    try:
        entries: list[object] = list(fields.texts("client"))
    except InvalidInput:
        entries = fields.entries("client")
    pairs = []
    for entry in entries:
        files = [entry, entry] if isinstance(entry, str) else entry
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise InvalidInput(f"{fields.where}: client: expected files, or pairs of them")
        if len(files) != 2:
            raise InvalidInput(f"{fields.where}: client: expected a certificate and its key")
        certificate, key = files
        files = [certificate, key or certificate]
        pairs.append((os.path.join(directory, files[0]), os.path.join(directory, files[1])))
    return pairs


def _headers(fields: Fields) -> list[tuple[str, str]]:
    table = fields.table("header")
    found = []
    for name in table.names():
        value = ", ".join(table.texts(name))
        if not name.isascii() or not name.isprintable() or " " in name or ":" in name:
            raise InvalidInput(f"{table.where}: {name!r} is no header's name")
        if not value.isprintable() or not value.isascii():
            raise InvalidInput(f"{table.where}: {name}: characters that have no place in one")
        found.append((name, value))
    return found
