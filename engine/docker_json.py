"""The engine's values as docker's JSON: what `inspect` prints, and later what a server answers.

Field names, types and empty forms are the Docker Engine API's, v1.44; what pydock has no notion of
yet is left at docker's own default, so that scripts find every field they look for.
https://docs.docker.com/reference/api/engine/version/v1.44/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from engine.model.confinement import Confinement
from engine.model.naming import Naming
from engine.model.resources import Resources
from engine.units import rfc3339

if TYPE_CHECKING:
    from engine.model.container import Container, ContainerSummary, EndpointInfo, Mount, PortMapping
    from engine.model.event import Event
    from engine.model.image import Image
    from engine.model.network import Network
    from engine.model.registry import RegistrySettings
    from engine.model.system import Counts, EngineInfo
    from engine.model.volume import VolumeSummary

Document = dict[str, Any]

API_VERSION = "1.44"
NEVER = "0001-01-01T00:00:00Z"
ANY_ADDRESS = "0.0.0.0"
_SHM_BYTES = 64 << 20


def container(value: Container) -> Document:
    """What `docker inspect` says of a container."""
    summary = value.summary
    path, *arguments = summary.command
    directory = value.log_path.rpartition("/")[0]
    return {
        "Id": summary.id,
        "Created": rfc3339(summary.created_ns),
        "Path": path,
        "Args": arguments,
        "State": _state(summary),
        "Image": summary.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": value.log_path,
        "Name": f"/{summary.name}",
        "RestartCount": value.restart_count,
        "Driver": "overlay2",
        "Platform": value.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(value),
        "GraphDriver": {
            "Data": {"UpperDir": value.upper_directory},
            "Name": "overlay2",
        },
        "Mounts": [_mount(mount) for mount in summary.mounts],
        "Config": _container_config(value),
        "NetworkSettings": _network_settings(value),
    }


def _state(summary: ContainerSummary) -> Document:
    return {
        "Status": summary.state,
        "Running": summary.state in ("running", "paused", "restarting"),
        "Paused": summary.state == "paused",
        "Restarting": summary.state == "restarting",
        "OOMKilled": summary.oom_killed,
        "Dead": summary.state == "dead",
        "Pid": summary.pid,
        "ExitCode": summary.exit_code,
        "Error": summary.error,
        "StartedAt": _moment(summary.started_ns),
        "FinishedAt": _moment(summary.finished_ns),
    }


def _moment(time_ns: int) -> str:
    return rfc3339(time_ns) if time_ns else NEVER


def _host_config(value: Container) -> Document:
    summary, naming = value.summary, value.naming or Naming()
    binds = [
        f"{mount.name or mount.source}:{mount.target}{':ro' if mount.read_only else ''}"
        for mount in summary.mounts
    ]
    return {
        "Binds": binds or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": value.log_driver, "Config": dict(value.log_options)},
        "NetworkMode": value.network_mode,
        "PortBindings": {
            name: [
                {"HostIp": port.host_ip, "HostPort": str(port.host_port or "")} for port in ports
            ]
            for name, ports in _by_port(value.requested_ports).items()
        },
        "RestartPolicy": {
            "Name": value.restart.name,
            "MaximumRetryCount": value.restart.maximum,
        },
        "AutoRemove": summary.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": list(value.volumes_from) or None,
        "ConsoleSize": [0, 0],
        "Dns": list(naming.dns),
        "DnsOptions": list(naming.dns_options),
        "DnsSearch": list(naming.dns_search),
        "ExtraHosts": [f"{name}:{address}" for name, address in naming.hosts] or None,
        **({"Annotations": dict(value.annotations)} if value.annotations else {}),
        "Cgroup": "",
        "Links": None,
        "PublishAllPorts": value.publish_all,
        "Runtime": "pydock-oci",
        "Isolation": "",
        "Memory": summary.memory_limit_bytes,
        "NanoCpus": value.nano_cpus,
        "CgroupParent": value.cgroup.rpartition("/")[0],
        "MemorySwappiness": None,
        "PidsLimit": value.pids_limit or None,
        **_confinement(value.confinement or Confinement()),
        **_resources(value.resources or Resources(), summary.memory_limit_bytes),
    }


def _confinement(value: Confinement) -> Document:
    """The part of a container's HostConfig that `Confinement` has."""
    optional = {
        "DeviceCgroupRules": list(value.device_rules),
        "Init": value.init,
        "Sysctls": dict(value.sysctls),
        "Tmpfs": dict(value.tmpfs),
    }
    return {
        "PidMode": value.pid,
        "IpcMode": value.ipc or "private",
        "UTSMode": value.uts,
        "UsernsMode": value.userns,
        "CgroupnsMode": value.cgroupns or "private",
        "CapAdd": list(value.cap_add) or None,
        "CapDrop": list(value.cap_drop) or None,
        "GroupAdd": list(value.groups) or None,
        "OomScoreAdj": value.oom_score_adj,
        "Privileged": value.privileged,
        "ReadonlyRootfs": value.read_only,
        "SecurityOpt": list(value.security) or None,
        "ShmSize": value.shm_bytes or _SHM_BYTES,
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.path,
                "CgroupPermissions": device.access,
            }
            for device in value.devices
        ],
        "Ulimits": [
            {"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in value.ulimits
        ],
        **{name: given for name, given in optional.items() if given},
        **({"MaskedPaths": [], "ReadonlyPaths": []} if value.unmasked else {}),
    }


