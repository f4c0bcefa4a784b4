from pathlib import Path

import pytest

from tests.support.monitored import Host, Monitored


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def box(host: Host) -> Monitored:
    return host.container()
