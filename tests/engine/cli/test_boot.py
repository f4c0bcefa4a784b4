"""`system boot`, `halt` and `install-service`."""

import sys
from pathlib import Path

import pytest

from engine.cli import boot
from engine.model.system import Outcome
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def test_names_and_failures_are_told(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [Outcome("web"), Outcome("db", "no space"), Outcome("log")]
    monkeypatch.setattr(double.system, "boot", lambda: outcomes)
    said = pydock("system", "boot")
    assert (said.code, said.out) == (1, "web\nlog\n")
    assert said.err == "pydock: db: no space\n"


def test_all_that_runs_is_stopped(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    double.add_container("old", state="exited")
    said = pydock("system", "halt")
    assert (said.code, said.out, said.err) == (0, "web\n", "")
    assert pydock("ps", "-q").out == ""
    assert pydock("system", "boot").out == ""


def test_the_unit_names_the_program(
    pydock: Pydock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/pydock", "system"])
    monkeypatch.setattr(boot, "UNIT_PATH", str(tmp_path / "pydock.service"))
    monkeypatch.setattr(boot, "_SYSTEMD", str(tmp_path / "none"))
    printed = pydock("system", "install-service", "--print").out
    assert "ExecStart=/opt/bin/pydock system boot\n" in printed
    assert "ExecStop=/opt/bin/pydock system halt\n" in printed
    assert list(tmp_path.iterdir()) == []
    said = pydock("system", "install-service")
    assert (said.code, said.out) == (0, f"{tmp_path}/pydock.service\n")
    assert "systemctl enable pydock" in said.err
    assert (tmp_path / "pydock.service").read_text() == printed
    assert len(list(tmp_path.iterdir())) == 1


def test_where_it_cannot_be_written(pydock: Pydock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "UNIT_PATH", "/proc/pydock.service")
    said = pydock("system", "install-service")
    assert said.code == 1
    assert said.err.startswith("pydock: /proc/pydock.service: ")
    assert "--print" in said.err
