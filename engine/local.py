"""LocalEngine: this host's containers, with no daemon. It only wires the services together."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from typing import TYPE_CHECKING

from engine.errors import Conflict, NotFound
from engine.kernel.cgroup import open_cgroup
from engine.services.containers import ContainerService
from engine.services.lifecycle import Lifecycle
from engine.services.networks import NetworkService
from engine.services.streams import Streams
from engine.services.volumes import VolumeService
from engine.storage import gc
from engine.storage.container_store import ContainerStore
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from engine.storage.network_store import NetworkStore
from engine.storage.snapshots import Snapshots
from engine.storage.trash import remove_tree
from engine.storage.volume_store import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from engine.engine import Capability
    from engine.home import Home
    from engine.model.system import EngineInfo
    from engine.monitor.standby import Standby
    from engine.network.networking import Networking
    from engine.services.boot import Boot
    from engine.services.container_copy import ContainerCopy
    from engine.services.container_files import ContainerFiles
    from engine.services.images import ImageService
    from engine.services.layers import LayerService
    from engine.services.manifests import ManifestService
    from engine.services.prune import Pruning
    from engine.services.registries import RegistryService
    from engine.services.system import SystemService


class LocalEngine:
    """The face's Engine. Opening it repairs what killed processes left."""

    def __init__(
        self,
        home: Home,
        *,
        demo: bool = False,
        standby: Standby | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._home = home
        self._demo = demo
        self._streams = Streams()
        self._database = database = Database(home)
        self._content = content = Content(home, database)
        self._image_store = image_store = ImageStore(database, content, self._places_of_images)
        self._container_store = container_store = ContainerStore(database)
        volume_store = VolumeStore(database)
        self._network_store = network_store = NetworkStore(database)
        self._networking: Networking | None = None
        self._snapshots = snapshots = Snapshots(home, database)
        self.volumes = VolumeService(home, volume_store, snapshots)
        self._lifecycle = lifecycle = Lifecycle(
            home,
            container_store,
            snapshots,
            self.volumes,
            volume_store,
            network_store,
            self._open_networking,
            standby,
            warn,
        )
        self.networks = NetworkService(home, network_store, container_store, self._open_networking)
        self.containers = ContainerService(
            home,
            container_store,
            lifecycle,
            self.volumes,
            self.networks,
            image_store.with_config,
            lambda: self.system.events(),
            self._streams,
            self._open_files,
            self._open_copy,
        )
        if database.rebuilt is not None:
            self.system.tell_rebuilt(database.rebuilt)
        gc.start(home, database)
        lifecycle.reconcile()
        if os.path.exists(home.still_dir):
            from engine.services.stillness import end_abandoned

            end_abandoned(home, lifecycle)
        self._reconcile_networks()

    def _places_of_images(self) -> dict[str, str]:
        from engine.storage.image_mounts import places  # most commands ask for none

        return places(self._home)

    def _open_networking(self) -> Networking:
        """Made when it is needed: its imports are a fifth of what a list costs."""
        if self._networking is None:
            from engine.network.networking import Networking

            self._networking = Networking(self._home, self._network_store)
        return self._networking

    def _open_files(self) -> ContainerFiles:
        from engine.services.container_files import ContainerFiles

        return ContainerFiles(
            self._home, self._database, self._content, self._image_store, self._container_store,
            self._snapshots, self._lifecycle,
        )  # fmt: skip

    def _open_copy(self) -> ContainerCopy:
        from engine.services.container_copy import ContainerCopy

        return ContainerCopy(
            self._home, self._container_store, self._snapshots, self.volumes, self._lifecycle
        )

    def _open_pruning(self) -> Pruning:
        from engine.services.prune import Pruning

        return Pruning(
            self._home, self._database, self._image_store, self.containers, self.volumes,
            self.networks,
        )  # fmt: skip

    def _reconcile_networks(self) -> None:
        """Where there is no endpoint there is nothing of ours in the kernel that matters."""
        if not self._network_store.find("none"):
            self._open_networking().ensure_default()
        if self._network_store.endpoints():
            self._open_networking().reconcile()

    def _open_boot(self) -> Boot:
        from engine.services.boot import Boot

        return Boot(self._home, self._container_store, self._lifecycle)

    # What a container's start and a list need not wait for is made when it is asked for.

    @property
    def capabilities(self) -> Capability:
        from engine.engine import Capability

        return (
            Capability.LAYERS
            | Capability.STATS
            | Capability.NETWORKS
            | Capability.PORTS
            | Capability.LIMITS
            | Capability.FREEZE
        )

    @cached_property
    def images(self) -> ImageService:
        from engine.services.images import ImageService

        return ImageService(
            self._home, self._database, self._content, self._image_store,
            self._container_store.users, self._snapshots,
        )  # fmt: skip

    @cached_property
    def manifests(self) -> ManifestService:
        from engine.services.manifests import ManifestService

        return ManifestService(self._home)

    @cached_property
    def layers(self) -> LayerService:
        from engine.services.layers import LayerService

        return LayerService(self._home, self._database, self._image_store)

    @cached_property
    def registries(self) -> RegistryService:
        from engine.services.registries import RegistryService

        return RegistryService()

    @cached_property
    def system(self) -> SystemService:
        from engine.services.system import SystemService

        return SystemService(
            self._home, self._database, self._content, self.containers, self._image_store.count,
            self._streams, self._open_pruning, self._open_boot,
        )  # fmt: skip

    @cached_property
    def info(self) -> EngineInfo:
        from engine.services.system import engine_info

        return engine_info(self._home, demo=self._demo)

    def close(self) -> None:
        """Ends every stream it has given out."""
        self._lifecycle.close()
        self._streams.close()
        if self._networking is not None:
            self._networking.close()
        self._database.close()

    def erase(self) -> None:
        """Every container, every object of the kernel that carries this root's id, and both roots
        are gone; the engine is closed."""
        for row in self.containers.list(all=True):
            with contextlib.suppress(NotFound, Conflict):  # somebody else is removing it
                self.containers.remove(row.id, force=True)
        for mount in self.images.mounts():
            with contextlib.suppress(NotFound, Conflict):
                self.images.unmount(mount.path, force=True)
        self.close()
        from engine.network import reconcile

        reconcile.erase(self._home)
        ours = os.path.dirname(self._home.cgroup_path("any"))
        with contextlib.suppress(OSError):  # a monitor is just ending
            open_cgroup(ours).remove()
        for directory in open_cgroup(os.path.dirname(ours)).directories:
            with contextlib.suppress(OSError):  # another root is in it
                os.rmdir(directory)
        for path in (self._home.run_root, self._home.root):
            with contextlib.suppress(OSError):
                remove_tree(path)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
