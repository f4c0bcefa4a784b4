"""Where things lie, and whose they are: the two roots, the root id, the locks.

`ROOT` holds what must survive a reboot, `RUN_ROOT` what must not. Two roots never touch each other:
every kernel object carries the `root_id` of its own.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from engine.errors import Conflict, InvalidInput, Unavailable, Unsupported
from engine.named_tuple import NamedTuple

ROOT = "/var/lib/pydock"
RUN_ROOT = "/run/pydock"
DEMO_ROOT = "/var/lib/pydock-demo"
DEMO_RUN_ROOT = "/run/pydock-demo"
SCHEMA = 1

_DIRECTORIES = (
    "lock",
    "blobs/sha256",
    "blobs/sha512",
    "ingest",
    "staging",
    "trash",
    "layers",
    "l",
    "index",
    "upper",
    "containers",
    "volumes",
)
_RUN_DIRECTORIES = ("containers", "netns", "lock")
_FOREIGN = ("overlay", "nfs", "nfs4", "cifs", "fuse.sshfs", "9p")  # cannot carry overlay's layers


class Home(NamedTuple):
    """The two roots of one engine. All paths are absolute."""

    root: str
    run_root: str
    root_id: str  # 8 hex digits, random, for the life of the root

    def container_dir(self, container_id: str) -> str:
        """Survives a reboot: config.json, log, log.1 …"""
        return f"{self.root}/containers/{container_id}"

    def run_dir(self, container_id: str) -> str:
        """Does not: state.json, plan, monitor.lock, ctl.sock, out, err, exit.json."""
        return f"{self.run_root}/containers/{container_id}"

    def upper_dir(self, container_id: str) -> str:
        return f"{self.root}/upper/{container_id}"

    def layer_dir(self, layer_id: str) -> str:
        return f"{self.root}/layers/{layer_id}"

    def blob_path(self, digest: str) -> str:
        algorithm, _, value = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{value}"

    def netns_path(self, endpoint_id: str) -> str:
        return f"{self.run_root}/netns/{endpoint_id}"

    def cgroup_path(self, container_id: str) -> str:
        """Below every hierarchy's mount point, unless `PYDOCK_CGROUP_PARENT` says otherwise."""
        parent = os.environ.get("PYDOCK_CGROUP_PARENT", "/pydock").rstrip("/")
        return f"{parent}/{self.root_id}/{container_id}"

    @property
    def events_path(self) -> str:
        return f"{self.run_root}/events.log"

    @property
    def still_dir(self) -> str:
        """There only while somebody holds a container still, or has died of it."""
        return f"{self.run_root}/still"


def open_home(root: str | None = None, run_root: str | None = None) -> Home:
    """The roots, made if they were not there (0700). `PYDOCK_ROOT`, `PYDOCK_RUN_ROOT` are the
    defaults' overrides. Raises Unavailable when not root, Unsupported on a file system that
    cannot hold layers, Conflict when a newer program has written here."""
    if os.geteuid() != 0:
        raise Unavailable(
            "pydock needs root: it mounts, makes namespaces and writes below /var/lib/pydock",
            "run it with sudo",
        )
    root = os.path.abspath(root or os.environ.get("PYDOCK_ROOT") or ROOT)
    run_root = os.path.abspath(run_root or os.environ.get("PYDOCK_RUN_ROOT") or RUN_ROOT)
    try:
        if not os.path.exists(f"{root}/VERSION"):
            _create(root)
        for name in _RUN_DIRECTORIES:
            os.makedirs(f"{run_root}/{name}", mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"{error.filename or root}: {error.strerror}", "choose another place with --root"
        ) from error
    return Home(root, run_root, _read_root_id(root))


def _create(root: str) -> None:
    os.makedirs(root, mode=0o700, exist_ok=True)
    kind = file_system(root)
    if kind in _FOREIGN:
        raise Unsupported(
            f"root {root}: a {kind} file system cannot hold image layers",
            "choose a directory on ext4, xfs or btrfs with --root",
        )
    for name in _DIRECTORIES:
        os.makedirs(f"{root}/{name}", mode=0o700, exist_ok=True)
    temporary = f"{root}/VERSION.{os.urandom(4).hex()}"
    with open(temporary, "x") as file:
        file.write(f"{SCHEMA} {os.urandom(4).hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(temporary, f"{root}/VERSION")  # two first starts at once: one wins
    os.unlink(temporary)


def _read_root_id(root: str) -> str:
    with open(f"{root}/VERSION") as file:
        fields = file.read().split()
    if len(fields) != 2 or not fields[0].isdecimal() or len(fields[1]) != 8:
        raise InvalidInput(f"root {root}: VERSION is not pydock's", "choose another --root")
    if int(fields[0]) > SCHEMA:
        raise Conflict(
            f"root {root}: written by a newer pydock (schema {fields[0]}, this one knows {SCHEMA})",
            "upgrade pydock",
        )
    return fields[1]


def file_system(path: str) -> str:
    """The type of the file system that holds `path`, as mountinfo names it."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best, kind = "", "unknown"
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            fields = left.split()
            point = fields[4]
            inside = (path + "/").startswith(point.rstrip("/") + "/")
            if fields[2] == wanted and inside and len(point) >= len(best):
                best, kind = point, right.split()[0]
    return kind


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[int]:
    """Hold a lock on `path` (flock(2): released by the kernel when the process dies)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
