"""The contract double: a whole Engine in memory, true to the real one, for tests of its clients.

`tests/contract` runs over it and over the engine of this host alike. It starts empty but for the
built-in networks; everything is made by the face's own calls, or by the knobs below. Ids follow
from the seed. Processes are threads that understand a dozen commands (`double_process`).
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal

from engine.engine import (
    Capability,
    Containers,
    Images,
    Layers,
    Manifests,
    Networks,
    Registries,
    System,
    Volumes,
)
from engine.model.container import CreateOptions, LogLine, MountRequest, PortMapping, State
from engine.model.image_config import ImageConfig
from engine.model.system import Damage, EngineInfo
from engine.model.volume import Usage
from engine.oci.reference import parse_reference
from tests.support.double_containers import DoubleContainers
from tests.support.double_images import (
    EMPTY_CONFIG,
    DoubleImages,
    DoubleLayers,
    Files,
    make_image,
)
from tests.support.double_manifests import DoubleManifests
from tests.support.double_places import DoubleNetworks, DoubleSystem, DoubleVolumes
from tests.support.double_process import Process
from tests.support.double_registries import DoubleRegistries
from tests.support.double_world import GIB, StoredImage, World

INFO = EngineInfo(
    name="here", kind="embedded", version="0.1.0", root="/var/lib/pydock", run_root="/run/pydock",
    root_id="0badcafe", demo=False, os="linux", architecture="amd64", kernel="6.1.0",
    distribution="Debian GNU/Linux 12 (bookworm)", cpus=4, memory_bytes=16 * GIB, cgroup="hybrid",
    storage="overlay on ext4", seccomp=True, sync=True,
)  # fmt: skip
EVERYTHING = (
    Capability.LAYERS | Capability.STATS | Capability.NETWORKS | Capability.PORTS
    | Capability.LIMITS | Capability.FREEZE
)  # fmt: skip


class Double:
    """An Engine. `clock` gives nanoseconds since 1970."""

    def __init__(
        self,
        *,
        seed: int = 1,
        clock: Callable[[], int] = time.time_ns,
        info: EngineInfo = INFO,
        capabilities: Capability = EVERYTHING,
    ) -> None:
        self.world = World(seed, clock)
        self.info = info
        self.capabilities = capabilities
        self._images = DoubleImages(self.world)
        self._volumes = DoubleVolumes(self.world)
        self._containers = DoubleContainers(self.world, self._images, self._volumes)
        networks = DoubleNetworks(self.world)
        self._system = DoubleSystem(
            self.world, self._containers, self._images, self._volumes, networks
        )
        # As the Protocols have them, so that mypy compares.
        self.containers: Containers = self._containers
        self.images: Images = self._images
        self.manifests: Manifests = DoubleManifests(self.world)
        self.layers: Layers = DoubleLayers(self.world, self._images)
        self.networks: Networks = networks
        self.volumes: Volumes = self._volumes
        self.registries: Registries = DoubleRegistries(self.world)
        self.system: System = self._system

    def close(self) -> None:
        """Ends every stream it has given out."""
        for stream in self.world.streams:
            stream.close()
        self.world.streams.clear()

    def __enter__(self) -> "Double":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- knobs

    def add_image(
        self,
        reference: str | None = "debian:bookworm",
        layers: Sequence[Files | tuple[str, Files]] = ({"bin/sh": 1_000_000, "etc/passwd": 900},),
        *,
        config: ImageConfig = EMPTY_CONFIG,
    ) -> str:
        """Its id. `layers`, bottom first: path → size (None: removed), or (command, dict)."""
        image = make_image(layers, config=config)
        with self.world.lock:
            name = parse_reference(reference) if reference else None
            self._images.put(image, name.full if name else None)
            familiar = name.familiar if name else image.id
            self.world.tell("image", "load", image.id, familiar, name=familiar)
        return image.id

    def add_remote(
        self,
        reference: str,
        layers: Sequence[Files | tuple[str, Files]] = ({"bin/sh": 1_000_000},),
        *,
        config: ImageConfig = EMPTY_CONFIG,
        platform: tuple[str, str, str] = ("linux", "amd64", ""),
        step_seconds: float = 0.0,
    ) -> StoredImage:
        """What `pull` finds; each tenth of a layer takes `step_seconds`."""
        image = make_image(layers, config=config, platform=platform)
        self.world.remote[parse_reference(reference).full] = image
        self._images.step_seconds = step_seconds
        return image

    def add_container(
        self,
        name: str,
        *,
        image: str = "debian:bookworm",
        state: State = "running",
        command: Sequence[str] = ("sleep", "infinity"),
        exit_code: int = 0,
        stop_code: int = 0,
        ports: Sequence[PortMapping] = (),
        mounts: Sequence[MountRequest] = (),
        labels: Sequence[tuple[str, str]] = (),
        network: str = "bridge",
        memory_bytes: int = 0,
        tty: bool = False,
        **summary: Any,
    ) -> str:
        """A container in any state, its image too if that is missing; its id. It ends with
        `stop_code` when it is stopped. More columns of its summary by name."""
        if parse_reference(image).full not in self.world.references:
            self.add_image(image)
        container_id = self.containers.create(
            CreateOptions(
                image=image, name=name, command=tuple(command), ports=tuple(ports),
                mounts=tuple(mounts), labels=tuple(labels), network=network,
                memory_bytes=memory_bytes, tty=tty,
            )
        )  # fmt: skip
        with self.world.lock:
            record = self.world.containers[container_id]
            record.stop_code = stop_code
            if state != "created":
                process = Process(
                    ("sleep", "infinity"), environment={}, tty=tty,
                    log=lambda source, data: self._containers._write_log(record, source, data),
                    ended=lambda code: self._containers._ended(record, code),
                )  # fmt: skip
                self._containers._runs(record, process, self._containers._publish(record))
                self._containers._tell(record, "start")
            if state == "exited":
                assert record.process is not None
                record.process.end(exit_code)
            elif state == "paused":
                self.containers.pause(container_id)
            record.change(**summary)
        return container_id

    def say(
        self, ref: str, text: str | bytes, *, stream: Literal["stdout", "stderr"] = "stdout"
    ) -> None:
        """Whole lines that a container writes: to its log and to who is attached."""
        record = self.world.get(ref)
        data = text.encode() if isinstance(text, str) else text
        if record.process is not None:
            record.process._say(stream, data + b"\n")
        else:
            with self.world.lock:
                record.log.append(LogLine(self.world.clock(), stream, data))

    def end(self, ref: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """A container that a knob made ends by itself."""
        record = self.world.get(ref)
        assert record.process is not None
        record.process.end(exit_code)
        record.change(oom_killed=oom_killed)

    def set_stats(self, ref: str, **columns: Any) -> None:
        """Columns of its next samples; `cpu_usage_ns` grows by `cpu_percent` by itself."""
        record = self.world.get(ref)
        with self.world.lock:
            record.sample = record.sample._replace(**columns)

    def set_usage(self, volume: str, size_bytes: int, files: int = 1, written_ns: int = 0) -> None:
        """What `measure` will find."""
        self._volumes.usages[volume] = Usage(size_bytes, files, written_ns)

    def set_host(self, **columns: Any) -> None:
        """Columns of the host's figures."""
        self._system.sample = self._system.sample._replace(**columns)

    def add_damage(self, damage: Damage) -> None:
        """What `fsck` finds."""
        self._system.damages.append(damage)
