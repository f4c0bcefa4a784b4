"""A host with a neighbour: two network namespaces, a cable between them, servers and clients.

The test's thread works in `host`; sockets stay in the namespace that they were made in, so servers
are plain threads. `ip` and `nft` are the oracles.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.home import Home, open_home
from engine.kernel.namespaces import inside, netns_create, netns_remove
from engine.network.networking import Networking
from engine.storage.metadata import Database
from engine.storage.network_store import NetworkStore

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
PATIENCE_SECONDS = 30.0  # for an answer: a loaded machine is slow, not wrong
SILENCE_SECONDS = 0.3  # for none


class Lab:
    """A context: within it the thread is in the network namespace `host`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = str(directory / "host")
        self.outside = str(directory / "outside")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Lab":
        with contextlib.ExitStack() as stack:
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in (self.host, self.outside):
                netns_create(path)
                stack.callback(netns_remove, path)
            with inside(self.outside), open("/proc/thread-self/ns/net") as other:
                pid_path = f"/proc/{os.getpid()}/fd/{other.fileno()}"
                run(self.host, "ip", "link", "add", "u0", "type", "veth", "peer", "name", "o0",
                    "netns", pid_path)  # fmt: skip
            for path, link, address in (
                (self.host, "u0", HOST), (self.outside, "o0", OUTSIDE),
            ):  # fmt: skip
                run(path, "ip", "link", "set", "lo", "up")
                run(path, "ip", "address", "add", f"{address}/24", "dev", link)
                run(path, "ip", "link", "set", link, "up")
            stack.enter_context(inside(self.host))
            set_sysctl("ipv4/ip_forward", 0)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def root(self, name: str = "a") -> "Root":
        """A store with its networks, closed with the laboratory."""
        return self._stack.enter_context(Root(self.directory / name))

    def serve(
        self, where: str, port: int, tag: str, protocol: str = "tcp", address: str = ""
    ) -> None:
        """Each client there gets `tag` and its own address back."""
        self._stack.enter_context(Server(where, port, tag, protocol, address))


class Root:
    """A root of its own; everything of it is erased from the kernel at the end."""

    def __init__(self, directory: Path) -> None:
        self.home: Home = open_home(str(directory / "root"), str(directory / "run"))
        self.database = Database(self.home)
        self.store = NetworkStore(self.database)
        self.networking = Networking(self.home, self.store)
        self.networking.ensure_default()

    def __enter__(self) -> "Root":
        return self

    def __exit__(self, *_: object) -> None:
        from engine.network.reconcile import erase

        self.networking.close()
        self.database.close()
        erase(self.home)


class Server:
    """A thread that answers in a namespace, until the context is left."""

    def __init__(self, where: str, port: int, tag: str, protocol: str, address: str) -> None:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with inside(where):
            self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        if protocol == "tcp":
            self._socket.listen(64)
        self._tag = tag
        self._thread = threading.Thread(target=self._answer if protocol == "tcp" else self._echo)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a datagram socket is not connected, but it wakes
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _answer(self) -> None:
        while True:
            try:
                client, (address, _) = self._socket.accept()
            except OSError:
                return
            with client:
                client.sendall(f"{self._tag} {address}".encode())

    def _echo(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(100)
            if not data and peer is None:
                return
            self._socket.sendto(f"{self._tag} {peer[0]}".encode(), peer)


def tcp(
    where: str, address: str, port: int, source: str = "", *, seconds: float = PATIENCE_SECONDS
) -> str:
    """What a server says to a client in `where`, or the reason why it says nothing."""
    with inside(where):
        client = socket.socket()
    with client:
        client.settimeout(seconds)
        try:
            client.bind((source, 0))
            client.connect((address, port))
            return client.recv(100).decode()
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return os.strerror(error.errno or 0)


def is_silent(where: str, address: str, port: int, source: str = "") -> bool:
    """Whether neither an answer nor a refusal comes."""
    return tcp(where, address, port, source, seconds=SILENCE_SECONDS) == "timeout"


def udp(
    where: str,
    address: str,
    port: int,
    client: socket.socket | None = None,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> str:
    """As `tcp`, by UDP."""
    with contextlib.ExitStack() as stack:
        if client is None:
            with inside(where):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(seconds)
        try:
            client.sendto(b"x", (address, port))
            return client.recv(100).decode()
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return os.strerror(error.errno or 0)


def run(where: str, *command: str) -> str:
    """The output of a program in a namespace."""
    return subprocess.run(
        ["nsenter", f"--net={where}", *command], check=True, capture_output=True, text=True
    ).stdout


def ip(where: str, *arguments: str) -> list[dict[str, Any]]:
    """What iproute2 sees."""
    found: list[dict[str, Any]] = json.loads(run(where, "ip", "-j", "-d", *arguments))
    return found


def ruleset(where: str) -> str:
    """What nft sees."""
    return run(where, "nft", "list", "ruleset")


def sysctl(name: str) -> str:
    """A value of the thread's network namespace."""
    return Path(f"/proc/sys/net/{name}").read_text().strip()


def set_sysctl(name: str, value: int | str) -> None:
    Path(f"/proc/sys/net/{name}").write_text(str(value))


@contextlib.contextmanager
def namespace(path: Path) -> Iterator[str]:
    """An empty network namespace that the thread is in."""
    netns_create(str(path))
    try:
        with inside(str(path)):
            yield str(path)
    finally:
        netns_remove(str(path))
