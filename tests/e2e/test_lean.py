"""What a command loads, engine and all: one careless import costs it 1 to 30 ms."""

import subprocess
import sys

import pytest

from engine.connect import connect
from engine.model.container import CreateOptions
from tests.support.images import make_image, push
from tests.support.registry import Registry

pytestmark = pytest.mark.root

# Beside what an empty interpreter loads. It may shrink; before it grows, try to import later.
STANDARD = """
__future__ _collections _ctypes _functools _json _operator _socket _sqlite3 _sre _struct _typing
_weakrefset collections contextlib copyreg ctypes enum errno fcntl functools importlib itertools
json keyword operator re reprlib select signal struct threading types typing warnings weakref
"""
ENGINE = """
cli cli.call cli.main cli.output cli.parser connect errors home journal kernel kernel.cgroup
kernel.cgroup_v1 kernel.cgroup_v2 kernel.files kernel.libc kernel.process kernel.xattr local model
model.container model.network model.volume monitor monitor.client monitor.protocol named_tuple oci
oci.digest oci.reference runtime runtime.failure services services.container_config
services.containers services.lifecycle services.names services.networks services.run
services.streams services.volumes storage storage.container_store storage.content storage.gc
storage.image_store storage.leases storage.metadata storage.network_store storage.reserve
storage.snapshots storage.trash storage.volume_store units
"""
PS = "cli.containers"
IMAGES = "cli.containers cli.images model.image model.image_config services.images"
RUN = """
cli.attached cli.run cli.specs kernel.capabilities kernel.mount kernel.namespaces kernel.overlay
model.image_config monitor.launch monitor.standby relay runtime.bundle runtime.fields
runtime.limits runtime.plan runtime.plan_version runtime.seccomp_default runtime.seccomp_profile
runtime.seccomp_tables services.host_files services.preparation storage.driver
storage.image_configs
"""
PULL = """
cli.progress cli.pull engine model.image model.image_config model.progress model.registry oci.config
oci.descriptor oci.json_strict oci.manifest oci.platform oci.selection registry registry.challenge
registry.client registry.credentials registry.dial registry.fields registry.helper registry.hosts
registry.hosts_toml registry.origin registry.pages registry.progress registry.proxy registry.pull
registry.refusal registry.registries_conf registry.retry registry.secret registry.server
registry.servers registry.source registry.timeouts registry.tokens registry.transport
services.images storage.image_configs
"""
HTTP = """
_bisect _blake2 _datetime _hashlib _locale _random _sha512 _ssl _string array base64 binascii bisect
calendar datetime email hashlib http ipaddress locale math quopri random selectors socket ssl string
tomllib urllib
"""
SCRIPT = """
import sys
before = set(sys.modules)
from engine.cli.main import main
code = main(sys.argv[1:])
print(*set(sys.modules) - before, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def container(image: str) -> None:
    """One that was never started: a row, so everything that shows rows is loaded."""
    with connect() as engine:
        engine.containers.create(CreateOptions(image=image, name="one", command=("true",)))


def loaded(*words: str) -> tuple[str, set[str], set[str]]:
    """What was said, and what of the engine and of the library was loaded for it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.splitlines()[-1].split())
    ours = {name.partition(".")[2] for name in modules if name.startswith("engine.")}
    others = {name.partition(".")[0] for name in modules if name.partition(".")[0] != "engine"}
    return done.stdout, ours, others


@pytest.mark.parametrize(
    ("words", "shown", "more"), [(["ps", "-a"], "one", PS), (["images"], "a   ", IMAGES)]
)
def test_a_list_imports_a_golden_list(
    container: None, words: list[str], shown: str, more: str
) -> None:
    said, ours, others = loaded(*words)
    assert shown in said
    assert ours - {*ENGINE.split(), *more.split()} == set()
    assert others - set(STANDARD.split()) == set()


def test_a_run_imports_a_golden_list(container: None, image: str) -> None:
    words = ("run", "--rm", "--network", "none", image, "true")
    _, ours, others = loaded(*words)
    assert ours - {*ENGINE.split(), *RUN.split()} == set()
    assert others - {*STANDARD.split(), "resource"} == set()


def test_a_pull_that_finds_nothing_new_imports_a_golden_list(
    roots: tuple[str, str], registry: Registry
) -> None:
    reference = push(registry, "lean", "1", make_image([{"a": b""}]))
    with connect() as engine:
        engine.images.pull(reference)
    said, ours, others = loaded("pull", reference)
    assert "Image is up to date" in said
    assert ours - {*ENGINE.split(), *PULL.split()} == set()
    assert others - {*STANDARD.split(), *HTTP.split()} == set()
