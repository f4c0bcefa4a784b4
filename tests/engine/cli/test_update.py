"""`update`: its flags, and what is said."""

import json

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_limits_are_changed_of_several(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    double.add_container("db")
    said = pydock(
        "update", "-m", "64m", "--memory-swap", "128m", "--cpus", "1", "-c", "512",
        "--pids-limit", "0", "--restart", "on-failure:3", "--cpuset-cpus", "0", "web", "db",
    )  # fmt: skip
    assert (said.code, said.lines, said.err) == (0, ["web", "db"], "")
    (found,) = json.loads(pydock("container", "inspect", "db").out)
    shown = found["HostConfig"]
    assert (shown["Memory"], shown["MemorySwap"]) == (64 << 20, 128 << 20)
    assert (shown["NanoCpus"], shown["CpuShares"], shown["CpusetCpus"]) == (10**9, 512, "0")
    assert shown["PidsLimit"] is None
    assert shown["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}


def test_mistakes_are_one_line_and_a_hint(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock("update", "web")
    assert said.code == 1
    assert said.err.startswith("pydock: you must provide one or more flags when using this command")
    said = pydock("container", "update", "-m", "1m", "web", "nobody")
    assert (said.code, said.out) == (1, "")
    assert "pydock: minimum memory limit allowed is 6MB\nhint: " in said.err
    assert "pydock: no such container: nobody" in said.err
    assert pydock("update", "-m", "lots", "web").code == 125
    assert pydock("update", "--restart", "perhaps", "web").code == 125
    assert pydock("update", "--kernel-memory", "1m", "web").code == 125
