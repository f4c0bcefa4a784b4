"""Which packages are installed, and which live files are theirs.

dpkg's status and lists (distroless' status.d too), apk's database, rpm's as SQLite.

https://www.debian.org/doc/debian-policy/ch-controlfields.html · deb(5)
https://wiki.alpinelinux.org/wiki/Apk_spec
https://rpm-software-management.github.io/rpm/manual/format_header.html
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence

from engine.layers.contents import Contents, read
from engine.layers.files import Files, LiveFile
from engine.model.analysis import Package
from engine.named_tuple import NamedTuple

_DPKG = b"var/lib/dpkg/"
_APK = (b"lib/apk/db/installed", b"usr/lib/apk/db/installed")
_RPM = (b"var/lib/rpm/rpmdb.sqlite", b"usr/lib/sysimage/rpm/rpmdb.sqlite")


class Installed(NamedTuple):
    """A package with its files; `fields` are what its database says of it."""

    kind: str
    name: str
    version: str
    fields: Mapping[str, str]
    files: tuple[LiveFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def find_packages(files: Files, contents: Contents) -> list[Installed]:
    """Every installed package once, most bytes first."""
    found = [*_dpkg(files, contents), *_apk(files, contents), *_rpm(files, contents)]
    found.sort(key=lambda each: (-each.size_bytes, each.kind, each.name))
    return found


def as_package(installed: Installed) -> Package:
    """As clients see it."""
    by_layer: dict[int, int] = {}
    for file in installed.files:
        by_layer[file.layer] = by_layer.get(file.layer, 0) + file.size_bytes
    return Package(
        installed.kind,
        installed.name,
        installed.version,
        max(by_layer, key=lambda layer: (by_layer[layer], layer), default=-1),
        installed.size_bytes,
        sum(file.compressed_bytes for file in installed.files),
    )


# dpkg


def _dpkg(files: Files, contents: Contents) -> Iterator[Installed]:
    wanted = [
        file
        for file in files.live
        if file.path.startswith(_DPKG)
        and (
            file.path == _DPKG + b"status"
            or file.path.startswith(_DPKG + b"status.d/")
            or (file.path.startswith(_DPKG + b"info/") and file.path.endswith(b".list"))
        )
    ]
    if not wanted:
        return
    texts = read(contents, wanted)
    stanzas: list[dict[str, str]] = []
    lists: dict[str, bytes] = {}
    for file in wanted:
        data = texts.get(file.node, b"")
        if file.path.endswith(b".list"):
            name = file.path.rpartition(b"/")[2][:-5].decode("utf-8", "replace")
            lists[name] = data
        elif not file.path.endswith(b".md5sums"):
            stanzas += parse_stanzas(data.decode("utf-8", "replace"))
    owned = _Owned(files)
    for fields in stanzas:
        if "installed" not in fields.get("Status", "install ok installed").split():
            continue
        name = fields.get("Package", "")
        listed = lists.get(name) or lists.get(f"{name}:{fields.get('Architecture', '')}") or b""
        taken = owned.take(line.strip(b"/") for line in listed.split(b"\n"))
        yield Installed("deb", name, fields.get("Version", ""), fields, taken)


def parse_stanzas(text: str) -> list[dict[str, str]]:
    """The stanzas of a control file; a field's further lines are left out."""
    stanzas = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t")):
                fields[name] = value.strip()
        if fields:
            stanzas.append(fields)
    return stanzas


class _Owned:
    """Live files by the names that packages know them by; each belongs to one package."""

    def __init__(self, files: Files) -> None:
        self._by_path = files.by_path
        self._taken: set[int] = set()

    def take(self, paths: Iterator[bytes]) -> tuple[LiveFile, ...]:
        found = []
        for path in paths:
            # /bin and /lib are links into /usr now, but packages still say /bin/sh.
            file = self._by_path.get(path) or self._by_path.get(b"usr/" + path)
            if file is not None and file.node not in self._taken:
                self._taken.add(file.node)
                found.append(file)
        return tuple(found)


