"""Root tests run in a child host, and leave nothing behind; the header says what is enabled."""

import gc
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import host

if TYPE_CHECKING:
    from tests.support.registry import Registry

CI = os.environ.get("CI") == "true"
ROOT = os.geteuid() == 0
TOOLS = (
    "docker-registry", "busybox", "debootstrap", "nft", "ip", "tmux", "strace", "mkfs.ext4",
    "buildah", "podman", "skopeo", "umoci", "strip", "ps",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    for name in (
        "PYDOCK_ROOT", "PYDOCK_RUN_ROOT", "PYDOCK_SYNC", "SSH_CONNECTION", "NO_COLOR",
        "PYTHONUNBUFFERED",  # a user's output is buffered
    ):  # fmt: skip
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of what a shell runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if ROOT and not config.option.collectonly:
        host.enter()


def pytest_unconfigure(config: pytest.Config) -> None:
    if ROOT and not config.option.collectonly:
        host.remove_cgroups()


def pytest_report_header() -> list[str]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return [
        f"root: {'enabled, in a child host' if ROOT else 'DISABLED (not root)'}",
        f"tools missing: {', '.join(missing) or 'none'}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("root") and not ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture(autouse=True)
def leaves_no_trace(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a root test: the same mounts, links, cgroups, processes and namespaces as before."""
    if not request.node.get_closest_marker("root"):
        yield
        return
    before = host.Traces.now()
    yield
    gc.collect()
    deadline = time.monotonic() + 60  # the kernel removes netns and cgroups a little later
    while True:
        host.reap(before)
        left = host.Traces.now().left_since(before)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert not left, "left behind: " + "; ".join(left)


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A store and a run directory of this test's own, in the environment too. What may outlive
    containers (bridges, their firewall) is erased with them."""
    root, run_root = str(tmp_path / "root"), str(tmp_path / "run")
    monkeypatch.setenv("PYDOCK_ROOT", root)
    monkeypatch.setenv("PYDOCK_RUN_ROOT", run_root)
    yield root, run_root
    if ROOT and Path(root, "VERSION").exists():
        from engine.connect import connect

        connect(root, run_root).erase()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Registry"]:
    """Debian's docker-registry on a loopback port, for the whole session."""
    from tests.support.registry import Registry

    with Registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def debian_reference(registry: "Registry") -> str:
    """`localhost:PORT/debian:bookworm`, a real Debian, in the session's registry."""
    from tests.support import debian, images

    return images.push_layer_tar(registry, "debian", "bookworm", debian.debian_layer())
