"""`run`'s options about names, ports and files: docker's words, right and wrong."""

from pathlib import Path

import pytest

from engine.model.naming import Naming
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

IMAGE = "debian:bookworm"


@pytest.fixture(autouse=True)
def image(double: Double) -> None:
    double.add_image(IMAGE)


def test_every_option_becomes_a_part_of_the_request(pydock: Pydock, double: Double) -> None:
    said = pydock(
        "create", "--add-host", "db:10.0.0.1", "--add-host=six=[fd00::1]", "--add-host",
        "me:host-gateway", "--dns", "9.9.9.9", "--dns-search", "a.test", "--dns-option", "ndots:1",
        "--dns-opt", "rotate", "--domainname", "lan", "--expose", "80", "--expose", "53-54/udp",
        "-P", "--stop-signal", "USR1", "--stop-timeout", "-1", "--annotation", "k=v=w", IMAGE,
    )  # fmt: skip
    assert said.err == ""
    found = double.containers.inspect(said.out.strip())
    assert found.naming == Naming(
        domainname="lan",
        hosts=(("db", "10.0.0.1"), ("six", "fd00::1"), ("me", "host-gateway")),
        dns=("9.9.9.9",),
        dns_search=("a.test",),
        dns_options=("ndots:1", "rotate"),
    )
    assert found.exposed_ports == ("80/tcp", "53/udp", "54/udp")
    assert found.publish_all
    assert (found.stop_signal, found.stop_timeout_seconds) == ("USR1", -1)
    assert found.annotations == (("k", "v=w"),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--add-host", "db"], 'for "--add-host" flag: bad format for add-host: "db"'),
        (["--add-host", ":1.2.3.4"], 'bad format for add-host: ":1.2.3.4"'),
        (["--add-host", "db:1.2.3"], 'invalid IP address in add-host: "1.2.3"'),
        (["--dns", "one"], "IP address is not correctly formatted: one"),
        (["--dns-search", "a..b"], "a..b is not a valid domain"),
        (["--dns-search", "-"], "- is not a valid domain"),
        (["--expose", "1:2"], "invalid port format for --expose: 1:2"),
        (["--expose", "9-8"], "invalid range format for --expose: 9-8"),
        (["--expose", "70000"], "invalid range format for --expose: 70000"),
        (["--expose", "80/icmp"], "invalid proto: icmp"),
        (["--annotation", "=v"], "invalid annotation '=v': empty name"),
        (["--stop-timeout", "soon"], 'strconv.ParseInt: parsing "soon": invalid syntax'),
        (["--cidfile", "/none/id"], "failed to create the container ID file: open /none/id"),
    ],
)
def test_mistakes_are_told_in_dockers_words(
    pydock: Pydock, double: Double, words: list[str], said: str
) -> None:
    result = pydock("run", *words, IMAGE)
    assert (result.code, result.out) == (125, "")
    assert said in result.err.splitlines()[0]
    assert result.err.count("\n") == 2
    assert double.containers.list(all=True) == []


def test_the_id_is_in_a_file(pydock: Pydock, tmp_path: Path) -> None:
    path = tmp_path / "id"
    said = pydock("create", "--cidfile", str(path), IMAGE)
    assert path.read_text() == said.out.strip()
    again = pydock("create", "--cidfile", str(path), IMAGE)
    assert again.code == 125
    assert (
        f"container ID file found, make sure the other container isn't running or delete {path}"
        in (again.err)
    )


def test_without_a_container_there_is_no_file_of_its_id(pydock: Pydock, tmp_path: Path) -> None:
    path = tmp_path / "id"
    assert pydock("create", "--cidfile", str(path), "--name", "a b", IMAGE).code == 125
    assert not path.exists()
