"""Files in and out of the double's containers, by the rules of docker's cp; sizes, no bytes."""

import io
import os
import stat
import tarfile
from typing import IO

from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, Conflict, InvalidInput, NotFound
from engine.model.container import PathStatus
from engine.model.layer import DIRECTORY, FILE, SYMLINK
from tests.support.double_world import Entry, Record, World

_KINDS = {DIRECTORY: stat.S_IFDIR, SYMLINK: stat.S_IFLNK}
_TYPES = {DIRECTORY: tarfile.DIRTYPE, SYMLINK: tarfile.SYMTYPE}


class DoubleCopy:
    """The part of the double's containers that copies. What goes in is in `Record.written`."""

    _world: World

    def _entries(self, record: Record, *, written: bool) -> dict[str, Entry]:
        raise NotImplementedError

    def stat_path(self, ref: str, path: str) -> PathStatus:
        name = path.strip("/")
        entry = self._find(ref, name)
        mode = _KINDS.get(entry.kind, stat.S_IFREG) | entry.mode
        size, time_ns = entry.size_bytes, entry.mtime_seconds * 10**9
        return PathStatus(os.path.basename(name) or "/", mode, size, time_ns, entry.link)

    def copy_out(
        self,
        ref: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        output = io.BytesIO()
        self.read_path(ref, path, output, cancel=cancel)
        is_directory = self._find(ref, path.strip("/")).kind == DIRECTORY
        name = os.path.basename(path.strip("/"))
        if os.path.isfile(target) and is_directory:
            raise Conflict("cannot copy directory", f"{target} is a file: name a directory")
        above, new = (target, name) if os.path.isdir(target) else os.path.split(target)
        with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
            for member in tar.getmembers():
                member.name = new + member.name[len(name) :]
                tar.extract(member, above or ".")
        return len(output.getvalue())

    def copy_in(
        self,
        source: str,
        ref: str,
        path: str,
        *,
        follow_link: bool = False,
        keep_owner: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        if not os.path.lexists(source):
            raise NotFound(f"{source}: no such file or directory", "ls shows what is there")
        known = self._entries(self._world.get(ref), written=True)
        there = known.get(path.strip("/"))
        if there is not None and there.kind != DIRECTORY and os.path.isdir(source):
            raise Conflict("cannot copy directory", f"{ref}:{path} is a file: name a directory")
        is_directory = not path.strip("/") or (there is not None and there.kind == DIRECTORY)
        above, new = (path, os.path.basename(source)) if is_directory else os.path.split(path)
        self._must_be_directory(ref, above)
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w") as tar:
            tar.add(source, new)
        output.seek(0)
        self.write_path(ref, above, output, cancel=cancel)
        return len(output.getvalue())

    def read_path(
        self,
        ref: str,
        path: str,
        output: IO[bytes],
        *,
        follow_link: bool = False,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        top = path.strip("/")
        entry = self._find(ref, top)
        _check(cancel)
        known = self._entries(self._world.get(ref), written=True)
        above = f"{os.path.dirname(top)}/".lstrip("/")
        with tarfile.open(fileobj=output, mode="w|") as tar:
            for name, each in sorted(({top: entry} | known).items()):
                if name != top and not name.startswith(f"{top}/"):
                    continue
                info = tarfile.TarInfo(name.removeprefix(above))
                info.type, info.linkname = _TYPES.get(each.kind, tarfile.REGTYPE), each.link
                info.size = each.size_bytes if each.kind == FILE else 0
                tar.addfile(info, io.BytesIO(bytes(info.size)))

    def write_path(
        self,
        ref: str,
        path: str,
        archive: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        self._must_be_directory(ref, path)
        _check(cancel)
        record = self._world.get(ref)
        written = 0
        with tarfile.open(fileobj=archive, mode="r|*") as tar:
            for member in tar:
                kind = DIRECTORY if member.isdir() else SYMLINK if member.issym() else FILE
                name = os.path.normpath(f"{path.strip('/')}/{member.name}").lstrip("/")
                record.written[name] = Entry(member.size, kind, member.mode, link=member.linkname)
                written += member.size
        return written

    def _find(self, ref: str, name: str) -> Entry:
        known = self._entries(self._world.get(ref), written=True)
        if name in known:
            return known[name]
        if not name or any(each.startswith(f"{name}/") for each in known):
            return Entry(0, DIRECTORY, 0o755)
        raise NotFound(
            f"could not find the file /{name} in container {ref}",
            f"pydock exec {ref} ls shows what is there",
        )

    def _must_be_directory(self, ref: str, path: str) -> None:
        if self._find(ref, path.strip("/")).kind != DIRECTORY:
            raise InvalidInput(f'destination "{ref}:{path}" must be a directory', "name one")


def _check(cancel: Cancel | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise Cancelled("cancelled")
