"""`ps`, `port`, `top`: docker's columns and words."""

import json
import re

import pytest

from engine.cli.containers import describe_ports, describe_status
from engine.model.container import ContainerID, ContainerSummary, MountRequest, PortMapping, State
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

SECOND = 10**9
NOW = 1_000_000 * SECOND


def row(state: State, **columns: object) -> ContainerSummary:
    summary = ContainerSummary(ContainerID("1"), "a", "i", "sha256:1", ("c",), state, 0)
    return summary._replace(**columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        (row("created"), "Created"),
        (row("running", started_ns=NOW - 180 * SECOND), "Up 3 minutes"),
        (row("paused", started_ns=NOW - 7200 * SECOND), "Up 2 hours (Paused)"),
        (row("exited", finished_ns=NOW - 60 * SECOND), "Exited (0) About a minute ago"),
        (row("exited", finished_ns=NOW - 2 * SECOND, exit_code=137), "Exited (137) 2 seconds ago"),
        (
            row("restarting", finished_ns=NOW - 5 * SECOND, exit_code=1),
            "Restarting (1) 5 seconds ago",
        ),
        (row("dead"), "Dead"),
        (row("removing"), "Removal In Progress"),
    ],
)
def test_status_is_told_in_dockers_words(summary: ContainerSummary, status: str) -> None:
    assert describe_status(summary, NOW) == status


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([PortMapping(80)], "80/tcp"),
        ([PortMapping(80, "tcp", "", 8080)], "0.0.0.0:8080->80/tcp"),
        ([PortMapping(80, "tcp", "::1", 8080)], "[::1]:8080->80/tcp"),
        (
            [PortMapping(443), PortMapping(53, "udp", "", 53), PortMapping(80, "tcp", "", 8080)],
            "443/tcp, 0.0.0.0:53->53/udp, 0.0.0.0:8080->80/tcp",
        ),
        (
            [PortMapping(80 + n, "tcp", "", 8000 + n) for n in range(3)],
            "0.0.0.0:8000->80/tcp, 0.0.0.0:8001->81/tcp, 0.0.0.0:8002->82/tcp",
        ),
        ([PortMapping(80), PortMapping(81)], "80-81/tcp"),
        (
            [PortMapping(53, "tcp", "", 53), PortMapping(53, "udp", "", 53)],
            "0.0.0.0:53->53/tcp, 0.0.0.0:53->53/udp",
        ),
        (
            [
                PortMapping(80, "tcp", "", 80),
                PortMapping(81, "tcp", "", 81),
                PortMapping(90, "tcp", "", 90),
                PortMapping(82, "tcp", "127.0.0.1", 82),
            ],
            "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:90->90/tcp, 127.0.0.1:82->82/tcp",
        ),
    ],
)
def test_ports_are_drawn_together(ports: list[PortMapping], text: str) -> None:
    """All but the order of one are what the docker CLI made of the same."""
    assert describe_ports(ports) == text


def test_an_empty_host_has_only_headers(pydock: Pydock) -> None:
    assert pydock("ps").out == (
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    )


def test_ps_shows_what_runs_and_with_a_everything(pydock: Pydock, double: Double) -> None:
    web = double.add_container(
        "web",
        command=("nginx", "-g", "daemon off; error_log"),
        ports=(PortMapping(80, "tcp", "", 8080),),
    )
    old = double.add_container("old", state="exited", exit_code=3)
    header, line = pydock("ps").lines
    assert header.split("  ")[0] == "CONTAINER ID"
    assert line.startswith(f'{web[:12]}   debian:bookworm   "nginx -g daemon off…"   ')
    assert line.endswith("   0.0.0.0:8080->80/tcp   web")
    assert "Up Less than a second" in line
    assert pydock("ps", "-aq").lines == [old[:12], web[:12]]
    assert pydock("ps", "-aq", "--no-trunc").lines == [old, web]
    assert '"nginx -g daemon off; error_log"' in pydock("ps", "--no-trunc").out
    assert "Exited (3)" in pydock("ps", "-a").out
    assert pydock("ps", "-ql").lines == [old[:12]]
    assert pydock("ps", "-q", "-n", "2").lines == [old[:12], web[:12]]
    assert pydock("ps", "-q", "-f", "status=exited").lines == [old[:12]]


def test_ps_formats_every_field(pydock: Pydock, double: Double) -> None:
    double.add_container(
        "web",
        labels=(("role", "front"), ("tier", "1")),
        mounts=(
            MountRequest("volume", "a-name-that-is-long", "/a"),
            MountRequest("bind", "/srv", "/b"),
        ),
    )
    fields = json.loads(pydock("ps", "--format", "json").out)
    assert fields["Names"] == "web"
    assert fields["State"] == "running"
    assert fields["Labels"] == "role=front,tier=1"
    assert fields["Mounts"] == "a-name-that-is…,/srv"
    assert fields["LocalVolumes"] == "1"
    assert fields["Networks"] == "bridge"
    assert fields["Command"] == '"sleep infinity"'
    assert list(fields) == sorted(fields)
    said = pydock("ps", "--format", "table {{.Names}}\\t{{.State}}")
    assert said.lines == ["NAMES     STATE", "web       running"]
    said = pydock("ps", "--format", "{{.Colour}}")
    assert said.code == 1
    assert "hint: fields: Command" in said.err


def test_a_wrong_filter_is_told(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock("ps", "-f", "colour=red")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: invalid filter 'colour'\nhint: ")


def test_port_lists_all_or_one(pydock: Pydock, double: Double) -> None:
    ports = (PortMapping(80, "tcp", "", 8080), PortMapping(53, "udp", "127.0.0.1", 5353))
    double.add_container("web", ports=ports)
    assert sorted(pydock("port", "web").lines) == [
        "53/udp -> 127.0.0.1:5353",
        "80/tcp -> 0.0.0.0:8080",
    ]
    assert pydock("port", "web", "80").out == "0.0.0.0:8080\n"
    assert pydock("port", "web", "53/udp").out == "127.0.0.1:5353\n"
    said = pydock("port", "web", "53")
    assert said.code == 1
    assert "no public port '53/tcp' published for web" in said.err


def test_ps_measures_where_that_is_asked_for(pydock: Pydock, double: Double) -> None:
    assert pydock("ps", "-s").out.split()[-1] == "SIZE"
    double.add_container("web")
    header, line = pydock("ps", "--size").lines
    assert header.endswith("NAMES     SIZE")
    assert re.search(r"   web       [\d.]+k?B \(virtual [\d.]+[kMG]?B\)$", line)
    assert "(virtual " in pydock("ps", "--format", "{{.Names}} {{.Size}}").out
    assert "SIZE" not in pydock("ps").out


def test_top_takes_options_of_ps(pydock: Pydock, double: Double) -> None:
    double.add_container("web", command=("nginx", "-g"))
    header, line = pydock("top", "web", "-o", "pid,args").lines
    assert header.split() == ["PID", "ARGS"]
    assert line.endswith("nginx -g")


def test_top_has_the_columns_of_ps(pydock: Pydock, double: Double) -> None:
    double.add_container("web", command=("nginx", "-g"))
    header, line = pydock("top", "web").lines
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert header.index("PID") == 20
    assert line.endswith("nginx -g")