# apk


def _apk(files: Files, contents: Contents) -> Iterator[Installed]:
    database = next((files.by_path[path] for path in _APK if path in files.by_path), None)
    if database is None:
        return
    data = read(contents, [database]).get(database.node, b"")
    owned = _Owned(files)
    for block in data.split(b"\n\n"):
        fields: dict[str, str] = {}
        paths: list[bytes] = []
        directory = b""
        for line in block.split(b"\n"):
            key, _, value = line.partition(b":")
            if key == b"F":
                directory = value
            elif key == b"R":
                paths.append(directory + b"/" + value if directory else value)
            elif len(key) == 1:
                fields.setdefault(key.decode("ascii", "replace"), value.decode("utf-8", "replace"))
        if "P" in fields:
            taken = owned.take(iter(paths))
            yield Installed("apk", fields["P"], fields.get("V", ""), fields, taken)


# rpm

_NAME, _VERSION, _RELEASE, _ARCH = 1000, 1001, 1002, 1022
_DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORIES = 1116, 1117, 1118
_STRING, _STRINGS, _I18N = 6, 8, 9
_INT32 = 4


def _rpm(files: Files, contents: Contents) -> Iterator[Installed]:
    database = next((files.by_path[path] for path in _RPM if path in files.by_path), None)
    if database is None:
        return
    data = read(contents, [database]).get(database.node, b"")
    owned = _Owned(files)
    for header in _rpm_headers(data):
        with contextlib.suppress(struct.error, IndexError, ValueError):
            tags = parse_rpm_header(header)
            names = tags.get(_NAME) or [b""]
            version = b"-".join(
                part for tag in (_VERSION, _RELEASE) for part in (tags.get(tag) or [])[:1]
            )
            paths = _rpm_paths(tags)
            name = names[0].decode("utf-8", "replace")
            if name and name != "gpg-pubkey":
                taken = owned.take(iter(paths))
                yield Installed("rpm", name, version.decode("utf-8", "replace"), {}, taken)


def _rpm_headers(data: bytes) -> Sequence[bytes]:
    import sqlite3

    if not data.startswith(b"SQLite format 3\0"):
        return []
    connection = sqlite3.connect(":memory:")
    try:
        # In WAL mode there would have to be a second file: 1 is "legacy", for reading and writing.
        connection.deserialize(data[:18] + b"\1\1" + data[20:])
        return [bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages")]
    except sqlite3.Error:
        return []
    finally:
        connection.close()


def parse_rpm_header(header: bytes) -> dict[int, list[bytes]]:
    """The texts and 32-bit numbers (as their four bytes) of a header, by tag."""
    count, size = struct.unpack_from(">II", header, 0)
    if count > 65_536 or 8 + 16 * count + size > len(header):
        raise ValueError("a header that is cut")
    store = header[8 + 16 * count : 8 + 16 * count + size]
    tags: dict[int, list[bytes]] = {}
    for number in range(count):
        tag, kind, offset, items = struct.unpack_from(">IIII", header, 8 + 16 * number)
        if kind in (_STRING, _STRINGS, _I18N):
            tags[tag] = store[offset:].split(b"\0", items)[:items]
        elif kind == _INT32:
            tags[tag] = [store[offset + 4 * at : offset + 4 * at + 4] for at in range(items)]
    return tags


def _rpm_paths(tags: Mapping[int, list[bytes]]) -> list[bytes]:
    directories = tags.get(_DIRECTORIES, [])
    indexes = [int.from_bytes(each, "big") for each in tags.get(_DIRECTORY_INDEXES, [])]
    names = tags.get(_BASE_NAMES, [])
    return [
        (directories[index] + name).strip(b"/") for index, name in zip(indexes, names, strict=False)
    ]
