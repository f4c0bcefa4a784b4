"""Packages and their bytes, of the databases that distributions keep."""

import sqlite3
import struct
from pathlib import Path

import pytest

from engine.model.analysis import Package
from tests.support.advice import analysis_of, findings_of
from tests.support.tarball import file, hardlink, symlink

STATUS = b"""Package: base-files
Status: install ok installed
Essential: yes
Architecture: amd64
Version: 12
Description: files
 of the base

Package: curl
Status: install ok installed
Architecture: amd64
Version: 8.1
Depends: libcurl4 (= 8.1), zlib1g | other
Recommends: ca-certificates

Package: libcurl4
Status: install ok installed
Architecture: amd64
Version: 8.1

Package: ca-certificates
Status: install ok installed
Architecture: all
Version: 2024

Package: lonely
Status: install ok installed
Version: 1

Package: gcc-12
Status: install ok installed
Version: 12

Package: removed
Status: deinstall ok config-files
Version: 1
"""
EXTENDED = b"""Package: libcurl4
Auto-Installed: 1

Package: ca-certificates
Auto-Installed: 1

Package: lonely
Auto-Installed: 1
"""


def listed(name: bytes, *paths: bytes) -> bytes:
    return file(b"var/lib/dpkg/info/" + name + b".list", b"/.\n" + b"\n".join(paths) + b"\n")


DEBIAN = (
    file(b"var/lib/dpkg/status", STATUS)
    + symlink(b"lib", b"usr/lib")
    + listed(b"curl", b"/usr/bin", b"/usr/bin/curl")
    + listed(b"libcurl4:amd64", b"/lib/libcurl.so")  # it is in /usr now
    + listed(b"ca-certificates", b"/etc/ca")
    + listed(b"lonely", b"/usr/bin/lonely")
    + listed(b"gcc-12", b"/usr/bin/gcc-12")
    + file(b"usr/bin/curl", b"c" * 100)
    + file(b"usr/lib/libcurl.so", b"l" * 200)
    + file(b"etc/ca", b"a" * 300)
    + file(b"usr/bin/lonely", b"o" * 400)
    + file(b"usr/bin/gcc-12", b"g" * 500)
    + hardlink(b"usr/bin/gcc", b"usr/bin/gcc-12")
)


def named(packages: tuple[Package, ...]) -> dict[str, tuple[str, str, int, int]]:
    return {each.name: (each.kind, each.version, each.layer, each.size_bytes) for each in packages}


def test_debian(tmp_path: Path) -> None:
    found = analysis_of(tmp_path, DEBIAN, file(b"usr/bin/curl", b"C" * 150))
    assert named(found.packages) == {
        "gcc-12": ("deb", "12", 0, 500),
        "lonely": ("deb", "1", 0, 400),
        "ca-certificates": ("deb", "2024", 0, 300),
        "libcurl4": ("deb", "8.1", 0, 200),
        "curl": ("deb", "8.1", 1, 150),
        "base-files": ("deb", "12", -1, 0),
    }


def test_why_a_package_is_here(tmp_path: Path) -> None:
    states = file(b"var/lib/apt/extended_states", EXTENDED)
    found = findings_of(tmp_path, ("RUN apt-get install -y curl gcc-12", DEBIAN + states))
    assert {rule: each.raw_bytes for rule, each in found.items() if rule[0] == "P"} == {
        "P03": 300, "P04": 400, "P05": 500,
    }  # fmt: skip
    assert found["P03"].fix.splitlines() == [
        "-RUN apt-get install -y curl gcc-12",
        "+RUN apt-get install --no-install-recommends -y curl gcc-12",
        "packages: ca-certificates",
    ]
    assert "B04" not in found  # a hard link is no second file


def test_without_apts_notes_nothing_is_said_of_reasons(tmp_path: Path) -> None:
    found = findings_of(tmp_path, DEBIAN)
    assert {"P03", "P04"}.isdisjoint(found)


def test_distroless(tmp_path: Path) -> None:
    stanza = b"Package: base\nVersion: 1\n"
    found = analysis_of(tmp_path, file(b"var/lib/dpkg/status.d/base", stanza))
    assert named(found.packages) == {"base": ("deb", "1", -1, 0)}


def test_alpine(tmp_path: Path) -> None:
    database = (
        b"C:Q1x\nP:musl\nV:1.2\nF:lib\nR:ld-musl.so\n\n"
        b"P:zlib\nV:1.3\nF:\nF:usr/lib\nR:libz.so\nZ:Q1\nR:gone\n\n"
    )
    stream = file(b"lib/apk/db/installed", database)
    stream += file(b"lib/ld-musl.so", b"m" * 10) + file(b"usr/lib/libz.so", b"z" * 20)
    found = analysis_of(tmp_path, stream)
    assert named(found.packages) == {"zlib": ("apk", "1.3", 0, 20), "musl": ("apk", "1.2", 0, 10)}


def rpm_header(name: bytes, *paths: tuple[bytes, bytes]) -> bytes:
    """https://rpm-software-management.github.io/rpm/manual/format_header.html"""
    store, index = b"", b""
    for tag, kind, values in (
        (1000, 6, [name]), (1001, 6, [b"2.0"]), (1002, 6, [b"3.el9"]),
        (1116, 4, list(range(len(paths)))), (1117, 8, [leaf for _, leaf in paths]),
        (1118, 8, [where for where, _ in paths]),
    ):  # fmt: skip
        if not values:
            continue
        if kind == 4:
            store += bytes(-len(store) % 4)
        index += struct.pack(">IIII", tag, kind, len(store), len(values))
        for value in values:
            store += struct.pack(">I", value) if isinstance(value, int) else value + b"\0"
    return struct.pack(">II", len(index) // 16, len(store)) + index + store


def rpm_database(path: Path, *headers: bytes, wal: bool) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages(blob) VALUES(?)", [(each,) for each in headers])
    connection.commit()
    if wal:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("wal", [False, True])
def test_red_hat(tmp_path: Path, wal: bool) -> None:
    data = rpm_database(
        tmp_path / "rpm",
        rpm_header(b"bash", (b"/usr/bin/", b"bash")),
        rpm_header(b"none"),
        b"\0\0\0\x09 cut",
        wal=wal,
    )
    stream = file(b"var/lib/rpm/rpmdb.sqlite", data) + file(b"usr/bin/bash", b"b" * 70)
    found = analysis_of(tmp_path, stream)
    assert named(found.packages) == {
        "bash": ("rpm", "2.0-3.el9", 0, 70), "none": ("rpm", "2.0-3.el9", -1, 0),
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" + bytes(50), b"\xff" * 600])
def test_a_damaged_database_has_no_packages(tmp_path: Path, data: bytes) -> None:
    stream = file(b"var/lib/rpm/rpmdb.sqlite", data) + file(b"lib/apk/db/installed", data)
    assert analysis_of(tmp_path, stream + file(b"var/lib/dpkg/status", data)).packages == ()
