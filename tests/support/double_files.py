"""The double's containers as files: what they changed, their export, and images made of them."""

import builtins
import json
import tarfile
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, InvalidInput
from engine.model.container import Change
from engine.model.image import HistoryEntry
from engine.model.image_config import ImageConfig
from engine.model.layer import DIRECTORY, SYMLINK
from engine.oci.instructions import Config, apply_change
from engine.oci.reference import parse_reference
from tests.support.double_archives import sha256
from tests.support.double_copy import DoubleCopy
from tests.support.double_world import Entry, Layer, Record, World

if TYPE_CHECKING:
    from tests.support.double_images import DoubleImages


class DoubleFiles(DoubleCopy):
    """The part of the double's containers that is about files. A test writes into
    `Record.written`."""

    def __init__(self, world: World, images: "DoubleImages") -> None:
        self._world = world
        self._images = images

    def changes(self, ref: str) -> builtins.list[Change]:
        record = self._world.get(ref)
        known = self._entries(record, written=False)
        found = {
            path: "D" if entry is None else "C" if path in known else "A"
            for path, entry in record.written.items()
        }
        for path in builtins.list(found):
            while path := path.rpartition("/")[0]:
                found.setdefault(path, "C")
        return [
            Change(kind, f"/{path}")  # type: ignore[arg-type]
            for path, kind in sorted(found.items())
        ]

    def export(
        self,
        ref: str,
        output: IO[bytes],
        *,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        record = self._world.get(ref)
        if cancel is not None and cancel.cancelled:
            raise Cancelled("cancelled")
        with tarfile.open(fileobj=output, mode="w|") as tar:
            for path, entry in sorted(self._entries(record, written=True).items()):
                info = tarfile.TarInfo(path)
                info.mode = entry.mode
                if entry.kind == DIRECTORY:
                    info.type = tarfile.DIRTYPE
                elif entry.kind == SYMLINK:
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(info)

    def _entries(self, record: Record, *, written: bool) -> dict[str, Entry]:
        image = self._images.get(record.container.summary.image_id)
        layers = [layer.entries for layer in image.layers]
        seen: dict[str, Entry] = {}
        for entries in [*layers, record.written] if written else layers:
            for path, entry in entries.items():
                if entry is None:
                    seen.pop(path, None)
                else:
                    seen[path] = entry
        return seen

    def commit(
        self,
        ref: str,
        target: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> str:
        world = self._world
        if cancel is not None and cancel.cancelled:
            raise Cancelled("cancelled")
        reference = parse_reference(target) if target else None
        if reference is not None and reference.digest:
            raise InvalidInput(
                f"reference {reference.familiar}: refusing to create a tag with a digest reference",
                "name a tag",
            )
        with world.lock:
            record = world.get(ref)
            base = self._images.get(record.container.summary.image_id)
            config = _document(record)
            for line in changes:
                apply_change(config, line)
            command = " ".join(record.container.summary.command)
            now_ns = world.clock()
            step = HistoryEntry(now_ns, command, message, not record.written)
            layers = base.layers
            if record.written:
                stamp = repr(sorted(record.written.items()))
                diff_id = sha256(f"diff {stamp}")
                layers += (Layer(diff_id, diff_id, command, now_ns, 512, dict(record.written)),)
            stamp = json.dumps([config, author, message, now_ns])
            image = base._replace(
                id=sha256(stamp), manifest=sha256(f"manifest {stamp}"), created_ns=now_ns,
                config=_config(config), history=(*base.history, step), layers=layers, origin="",
            )  # fmt: skip
            self._images.put(image, reference.full if reference else None)
            name = reference.familiar if reference else ""
            summary = record.container.summary
            world.tell("container", "commit", summary.id, summary.name, imageID=image.id)
            world.tell("image", "create", image.id, name or image.id, name=name or image.id)
            return image.id


def _document(record: Record) -> Config:
    own = record.container
    return {
        "Env": list(own.env),
        "Cmd": list(own.command),
        "Entrypoint": list(own.entrypoint),
        "User": own.user,
        "Labels": dict(own.summary.labels),
        "ExposedPorts": {port: {} for port in own.exposed_ports},
    } | ({"WorkingDir": own.working_directory} if own.working_directory != "/" else {})


def _config(document: Config) -> ImageConfig:
    return ImageConfig(
        env=tuple(document.get("Env", ())),
        entrypoint=tuple(document.get("Entrypoint", ())),
        command=tuple(document.get("Cmd", ())),
        working_directory=document.get("WorkingDir", ""),
        user=document.get("User", ""),
        exposed_ports=tuple(document.get("ExposedPorts", ())),
        volumes=tuple(document.get("Volumes", ())),
        labels=tuple(document.get("Labels", {}).items()),
        stop_signal=document.get("StopSignal", ""),
    )
