"""An image made from this host's own shell and tools, as an OCI layout in one tar.

Tools come from PATH, their libraries by DT_NEEDED and PT_INTERP. Its layers hold some waste on
purpose, so that the layers pane has something to say: a cache that a later layer deletes, and
data whose mode a later layer changes.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md · elf(5) · ld.so(8)
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import struct
import tarfile
from typing import IO

from engine.errors import Unavailable
from engine.named_tuple import NamedTuple

REFERENCE = "pydock/demo:1"
TOOLS = (
    "sh", "bash", "cat", "chmod", "cp", "date", "dd", "df", "du", "echo", "env", "expr", "false",
    "find", "grep", "head", "hostname", "id", "ls", "mkdir", "mv", "nproc", "ps", "rm", "sed",
    "seq", "sleep", "sort", "stat", "stty", "tail", "touch", "tr", "true", "uname", "wc",
)  # fmt: skip
_NEEDED = ("sh", "cat", "date", "dd", "rm", "sleep")
_DEFAULT_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

_SCRIPTS = {
    "web": """\
#!/bin/sh
# Answers nobody, but says so every second.
n=0
while :; do
    n=$((n + 1))
    case $((n % 13)) in
    5) echo "warn  slow query: SELECT * FROM cart took $((n % 400 + 200))ms" >&2 ;;
    9) echo "error upstream api timeout after 2000ms" >&2 ;;
    *) echo "info  GET /item/$n 200 $((n % 40 + 3))ms" ;;
    esac
    echo "$n" >>/data/requests
    sleep 1
done
""",
    "worker": """\
#!/bin/sh
# Computes now and then.
job=0
while :; do
    job=$((job + 1)); i=0
    while [ $i -lt 400000 ]; do i=$((i + 1)); done
    echo "info  job $job done"
    sleep 4
done
""",
    "cache": """\
#!/bin/sh
# Grows its memory within its limit, then begins again.
i=0
while :; do
    dd if=/dev/zero of=/dev/shm/block.$i bs=1048576 count=1 2>/dev/null
    i=$((i + 1))
    if [ $i -ge 44 ]; then rm /dev/shm/block.*; i=0; echo "info  cache emptied at 44M"; fi
    sleep 1
