"""containerd and dockerd with roots, sockets and processes of their own, for one bench."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_DISK_BYTES = 16 << 30  # sparse
_TICKS = os.sysconf("SC_CLK_TCK")


class Disk:
    """A file system of its own at `directory`, made anew each time: one in which many files were
    removed lately takes ten times as long to make a new one (ext4 without a journal)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._image = directory.with_name(f"{directory.name}.img")
        directory.mkdir(exist_ok=True)

    def make(self) -> None:
        self.drop()
        with self._image.open("wb") as file:
            file.truncate(_DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        subprocess.run(["mount", "-o", "loop", self._image, self.directory], check=True)

    def drop(self) -> None:
        if self._image.exists():
            # What containers/storage mounts in its store goes too.
            subprocess.run(["umount", "-R", self.directory], stderr=subprocess.DEVNULL)
            self._image.unlink()


class Daemon:
    """A daemon below `directory`, which must not exist, from `start` to `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def argv(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def ping(self) -> Sequence[str | Path]:
        """A command that succeeds when the daemon answers."""
        raise NotImplementedError

    def start(self) -> None:
        self.directory.mkdir()
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while subprocess.run(self.ping(), capture_output=True).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SystemExit((self.directory / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None

    @property
    def process(self) -> int:
        return self._process.pid if self._process is not None else 0

    def cpu_seconds(self) -> float:
        """Of the daemon, what it started, and what of that has ended and was awaited."""
        return sum(_cpu_seconds(process) for process in tree(self.process)) if self.process else 0.0


class Containerd(Daemon):
    """Used through `ctr`, which asks it to unpack too."""

    @property
    def _socket(self) -> Path:
        return self.directory / "sock"

    def argv(self) -> Sequence[str | Path]:
        config = self.directory / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.directory}/root"\nstate = "{self.directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._socket}"\n'
        )
        return ["containerd", "--config", config]

    def ping(self) -> Sequence[str | Path]:
        return ["ctr", "--address", self._socket, "version"]

    def pull(self, reference: str) -> Sequence[str | Path]:
        return ["ctr", "--address", self._socket, "images", "pull", "--plain-http", reference]


class Dockerd(Daemon):
    """Used through `docker`."""

    @property
    def _host(self) -> str:
        return f"unix://{self.directory}/sock"

    def argv(self) -> Sequence[str | Path]:
        config = self.directory / "daemon.json"
        config.write_text("{}")
        return [
            "dockerd", "--config-file", config, "--data-root", self.directory / "root",
            "--exec-root", self.directory / "exec", "--pidfile", self.directory / "pid",
            "--host", self._host, "--bridge=none", "--iptables=false",
            "--storage-driver=overlay2",
        ]  # fmt: skip

    def ping(self) -> Sequence[str | Path]:
        return ["docker", "--host", self._host, "version"]

    def pull(self, reference: str) -> Sequence[str | Path]:
        return ["docker", "--host", self._host, "pull", "-q", reference]


def tree(top: int) -> list[int]:
    """The process `top` and all below it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [top]
    for process in found:
        found += children.get(process, ())
    return found


def pss_bytes(top: int) -> int:
    """The memory of `top` and all below it, what is shared counted in parts."""
    total = 0
    for process in tree(top):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(text.partition("\nPss:")[2].split()[0]) << 10 if "\nPss:" in text else 0
    return total


def _cpu_seconds(process: int) -> float:
    fields = _stat(process)
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _stat(process: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third (state) on; none when it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
