"""`info`, `version`, `events`, `df`, `prune`, `fsck`, and the host's meters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from engine import journal
from engine.model.system import Counts, Damage, EngineInfo

if TYPE_CHECKING:
    from engine.engine import Stream
    from engine.home import Home
    from engine.model.disk import DiskUsage
    from engine.model.event import Event
    from engine.model.prune import Preview, Pruned
    from engine.model.stats import HostSample
    from engine.model.system import Outcome
    from engine.oci.descriptor import Descriptor
    from engine.services.boot import Boot
    from engine.services.containers import ContainerService
    from engine.services.prune import Pruning
    from engine.services.streams import Streams
    from engine.storage.content import Content
    from engine.storage.metadata import Database
    from engine.storage.rebuild import Rebuilt

VERSION = "0.1.0"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def engine_info(home: Home, *, demo: bool) -> EngineInfo:
    """Facts about this host that do not change while the engine is open."""
    from engine.storage import overlay_probe

    uname = os.uname()
    warnings = []
    storage, warning = overlay_probe.describe(home)
    if warning:
        warnings.append(warning)
    if os.path.isdir(f"{home.root}/lost"):
        warnings.append(
            f"a database was lost: what its containers wrote is in {home.root}/lost, to be removed "
            "by hand"
        )
    sync = os.environ.get("PYDOCK_SYNC") != "off"
    if not sync:
        warnings.append("PYDOCK_SYNC=off: a power cut can lose what a pull said was done")
    return EngineInfo(
        name=uname.nodename,
        kind="embedded",
        version=VERSION,
        root=home.root,
        run_root=home.run_root,
        root_id=home.root_id,
        demo=demo,
        os="linux",
        architecture=_MACHINES.get(uname.machine, uname.machine),
        kernel=uname.release,
        distribution=_distribution(),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup=_cgroup_version(),
        storage=storage,
        seccomp=os.path.exists("/proc/sys/kernel/seccomp"),
        sync=sync,
        warnings=tuple(warnings),
    )


def _distribution() -> str:
    try:
        with open("/etc/os-release") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return "unknown"


def _cgroup_version() -> str:
    kinds = set()
    with open("/proc/self/mountinfo") as file:
        for line in file:
            kind = line.partition(" - ")[2].split(" ", 1)[0]
            if kind in ("cgroup", "cgroup2"):
                kinds.add(kind)
    return {1: "v2" if "cgroup2" in kinds else "v1", 2: "hybrid"}.get(len(kinds), "none")


class SystemService:
    """The face's `system`."""

    def __init__(
        self,
        home: Home,
        database: Database,
        content: Content,
        containers: ContainerService,
        count_images: Callable[[], int],
        streams: Streams,
        pruning: Callable[[], Pruning],
        booting: Callable[[], Boot],
    ) -> None:
        self._home = home
        self._database = database
        self._content = content
        self._containers = containers
        self._count_images = count_images
        self._streams = streams
        self._pruning = pruning  # made when it is needed: lists do without
        self._booting = booting

    def counts(self) -> Counts:
        states = [row.state for row in self._containers.list(all=True)]
        running = states.count("running") + states.count("restarting")
        paused = states.count("paused")
        return Counts(running, paused, len(states) - running - paused, self._count_images())

    def host(self) -> HostSample:
        from engine.runtime import stats

        return stats.host_sample(self._home.root)

    def events(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Stream[Event]:
        from engine import events

        return self._streams.add(
            events.subscribe(
                self._home.events_path, since_ns=since_ns, until_ns=until_ns, filters=filters
            )
        )

    def boot(self) -> list[Outcome]:
        return self._booting().boot()

    def halt(self) -> list[Outcome]:
        return self._booting().halt()

    def df(self) -> DiskUsage:
        from engine.storage.usage import disk_usage

        return disk_usage(self._home, self._database)

    def prune_preview(
        self,
        kinds: Sequence[str],
        *,
        all_images: bool = False,
        all_volumes: bool = False,
        filters: Sequence[tuple[str, str]] = (),
    ) -> Preview:
        return self._pruning().preview(
            kinds, all_images=all_images, all_volumes=all_volumes, filters=filters
        )

    def prune(self, preview: Preview) -> Pruned:
        return self._pruning().run(preview)

    def fsck(self, *, repair: bool = False) -> Iterable[Damage]:
        from engine.storage import repair as repairs

        return repairs.fsck(self._home, self._database, repair=repair, refetch=self._refetch)

    def tell_rebuilt(self, rebuilt: Rebuilt) -> None:
        """A line in the journal: the database was lost, and what of it is there again."""
        images, layers, volumes, lost = rebuilt
        journal.append(
            self._home.events_path,
            "system",
            "rebuild",
            self._home.root_id,
            self._home.root,
            {
                "images": str(images),
                "layers": str(layers),
                "volumes": str(volumes),
                "lost": str(len(lost)),
            },
        )

    def _refetch(self, blob: Descriptor) -> None:
        from engine.registry.refetch import refetch
        from engine.storage.origin_store import OriginStore

        refetch(self._content, blob, OriginStore(self._database).find(blob.digest))