done
""",
}


class _Elf(NamedTuple):
    interpreter: str
    needed: tuple[str, ...]
    directories: tuple[str, ...]  # DT_RUNPATH, DT_RPATH


def _read_elf(path: str) -> _Elf | None:
    """What the dynamic linker reads of a 64-bit ELF file; None for anything else."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:5] != b"\x7fELF\x02":
        return None
    order = "<" if data[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", data, 32)
    size, count = struct.unpack_from(order + "HH", data, 54)
    interpreter, loads, dynamic = "", [], b""
    for i in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            order + "IIQQQQ", data, table + i * size
        )
        if kind == 1:
            loads.append((address, offset, length))
        elif kind == 2:
            dynamic = data[offset : offset + length]
        elif kind == 3:
            interpreter = data[offset : offset + length].rstrip(b"\0").decode()
    entries = list(struct.iter_unpack(order + "qQ", dynamic[: len(dynamic) // 16 * 16]))
    strings = next((value for tag, value in entries if tag == 5), 0)
    base = next((o + strings - a for a, o, n in loads if a <= strings < a + n), 0)

    def text(offset: int) -> str:
        return data[base + offset : data.index(b"\0", base + offset)].decode()

    needed = tuple(text(value) for tag, value in entries if tag == 1)
    origin = os.path.dirname(path)
    paths = [text(value) for tag, value in entries if tag in (15, 29)]
    directories = [
        entry.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
        for path in paths
        for entry in path.split(":")
    ]
    return _Elf(interpreter, needed, tuple(directories))


def _library_directories() -> list[str]:
    """Where ld.so looks beside its defaults: /etc/ld.so.conf and what it includes."""
    found: list[str] = []
    files = ["/etc/ld.so.conf"]
    while files:
        try:
            with open(files.pop(0)) as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                files += sorted(path for pattern in words[1:] for path in glob.glob(pattern))
            else:
                found += words
    return [*found, *_DEFAULT_DIRECTORIES]


def collect(tools: tuple[str, ...] = TOOLS) -> dict[str, str]:
    """Path in the image → real path on the host, of the tools found and all that they load.

    Raises Unavailable when a tool that the demo cannot do without is missing.
    """
    files: dict[str, str] = {}
    stack: list[str] = []
    for tool in tools:
        path = shutil.which(tool)
        if path:
            files[_canonical(path)] = os.path.realpath(path)
            stack.append(os.path.realpath(path))
        elif tool in _NEEDED:
            raise Unavailable(
                f"demo: {tool} is not in PATH", "the demo image is made of host tools"
            )
    directories = _library_directories()
    seen: set[str] = set()
    while stack:
        path = stack.pop()
        if path in seen:
            continue
        seen.add(path)
        elf = _read_elf(path)
        if elf is None:
            continue
        if elf.interpreter:
            files[_canonical(elf.interpreter)] = os.path.realpath(elf.interpreter)
        for name in elf.needed:
            for directory in (*elf.directories, *directories):
                library = os.path.join(directory, name)
                # A 32-bit library of the same name may stand first.
                if os.path.exists(library) and _read_elf(library):
                    files[_canonical(library)] = os.path.realpath(library)
                    stack.append(os.path.realpath(library))
                    break
    return files


def _canonical(path: str) -> str:
    """`path` with its directory's links resolved (/bin/sh is /usr/bin/sh on a merged /usr)."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


class _Layer:
    """One tar, in order of adding, with the parents that the host has as links kept as links."""

    def __init__(self, command: str) -> None:
        self.command = command
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)
        self._made: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent:
            self.directory(parent)
        if path not in self._made:
            self._made.add(path)
            self._add(path, tarfile.DIRTYPE, mode=mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(os.path.dirname(path))
        self._add(path, tarfile.REGTYPE, mode=mode, data=data)

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, mode=0o777, target=target)

    def whiteout(self, path: str) -> None:
        directory, name = os.path.split(path)
        self.directory(directory)
        self._add(f"{directory}/.wh.{name}", tarfile.REGTYPE, mode=0o644)

    def _add(
        self, path: str, kind: bytes, *, mode: int, data: bytes = b"", target: str = ""
    ) -> None:
        member = tarfile.TarInfo(path.strip("/"))
        member.type, member.mode, member.size, member.linkname = kind, mode, len(data), target
        self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def _layers() -> list[_Layer]:
    noise = random.Random(1)  # the same image every time, on the same host
    files = collect()
    base = _Layer("COPY shell and libraries /")
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.islink(f"/{name}"):
            base.link(name, os.readlink(f"/{name}"))
    for name in ("dev", "etc", "proc", "run", "srv", "sys", "var"):
        base.directory(name)
    base.directory("root", 0o700)
    base.directory("tmp", 0o1777)
    base.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/srv:/bin/sh\n")
    base.file("etc/group", b"root:x:0:\napp:x:1000:\n")
    tools = _Layer(f"COPY {len(TOOLS)} tools of the host /usr/bin")
    for path, source in sorted(files.items()):
        layer = tools if os.path.basename(path) in TOOLS[2:] else base
        with open(source, "rb") as file:
            layer.file(path, file.read(), 0o755)
    for i in range(6):
        tools.file(f"var/cache/demo/archive-{i}.deb", noise.randbytes(400_000))
    app = _Layer("COPY app /srv/app")
    for name, script in _SCRIPTS.items():
        app.file(f"srv/app/{name}", script.encode(), 0o755)
    data = [(f"srv/app/data/part-{i:02}.bin", noise.randbytes(90_000)) for i in range(12)]
    for path, content in data:
        app.file(path, content)
    modes = _Layer("RUN chmod -R go-w,a+X /srv/app/data")
    for path, content in data[:8]:
        modes.file(path, content, 0o640)
    clean = _Layer("RUN rm -rf /var/cache/demo")
    clean.whiteout("var/cache/demo")
    return [base, tools, app, modes, clean]


def write(target: IO[bytes]) -> None:
    """An OCI layout with the demo image, as a tar, on `target`."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    descriptors, diff_ids, history = [], [], []
    created = "2026-01-01T00:00:00Z"
    for layer in _layers():
        raw = layer.close()
        diff_ids.append("sha256:" + hashlib.sha256(raw).hexdigest())
        packed = gzip.compress(raw, 1, mtime=0)
        descriptors.append(blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
        history.append({"created": created, "created_by": layer.command})
    machine = os.uname().machine
    config = {
        "created": created,
        "architecture": _MACHINES.get(machine, machine),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": "pydock demo, made of this host's tools"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": descriptors,
    }
    top = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    top["annotations"] = {
        "org.opencontainers.image.ref.name": REFERENCE.partition(":")[2],
        "io.containerd.image.name": f"docker.io/{REFERENCE}",
    }
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [top],
    }
    with tarfile.open(fileobj=target, mode="w|") as tar:
        for name, data in (
            ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            ("index.json", json.dumps(index).encode()),
            *((f"blobs/sha256/{digest}", data) for digest, data in blobs.items()),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
