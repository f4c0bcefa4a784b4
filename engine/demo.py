"""The demo: live containers on a host without a network, in roots of their own."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from engine.errors import NotFound
from engine.model.container import CreateOptions, MountRequest

if TYPE_CHECKING:
    from engine.engine import Engine

NETWORK = "demo"
VOLUME = "demo-data"


def up(engine: Engine) -> None:
    """The demo's image, network, volume and three running containers are there.

    What exists already is kept; a container that was stopped is started. The network is internal,
    so no sysctl of the host is changed.
    """
    from engine import demo_image

    try:
        engine.images.inspect(demo_image.REFERENCE)
    except NotFound:
        with tempfile.TemporaryFile() as archive:
            demo_image.write(archive)
            archive.seek(0)
            engine.images.load(archive)
    if NETWORK not in [network.name for network in engine.networks.list()]:
        engine.networks.create(NETWORK, internal=True)
    if VOLUME not in [volume.name for volume in engine.volumes.list()]:
        engine.volumes.create(VOLUME)
    states = {row.name: row.state for row in engine.containers.list(all=True)}
    for options in _containers(demo_image.REFERENCE):
        name = options.name or ""
        if name not in states:
            engine.containers.create(options)
        if states.get(name) != "running":
            if states.get(name) == "paused":
                engine.containers.unpause(name)
            else:
                engine.containers.start(name)


def _containers(image: str) -> list[CreateOptions]:
    common = CreateOptions(image=image, network=NETWORK, labels=(("pydock.demo", "1"),))
    return [
        common._replace(
            name="web",
            command=("/srv/app/web",),
            mounts=(MountRequest("volume", VOLUME, "/data"),),
            memory_bytes=64 << 20,
        ),
        common._replace(name="worker", command=("/srv/app/worker",), nano_cpus=500_000_000),
        common._replace(name="cache", command=("/srv/app/cache",), memory_bytes=64 << 20),
    ]


def down(root: str, run_root: str) -> bool:
    """Every trace of the demo is gone; False when there was none."""
    from engine.connect import connect

    if not os.path.exists(f"{root}/VERSION"):
        return False
    connect(root, run_root, demo=True).erase()
    return True
