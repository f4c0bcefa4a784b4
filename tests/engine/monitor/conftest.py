from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.monitored import Host, Monitored


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path)
    yield found
    for container in found.containers:
        container.destroy()


@pytest.fixture
def box(host: Host) -> Monitored:
    return host.container()
