"""The three files that every container gets from its host: hostname, hosts, resolv.conf."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.home import Home
    from engine.model.network import NetworkMember
    from engine.storage.container_store import ContainerStore

_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
# What a Naming may say, and the words of resolv.conf(5) that it replaces.
_RESOLV_CONF = (
    ("dns", "nameserver"),
    ("dns_search", "search", "domain"),
    ("dns_options", "options"),
)
# What docker falls back to when the host's resolver listens on loopback only.
_PUBLIC_RESOLVERS = ("8.8.8.8", "8.8.4.4")


def write_hostname(directory: str, hostname: str) -> str:
    """The path of the file that becomes /etc/hostname."""
    return _write(f"{directory}/hostname", f"{hostname}\n")


def write_hosts(
    directory: str, own: Sequence[tuple[str, str]], peers: Iterable[tuple[str, str]] = ()
) -> str:
    """The path of the file that becomes /etc/hosts: (address, names) of itself, then of others.

    It is written in place: the container has this very inode mounted.
    """
    lines = [f"{address}\t{names}\n" for address, names in (*own, *peers)]
    return _write(f"{directory}/hosts", _LOCAL + "".join(lines))


def write_hosts_of(home: Home, store: ContainerStore, members: Sequence[NetworkMember]) -> None:
    """Everybody in a network knows everybody's name."""
    for each in members:
        directory = home.container_dir(each.container_id)
        own = store.find(each.container_id)
        if own is None or not os.path.isdir(directory):
            continue
        write_hosts(
            directory,
            [(each.ip_address, f"{_own_names(own.config)} {own.name}")],
            [
                *added_hosts(own.config),
                *(
                    (other.ip_address, other.container_name)
                    for other in members
                    if other.container_id != each.container_id
                ),
            ],
        )


def _own_names(config: dict[str, Any]) -> str:
    """The whole name first, as hosts(5) wants it."""
    name: str = config["hostname"]
    domain = config.get("naming", {}).get("domainname", "")
    return f"{name}.{domain} {name}" if domain else name


def added_hosts(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(address, name) of `--add-host`."""
    return [
        (config["gateway"] if address == "host-gateway" else address, name)
        for name, address in config.get("naming", {}).get("hosts", ())
    ]


def host_hosts(directory: str, added: Iterable[tuple[str, str]] = ()) -> str:
    """With the host's network a container sees the host's names."""
    text = _LOCAL
    with contextlib.suppress(OSError), open("/etc/hosts") as file:
        text = file.read()
    lines = [f"{address}\t{name}\n" for address, name in added]
    if lines and text and not text.endswith("\n"):
        text += "\n"
    text += "".join(lines)
    return _write(f"{directory}/hosts", text)


def write_resolv_conf(
    directory: str, *, shares_host_network: bool, naming: dict[str, Any] | None = None
) -> str:
    """The path of the file that becomes /etc/resolv.conf: the host's, with what `naming` says of
    resolvers, domains and options instead.

    Resolvers on the host's loopback cannot be reached from another network namespace; without any
    other, docker's public ones stand in.
    """
    text = ""
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as file:
        text = file.read()
    lines = text.splitlines()
    for key, first, *others in _RESOLV_CONF:
        given = naming and naming.get(key)
        if not given:
            continue
        replaced = ([first], *([other] for other in others))
        lines = [line for line in lines if line.split()[:1] not in replaced]
        if first == "nameserver":
            lines += [f"{first} {each}" for each in given]
        elif given != ["."]:
            lines.append(f"{first} {' '.join(given)}")
    text = "".join(f"{line}\n" for line in lines)
    if not shares_host_network and not (naming and naming.get("dns")):
        kept: list[str] = []
        resolvers = 0
        for line in text.splitlines():
            words = line.split()
            if words[:1] == ["nameserver"]:
                if len(words) < 2 or words[1].startswith(("127.", "::1")):
                    continue
                resolvers += 1
            kept.append(line)
        if not resolvers:
            kept += [f"nameserver {address}" for address in _PUBLIC_RESOLVERS]
        text = "\n".join(kept) + "\n"
    return _write(f"{directory}/resolv.conf", text)


def _write(path: str, text: str) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)  # the container's other users read it too
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    return path