def _resources(value: Resources, memory_bytes: int) -> Document:
    """The part of a container's HostConfig that `Resources` has."""
    throttles = {
        "BlkioDeviceReadBps": value.read_bps,
        "BlkioDeviceWriteBps": value.write_bps,
        "BlkioDeviceReadIOps": value.read_iops,
        "BlkioDeviceWriteIOps": value.write_iops,
    }
    return {
        "BlkioWeight": value.blkio_weight,
        **{
            name: [{"Path": path, "Rate": rate} for path, rate in rates]
            for name, rates in throttles.items()
        },
        "CpuShares": value.cpu_shares,
        "CpuPeriod": value.cpu_period_us,
        "CpuQuota": value.cpu_quota_us,
        "CpusetCpus": value.cpuset_cpus,
        "CpusetMems": value.cpuset_mems,
        "MemoryReservation": value.memory_reservation_bytes,
        "MemorySwap": value.memory_swap_bytes or 2 * memory_bytes,
        "OomKillDisable": value.oom_kill_disable,
    }


def _mount(mount: Mount) -> Document:
    volume = {"Name": mount.name} if mount.type == "volume" else {}
    driver = {"Driver": "local"} if mount.type == "volume" else {}
    return {
        "Type": mount.type,
        **volume,
        "Source": mount.source,
        "Destination": mount.target,
        **driver,
        "Mode": "ro" if mount.read_only else "",
        "RW": not mount.read_only,
        "Propagation": "rprivate" if mount.type == "bind" else "",
    }


def _container_config(value: Container) -> Document:
    summary = value.summary
    exposed = [*value.exposed_ports, *_by_port(value.requested_ports)]
    timeout = value.stop_timeout_seconds
    return {
        "Hostname": value.hostname,
        "Domainname": value.naming.domainname if value.naming else "",
        "User": value.user,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        **({"ExposedPorts": {name: {} for name in sorted(exposed)}} if exposed else {}),
        "Tty": summary.tty,
        "OpenStdin": value.interactive,
        "StdinOnce": value.interactive,
        "Env": list(value.env),
        "Cmd": list(value.command) or None,
        "Image": summary.image,
        "Volumes": None,
        "WorkingDir": value.working_directory,
        "Entrypoint": list(value.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(summary.labels),
        "StopSignal": value.stop_signal,
        **({"StopTimeout": timeout} if timeout is not None else {}),
    }


def _network_settings(value: Container) -> Document:
    endpoints = {endpoint.network: _endpoint(endpoint) for endpoint in value.endpoints}
    if not endpoints:
        endpoints = {value.network_mode: _endpoint(None)}
    first = next(iter(endpoints.values()))
    published = {
        name: [
            {"HostIp": port.host_ip or ANY_ADDRESS, "HostPort": str(port.host_port)}
            for port in ports
            if port.host_port
        ]
        or None
        for name, ports in _by_port(value.summary.ports).items()
    }
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": published,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{
            name: first[name]
            for name in (
                "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
                "IPPrefixLen", "IPv6Gateway", "MacAddress",
            )
        },
        "Networks": endpoints,
    }  # fmt: skip


def _endpoint(endpoint: EndpointInfo | None) -> Document:
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": endpoint.mac_address if endpoint else "",
        "NetworkID": endpoint.network_id if endpoint else "",
        "EndpointID": endpoint.endpoint_id if endpoint else "",
        "Gateway": endpoint.gateway if endpoint else "",
        "IPAddress": endpoint.ip_address if endpoint else "",
        "IPPrefixLen": endpoint.prefix_length if endpoint else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": None,
        "DNSNames": None,
    }


def _by_port(ports: Iterable[PortMapping]) -> dict[str, list[PortMapping]]:
    """`80/tcp` → its host ports."""
    found: dict[str, list[PortMapping]] = {}
    for port in ports:
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(port)
    return found


def image(value: Image) -> Document:
    """What `docker image inspect` says of an image."""
    summary, config = value.summary, value.config
    return {
        "Id": summary.id,
        "RepoTags": list(summary.references),
        "RepoDigests": list(value.repo_digests),
        "Parent": "",
        "Comment": value.comment,
        "Created": _moment(summary.created_ns),
        "DockerVersion": "",
        "Author": value.author,
        "Config": {
            "Hostname": "",
            "Domainname": "",
            "User": config.user,
            "AttachStdin": False,
            "AttachStdout": False,
            "AttachStderr": False,
            **_set("ExposedPorts", config.exposed_ports),
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            "Env": list(config.env),
            "Cmd": list(config.command) or None,
            "Image": "",
            "Volumes": {path: {} for path in config.volumes} or None,
            "WorkingDir": config.working_directory,
            "Entrypoint": list(config.entrypoint) or None,
            "OnBuild": None,
            "Labels": dict(config.labels) or None,
            **({"StopSignal": config.stop_signal} if config.stop_signal else {}),
        },
        "Architecture": summary.architecture,
        **({"Variant": summary.variant} if summary.variant else {}),
        "Os": summary.os,
        "Size": summary.size_bytes,
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(value.diff_ids)},
        "Metadata": {"LastTagTime": NEVER},
    }


