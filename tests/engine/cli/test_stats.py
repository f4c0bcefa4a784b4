"""`stats`: docker's columns, once or again and again."""

import json
import threading

import pytest

from engine.cli import stats
from engine.model.stats import StatsSample
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.double_containers import DoubleStats


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_ONCE_SECONDS", 0.01)


def test_one_reading_has_dockers_columns(pydock: Pydock, double: Double) -> None:
    web = double.add_container("web", memory_bytes=64 << 20)
    double.add_container("old", state="exited")
    double.set_stats(
        "web", cpu_percent=12.34, memory_bytes=16 << 20, network_received_bytes=1_234,
        network_sent_bytes=5, block_read_bytes=2_000_000, block_written_bytes=0, pids=3,
    )  # fmt: skip
    header, line = pydock("stats", "--no-stream").lines
    assert header.split("   ")[0] == "CONTAINER ID"
    assert [cell.strip() for cell in line.split("   ") if cell.strip()] == [
        web[:12], "web", "12.34%",
        "16MiB / 64MiB", "25.00%", "1.23kB / 5B", "2MB / 0B", "3",
    ]  # fmt: skip
    fields = json.loads(pydock("stats", "--no-stream", "--format", "json", "web").out)
    assert fields["Name"] == "web"
    assert fields["Container"] == "web"
    assert fields["PIDs"] == "3"


def test_what_does_not_run_is_zeros_when_asked_for(pydock: Pydock, double: Double) -> None:
    double.add_container("old", state="exited")
    assert len(pydock("stats", "--no-stream").lines) == 1
    for words in (("-a",), ("old",)):
        line = pydock("stats", "--no-stream", *words).lines[1]
        assert "0.00%     0B / 0B             0.00%     0B / 0B   0B / 0B     0" in line
    assert pydock("stats", "--no-stream", "nobody").code == 1


def test_a_stream_ends_with_the_container_that_it_shows(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_container("web")
    read = threading.Event()
    one_tick = DoubleStats.__next__

    def told(stream: DoubleStats) -> tuple[StatsSample, ...]:
        tick = one_tick(stream)
        read.set()
        return tick

    monkeypatch.setattr(DoubleStats, "__next__", told)

    def live() -> None:
        read.wait()
        double.containers.remove("web", force=True)

    threading.Thread(target=live).start()
    said = pydock("stats", "web", "--format", "{{.Name}}")
    assert said.code == 1
    assert said.lines[0] == "web"
    assert "gone" in said.err
