"""`run` and `create`: options, pulling what is missing, exit codes."""

import json
from pathlib import Path

import pytest

from engine.model.container import MountRequest, PortMapping
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

IMAGE = "debian:bookworm"


@pytest.fixture(autouse=True)
def image(double: Double) -> None:
    double.add_image(IMAGE)


def test_options_become_a_container(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "here")
    said = pydock(
        "create", "--name", "full", "-it", "-e", "A=1", "-e", "HERE", "-w", "/tmp", "-u", "5:6",
        "-h", "box", "-l", "role=web", "--label", "bare", "-m", "64m", "--cpus", "1.5",
        "--pids-limit", "50", "--network", "bridge", "-p", "8080:80", "-p", "127.0.0.1::53/udp",
        "-v", "data:/data:ro", "-v", "/srv:/srv", "--entrypoint", "sh", "--rm", IMAGE, "-c", "ls",
    )  # fmt: skip
    assert said.code == 0
    found = double.containers.inspect(said.out.strip())
    summary = found.summary
    assert (summary.name, summary.tty, summary.auto_remove) == ("full", True, True)
    assert summary.command == ("sh", "-c", "ls")
    assert {"A=1", "HERE=here"} <= set(found.env)
    assert (found.working_directory, found.user, found.hostname) == ("/tmp", "5:6", "box")
    assert dict(summary.labels) == {"role": "web", "bare": ""}
    assert (summary.memory_limit_bytes, found.nano_cpus, found.pids_limit) == (
        64 << 20, 1_500_000_000, 50,
    )  # fmt: skip
    assert found.requested_ports == (
        PortMapping(80, "tcp", "", 8080),
        PortMapping(53, "udp", "127.0.0.1", 0),
    )
    assert [mount[:1] + mount[3:] for mount in summary.mounts] == [
        ("volume", "/data", True),
        ("bind", "/srv", False),
    ]
    assert MountRequest("volume", "data", "/data", True).source == summary.mounts[0].name


def test_a_detached_run_prints_the_id(pydock: Pydock, double: Double) -> None:
    said = pydock("run", "-d", IMAGE, "sleep", "1000")
    assert (said.code, said.err) == (0, "")
    assert said.lines == [row.id for row in double.containers.list()]