def _set(name: str, members: Sequence[str]) -> Document:
    return {name: {member: {} for member in members}} if members else {}


def network(value: Network) -> Document:
    """What `docker network inspect` says of a network."""
    summary = value.summary
    return {
        "Name": summary.name,
        "Id": summary.id,
        "Created": _moment(summary.created_ns),
        "Scope": "local",
        "Driver": summary.driver,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [{"Subnet": summary.subnet, "Gateway": summary.gateway}]
            if summary.subnet
            else [],
        },
        "Internal": summary.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            member.container_id: {
                "Name": member.container_name,
                "EndpointID": member.endpoint_id,
                "MacAddress": member.mac_address,
                "IPv4Address": f"{member.ip_address}/{member.prefix_length}"
                if member.ip_address
                else "",
                "IPv6Address": "",
            }
            for member in value.members
        },
        "Options": {"com.docker.network.bridge.name": summary.interface}
        if summary.interface
        else {},
        "Labels": dict(summary.labels),
    }


def volume(value: VolumeSummary) -> Document:
    """What `docker volume inspect` says of a volume."""
    measured = {"UsageData": {"RefCount": len(value.used_by), "Size": value.size_bytes}}
    return {
        "CreatedAt": _moment(value.created_ns),
        "Driver": value.driver,
        "Labels": dict(value.labels) or None,
        "Mountpoint": value.mountpoint,
        "Name": value.name,
        "Options": None,
        "Scope": "local",
        **(measured if value.size_bytes >= 0 else {}),
    }


def event(value: Event) -> Document:
    """A message of `/events`."""
    attributes = {**value.attributes, "name": value.name}
    legacy: Document = {}
    if value.kind in ("container", "image"):
        legacy = {"status": value.action, "id": value.id}
    if value.kind == "container":
        legacy["from"] = value.attributes.get("image", "")
    return {
        **legacy,
        "Type": value.kind,
        "Action": value.action,
        "Actor": {"ID": value.id, "Attributes": attributes},
        "scope": "local",
        "time": value.time_ns // 1_000_000_000,
        "timeNano": value.time_ns,
    }


def info(value: EngineInfo, counts: Counts) -> Document:
    """What `/info` says: this host and what is on it."""
    return {
        "ID": value.root_id,
        "Containers": counts.running + counts.paused + counts.stopped,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        **_storage(value.storage),
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["k8s-file"],
        },
        "MemoryLimit": True,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "PidsLimit": True,
        "LoggingDriver": "k8s-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if value.cgroup == "v2" else "1",
        "KernelVersion": value.kernel,
        "OperatingSystem": value.distribution,
        "OSType": value.os,
        "Architecture": _MACHINES.get(value.architecture, value.architecture),
        "NCPU": value.cpus,
        "MemTotal": value.memory_bytes,
        "DockerRootDir": value.root,
        "Name": value.name,
        "ServerVersion": value.version,
        "DefaultRuntime": "pydock-oci",
        "Runtimes": {"pydock-oci": {"path": "pydock-oci"}},
        "SecurityOptions": ["name=seccomp,profile=builtin"] if value.seccomp else [],
        "Warnings": list(value.warnings) or None,
    }


def _storage(line: str) -> Document:
    """The storage driver: `fuse-overlayfs on ext4 (why)`, and what docker says of it."""
    driver, _, place = line.partition(" on ")
    file_system, _, reason = place.partition(" (")
    if not driver.startswith("overlay"):
        why = reason.removesuffix(")")
        return {"Driver": driver, "DriverStatus": [
            ["Backing Filesystem", file_system], ["Reason", why],
        ]}  # fmt: skip
    return {
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", file_system],
            ["Supports d_type", "true"],
            ["Using metacopy", "false"],  # engine.kernel.overlay pins what docker only shows
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
    }


def registries(value: RegistrySettings) -> Document:
    """The part of `/info` that is about registries."""
    hosts = [each for each in value.insecure if "/" not in each]
    names = dict.fromkeys(["docker.io", *(name for name, _ in value.mirrors), *hosts])
    return {
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": [each for each in value.insecure if "/" in each],
            "IndexConfigs": {
                name: {
                    "Name": name,
                    "Mirrors": [place for whose, place in value.mirrors if whose == name],
                    "Secure": name not in hosts,
                    "Official": name == "docker.io",
                }
                for name in names
            },
            "Mirrors": [place for whose, place in value.mirrors if whose == "docker.io"],
        },
    }


_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7l"}


def version(value: EngineInfo) -> Document:
    """What `/version` says."""
    return {
        "Platform": {"Name": "pydock"},
        "Version": value.version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": API_VERSION,
        "Os": value.os,
        "Arch": value.architecture,
        "KernelVersion": value.kernel,
    }
