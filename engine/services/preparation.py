"""What must be there before a container's monitor starts its program: layers, network, files, plan.

Imported by a start alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.model.container import PortMapping
from engine.monitor.launch import LaunchSpec, exit_command
from engine.runtime.bundle import make_config
from engine.runtime.plan import make_plan
from engine.services import host_files

if TYPE_CHECKING:
    from engine.home import Home
    from engine.network.endpoint import Endpoint
    from engine.network.networking import Networking
    from engine.services.volumes import VolumeService
    from engine.storage.container_store import ContainerRow, ContainerStore
    from engine.storage.network_store import NetworkStore
    from engine.storage.snapshots import Snapshots


class Preparation:
    """Makes it, from the container's row alone."""

    def __init__(
        self,
        home: Home,
        store: ContainerStore,
        snapshots: Snapshots,
        volumes: VolumeService,
        network_store: NetworkStore,
        networking: Callable[[], Networking],
        warn: Callable[[str], None] | None,
    ) -> None:
        self._home = home
        self._store = store
        self._snapshots = snapshots
        self._volumes = volumes
        self._network_store = network_store
        self._networking = networking
        self._warn = warn

    def specify(self, row: ContainerRow, size: tuple[int, int] | None) -> LaunchSpec:
        """Everything that its monitor must know; its network is there."""
        config = row.config
        overlay = self._snapshots.ready(row.id, row.chain_id)
        joined = self._joined(row)
        endpoint = None if "network" in joined else self._connect(row)
        netns = endpoint.netns_path if endpoint else joined.get("network", "")
        mounts = [
            (
                self._volumes.source(each),
                each["target"],
                each["read_only"],
                tuple(each.get("options", ())),
            )
            for each in config["mounts"]
        ]
        directory = self._home.container_dir(row.id)
        shared = config["network"] == "host"
        document = make_config(
            args=config["argv"],
            env=[*config["env"], f"HOSTNAME={self._hostname(row)}"],
            cwd=config["working_directory"],
            hostname=self._hostname(row),
            terminal=config["tty"],
            size=size or (0, 0),
            mounts=mounts,
            etc_hosts=self._hosts(row, endpoint, directory),
            etc_hostname=host_files.write_hostname(directory, self._hostname(row)),
            etc_resolv_conf=self._resolv_conf(row, directory),
            netns=None if shared else netns,
            cgroup_path=self._home.cgroup_path(row.id),
            memory_bytes=config["memory_bytes"],
            nano_cpus=config["nano_cpus"],
            pids=config["pids_limit"],
            labels=config["labels"],
        )
        plan = self._plan(row, document, overlay, joined)
        with open(f"{directory}/config.json", "w") as file:
            json.dump(document, file)
        return self.respecify(row, plan)

    def respecify(self, row: ContainerRow, plan: dict[str, Any]) -> LaunchSpec:
        """What a monitor must know of a container with that plan."""
        argv, environment = exit_command(self._home, row.id)
        return LaunchSpec(
            id=row.id,
            name=row.name,
            plan=plan,
            open_stdin=row.config["interactive"],
            attributes={"image": row.image, **row.config["labels"]},
            exit_command=argv,
            exit_environment=environment,
            **self._log(row),
        )

    def _plan(
        self,
        row: ContainerRow,
        document: dict[str, Any],
        overlay: tuple[tuple[str, ...], str, str],
        joined: dict[str, str],
    ) -> dict[str, Any]:
        """The plan of docker's defaults in `document`, which become what was asked for."""
        config = row.config
        confinement = config.get("confinement", {})
        if confinement:
            from engine.model.confinement import confinement_of
            from engine.runtime.confine import confine

            confine(document, confinement_of(confinement), joined)
        if "resources" in config:
            from engine.model.resources import resources_of
            from engine.runtime.allot import allot

            allot(document, resources_of(config["resources"]))
        document["annotations"].update(config.get("annotations", {}))
        if domainname := config.get("naming", {}).get("domainname"):
            document["domainname"] = domainname
        return make_plan(
            document,
            id=row.id,
            overlay=overlay if overlay[1] else None,
            rootfs=None if overlay[1] else overlay[0][0],
            volatile=config.get("volatile", False),  # older rows do not say
            user=config["user"] or None,
            added_groups=confinement.get("groups", ()),
            init=confinement.get("init", False),
        )

    def _log(self, row: ContainerRow) -> dict[str, Any]:
        if "log" not in row.config:
            return {}
        from engine.services.logging import log_limits

        asked = row.config["log"]
        return {"log_limits": log_limits(asked["driver"], asked["options"])}

    def _joined(self, row: ContainerRow) -> dict[str, str]:
        """Paths of the namespaces that it takes from other containers, by their kind."""
        if "confinement" not in row.config and not row.config["network"].startswith("container:"):
            return {}
        from engine.services.joining import joined

        return joined(row.config, self._store)

    def _connect(self, row: ContainerRow) -> Endpoint | None:
        """Its place in a bridge network; None with the networks host and none."""
        network = self._network_store.get(row.config["network"])
        if network.driver != "bridge":
            return None
        wanted = [PortMapping(*port) for port in row.config["ports"]]
        if row.config.get("publish_all"):
            published = {(port.container_port, port.protocol) for port in wanted}
            for text in row.config["exposed_ports"]:
                port, _, protocol = text.partition("/")
                if (int(port), protocol or "tcp") not in published:
                    wanted.append(PortMapping(int(port), protocol or "tcp"))
        endpoint = self._networking().connect(network.id, row.id, row.name, wanted)
        if self._warn is not None:
            for warning in endpoint.warnings:
                self._warn(warning)
        return endpoint

    def _hostname(self, row: ContainerRow) -> str:
        shared = "host" in (row.config["network"], row.config.get("confinement", {}).get("uts"))
        if shared and row.config["hostname"] == row.id[:12]:
            return os.uname().nodename
        name: str = row.config["hostname"]
        return name

    def _donor(self, row: ContainerRow, directory: str) -> str:
        """The directory with the files of the container whose network it has; else its own."""
        network: str = row.config["network"]
        if not network.startswith("container:"):
            return directory
        return self._home.container_dir(network.removeprefix("container:"))

    def _resolv_conf(self, row: ContainerRow, directory: str) -> str:
        donor = self._donor(row, directory)
        if donor != directory:
            return f"{donor}/resolv.conf"
        return host_files.write_resolv_conf(
            directory,
            shares_host_network=row.config["network"] == "host",
            naming=row.config.get("naming"),
        )

    def _hosts(self, row: ContainerRow, endpoint: Endpoint | None, directory: str) -> str:
        """Its own file, and its name in the files of the others in the same network."""
        if row.config["network"].startswith("container:"):
            return f"{self._donor(row, directory)}/hosts"
        if row.config["network"] == "host":
            return host_files.host_hosts(directory, host_files.added_hosts(row.config))
        if endpoint is None:
            return host_files.write_hosts(directory, [], host_files.added_hosts(row.config))
        members = self._networking().members(endpoint.network_id)
        host_files.write_hosts_of(self._home, self._store, members)
        return f"{directory}/hosts"