def test_output_and_exit_code_are_the_commands_own(pydock: Pydock, double: Double) -> None:
    said = pydock("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert said == (7, "out\n", "err\n")
    assert double.containers.list(all=True) == []


def test_stdin_goes_in_only_when_asked_for(pydock: Pydock) -> None:
    assert pydock("run", "--rm", "-i", IMAGE, "cat", stdin=b"typed\n").out == "typed\n"
    assert pydock("run", "--rm", IMAGE, "cat", stdin=b"typed\n").out == ""


def test_only_the_streams_asked_for_are_seen(pydock: Pydock, double: Double) -> None:
    words = (IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert pydock("run", "-a", "stdout", *words) == (0, "out\n", "")
    assert pydock("run", "--attach=STDERR", *words) == (0, "", "err\n")
    assert pydock("run", "-a", "stdout", "-a", "stderr", *words) == (0, "out\n", "err\n")
    said = pydock("run", "-a", "stdin", "-i", IMAGE, "cat", stdin=b"typed")
    assert (said.code, said.err) == (0, "")
    assert said.out.strip() in {row.id for row in double.containers.list(all=True)}


def test_a_log_is_asked_for(pydock: Pydock) -> None:
    pydock("create", "--name", "box", "--log-driver=k8s-file", "--log-opt", "max-size=1m", IMAGE)
    (document,) = json.loads(pydock("inspect", "box").out)
    assert document["HostConfig"]["LogConfig"] == {"Type": "k8s-file", "Config": {"max-size": "1m"}}


def test_flags_behind_the_image_are_the_commands(pydock: Pydock) -> None:
    assert pydock("run", "--rm", IMAGE, "echo", "-d", "--rm", "--", "x").out == "-d --rm -- x\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--name", "a b", IMAGE], 125, "invalid container name"),
        (["--network", "nowhere", IMAGE], 125, "network nowhere not found"),
        ([IMAGE, "no-such-program"], 127, 'exec: "no-such-program": executable file not found'),
        (["-p", "abc", IMAGE], 125, "invalid containerPort: abc"),
        (["-v", "a:b:c:d", IMAGE], 125, "too many colons"),
        (["-m", "12q", IMAGE], 125, "invalid suffix: 'q'"),
        (["-m", "1m", IMAGE], 125, "minimum memory limit allowed is 6MB"),
        (["--env-file", "/nonexistent", IMAGE], 125, "open /nonexistent"),
        (["--label-file", "/nonexistent", IMAGE], 125, "open /nonexistent"),
        (["-e", "=x", IMAGE], 125, "invalid environment variable: =x"),
        (["-l", "=x", IMAGE], 125, "invalid label '=x': empty name"),
        (["-v", "x:/y", IMAGE], 125, "volume name is too short"),
        (["-v", "/y:ro", IMAGE], 125, "invalid volume specification: '/y:ro'"),
        (["-v", "/x:/y:nocopy", IMAGE], 125, "field VolumeOptions must not be specified"),
        (["--pull", "foo", IMAGE], 125, "invalid pull option: 'foo'"),
        (["--pull", "never", "missing:1"], 125, "no such image: missing:1"),
        (["UPPER"], 125, "must be lower case"),
        (["--network", "name=x", IMAGE], 125, "not supported by pydock yet"),
        (["--network", "a", "--network", "b", IMAGE], 125, "several networks"),
        (["--restart=sometimes", IMAGE], 125, "unknown policy 'sometimes'; use one of 'no'"),
        (["--restart=always:3", IMAGE], 125, "can only be used with 'on-failure'"),
        (["--restart=on-failure:x", IMAGE], 125, "maximum retry count must be an integer"),
        (["--restart=on-failure:-1", IMAGE], 125, "maximum retry count cannot be negative"),
        (["--restart=:1", IMAGE], 125, "no policy provided before colon"),
        (["--restart=always", "--rm", IMAGE], 125, "cannot specify both --restart and --rm"),
        (["--health-cmd", "true", IMAGE], 125, "flag --health-cmd: not supported"),
        (["-a", "stdfoo", IMAGE], 125, "valid streams are STDIN, STDOUT and STDERR"),
        (["-a", "stdout", "-d", IMAGE], 125, "cannot specify both --attach and --detach"),
        (["--log-opt", "max-size", IMAGE], 125, "bad format for log-opt: max-size"),
        (["--sig-proxy=maybe", IMAGE], 125, 'strconv.ParseBool: parsing "maybe"'),
        (["--gpus", "all", IMAGE], 125, "flag --gpus: not supported"),
        (["-it", IMAGE], 1, "the input device is not a TTY"),
    ],
)
def test_what_cannot_run_leaves_nothing_but_two_lines(
    pydock: Pydock, double: Double, words: list[str], code: int, said: str
) -> None:
    result = pydock("run", "--rm", *words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err.splitlines()[0]
    assert result.err.count("\n") == 2
    assert double.containers.list(all=True) == []


def test_what_fails_to_start_stays_without_rm(pydock: Pydock, double: Double) -> None:
    assert pydock("run", "--name", "bad", IMAGE, "no-such-program").code == 127
    assert double.containers.inspect("bad").summary.state == "created"


def test_a_missing_image_is_pulled(pydock: Pydock, double: Double) -> None:
    reference = "localhost:5000/new:1"
    double.add_remote(reference)
    said = pydock("run", "--rm", reference, "echo", "hello")
    assert (said.code, said.out) == (0, "hello\n")
    first, second, *layers, digest, status = said.err.splitlines()
    assert first == f"Unable to find image '{reference}' locally"
    assert second == "1: Pulling from localhost:5000/new"
    assert layers[0].endswith(": Pulling fs layer")
    assert digest.startswith("Digest: sha256:")
    assert status == f"Status: Downloaded newer image for {reference}"


def test_pull_policies(pydock: Pydock, double: Double) -> None:
    reference = "localhost:5000/new:1"
    double.add_remote(reference)
    assert pydock("create", "--pull", "never", reference).code == 125
    assert pydock("create", "-q", reference).err == ""
    again = pydock("create", "--pull", "always", reference)
    assert f"Status: Image is up to date for {reference}" in again.err
    assert pydock("create", reference).err == ""


def test_what_no_registry_has_is_125(pydock: Pydock) -> None:
    said = pydock("run", "localhost:5000/none:1")
    assert said.code == 125
    assert said.err.splitlines()[-2].startswith("pydock: manifest for localhost:5000/none:1")


def test_a_terminal_is_given_where_there_is_one(pydock: Pydock, double: Double) -> None:
    """-t without -i needs none on this side."""
    said = pydock("run", "--rm", "-t", IMAGE, "echo", "hi")
    assert (said.code, said.out) == (0, "hi\r\n")


def test_ports_without_a_network_of_its_own_are_discarded(pydock: Pydock) -> None:
    for network in ("host", "none"):
        said = pydock("run", "--rm", "--network", network, "-p", "80:80", IMAGE, "echo", "hi")
        assert said == (
            0, "hi\n",
            f"WARNING: Published ports are discarded when using {network} network mode\n",
        )  # fmt: skip


def test_labels_are_read_from_a_file(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("role=db\nother=1\n")
    said = pydock("create", "--label-file", str(tmp_path / "labels"), "-l", "role=web", IMAGE)
    labels = dict(double.containers.inspect(said.out.strip()).summary.labels)
    assert labels == {"role": "web", "other": "1"}


def test_inspect_agrees_with_run(pydock: Pydock) -> None:
    pydock("create", "--name", "web", "-p", "8080:80", "-m", "64m", IMAGE)
    (document,) = json.loads(pydock("inspect", "web").out)
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}]
    }
