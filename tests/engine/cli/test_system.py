"""`version`, `info`, `system fsck`, `demo`."""

import io
import json

import pytest

from engine.cli.main import main
from engine.cli.output import Output
from engine.engine import Engine
from engine.errors import InvalidInput, Unavailable
from engine.model.registry import RegistrySettings
from engine.model.system import Damage
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.double_registries import DoubleRegistries


def test_version_tells_of_both_sides(pydock: Pydock) -> None:
    said = pydock("version")
    assert said.code == 0
    assert said.lines[0] == "Client: pydock"
    assert " Kernel:              6.1.0" in said.lines
    assert pydock("version", "--format", "{{.Server.Version}}").out == "0.1.0\n"
    assert json.loads(pydock("version", "-f", "json").out)["Server"]["Os"] == "linux"


def test_version_without_an_engine_tells_of_the_client() -> None:
    def connect(demo: bool) -> Engine:
        raise Unavailable("pydock needs root", "run it with sudo")

    out, err = io.BytesIO(), io.BytesIO()
    code = main(["version"], connect=connect, output=Output(out, err, terminal=False))
    assert code == 1
    assert out.getvalue().startswith(b"Client: pydock\n Version:")
    assert err.getvalue() == b"pydock: pydock needs root\nhint: run it with sudo\n"


def test_info_counts(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    double.add_container("old", state="exited")
    double.info = double.info._replace(warnings=("careful",))
    said = pydock("info")
    assert said.lines[:5] == [
        "Containers: 2", " Running: 1", " Paused: 0", " Stopped: 1", "Images: 1",
    ]  # fmt: skip
    assert "Total Memory: 16GiB" in said.lines
    assert said.err == "WARNING: careful\n"
    assert pydock("info", "-f", "{{.ContainersRunning}}").out == "1\n"
    assert pydock("system", "info").out == said.out


def test_info_names_mirrors_and_insecure_registries(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Registry Mirrors:" not in pydock("info").out
    registries = double.registries
    assert isinstance(registries, DoubleRegistries)
    mirrors = (("docker.io", "https://m.example"), ("docker.io", "near"), ("r:1", "far/x"))
    registries.said = RegistrySettings(mirrors, ("r:2", "10.0.0.0/8"))
    lines = pydock("info").lines
    assert lines[lines.index("Insecure Registries:") :] == [
        "Insecure Registries:", " r:2", " 10.0.0.0/8",
        "Registry Mirrors:", " https://m.example (docker.io)", " near (docker.io)", " far/x (r:1)",
    ]  # fmt: skip
    said = pydock("info", "-f", "{{json .RegistryConfig}}").out
    config = json.loads(said)
    assert config["InsecureRegistryCIDRs"] == ["10.0.0.0/8"]
    assert config["Mirrors"] == ["https://m.example", "near"]
    assert config["IndexConfigs"]["docker.io"] == {
        "Name": "docker.io", "Mirrors": ["https://m.example", "near"], "Secure": True,
        "Official": True,
    }  # fmt: skip
    assert not config["IndexConfigs"]["r:2"]["Secure"]

    def fail() -> None:
        raise InvalidInput("config.toml: broken")

    monkeypatch.setattr(registries, "settings", fail)
    said_again = pydock("info")
    assert (said_again.code, said_again.err) == (0, "WARNING: config.toml: broken\n")


def test_fsck_tells_damage_and_mends_it(pydock: Pydock, double: Double) -> None:
    assert pydock("system", "fsck") == (0, "no damage found\n", "")
    double.add_damage(Damage("blob", "sha256:12", "is missing"))
    said = pydock("system", "fsck")
    assert (said.code, said.out) == (1, "blob sha256:12: is missing\n")
    assert "--repair" in said.err
    said = pydock("system", "fsck", "--repair")
    assert (said.code, said.out) == (0, "blob sha256:12: is missing (repaired)\n")


def test_the_demo_is_asked_of_its_own_engine(double: Double) -> None:
    asked: list[bool] = []
    double.add_image("pydock/demo:latest")

    def connect(demo: bool) -> Engine:
        asked.append(demo)
        return double

    from engine import demo_image

    double.add_image(demo_image.REFERENCE)
    for row in ("web", "worker", "cache"):
        double.add_container(row)
    output = Output(io.BytesIO(), io.BytesIO(), terminal=False)
    assert main(["demo", "up"], connect=connect, output=output) == 0
    assert asked == [True]
    assert "demo" in [network.name for network in double.networks.list()]


def test_no_demo_is_told(pydock: Pydock, tmp_path: object) -> None:
    said = pydock("--root", f"{tmp_path}/none", "--run-root", f"{tmp_path}/run", "demo", "down")
    assert (said.code, said.out) == (0, "there is no demo\n")
