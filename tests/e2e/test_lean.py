"""What one `pydock ps` loads, engine and all: one careless import costs it 5 to 30 ms."""

import subprocess
import sys
from io import BytesIO

import pytest

from engine.connect import connect
from engine.model.container import CreateOptions
from tests.support.images import layout_tar, make_image

pytestmark = pytest.mark.root

# Beside what an empty interpreter loads. It may shrink; before it grows, try to import later.
STANDARD = """
__future__ _bisect _collections _ctypes _datetime _functools _json _operator _random _sha2 _sha512
_socket _sqlite3 _sre _struct _typing _weakrefset binascii bisect collections contextlib copyreg
ctypes datetime enum errno fcntl functools importlib itertools json keyword math operator random re
reprlib select signal sqlite3 struct threading types typing warnings weakref
"""
ENGINE = """
cli cli.call cli.containers cli.main cli.output cli.parser connect engine errors home journal kernel
kernel.cgroup kernel.cgroup_v1 kernel.cgroup_v2 kernel.conntrack kernel.files kernel.libc
kernel.mount kernel.namespaces kernel.netlink kernel.nftables kernel.process kernel.rtnetlink
kernel.xattr local model model.container model.network model.volume monitor
monitor.client monitor.protocol named_tuple network network.bridge network.endpoint network.fabric
network.firewall network.ipam network.networking network.ports network.reconcile oci oci.digest
oci.reference runtime runtime.failure services services.container_config services.containers
services.lifecycle services.names services.networks services.run
services.streams services.volumes storage storage.container_store storage.content
storage.gc storage.image_store storage.leases storage.metadata storage.network_store
storage.reserve storage.snapshots storage.trash storage.volume_store units
"""
SCRIPT = """
import sys
before = set(sys.modules)
from engine.cli.main import main
assert main(["ps", "-a"]) == 0
print(*set(sys.modules) - before, file=sys.stderr)
"""


@pytest.fixture
def store(roots: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """One container that was never started: a row, so everything that shows rows is loaded."""
    layout = layout_tar(tmp_path_factory.mktemp("layout") / "image", {"a:1": make_image([{}])})
    with connect() as engine:
        (reference,) = engine.images.load(BytesIO(layout))
        engine.containers.create(CreateOptions(image=reference, name="one", command=("true",)))


def test_ps_imports_a_golden_list(store: None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert "one" in done.stdout
    loaded = set(done.stderr.split())
    ours = {name.partition(".")[2] for name in loaded if name.startswith("engine.")}
    others = {name.partition(".")[0] for name in loaded if name.partition(".")[0] != "engine"}
    assert ours - set(ENGINE.split()) == set()
    assert others - set(STANDARD.split()) == set()
