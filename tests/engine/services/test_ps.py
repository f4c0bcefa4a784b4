"""`top` with options: the host's ps(1), for a container's processes alone."""

import os

import pytest

from engine.errors import Conflict, InvalidInput, Unavailable
from engine.local import LocalEngine
from engine.model.container import CreateOptions

pytestmark = pytest.mark.root


@pytest.fixture
def pid(engine: LocalEngine, image: str) -> str:
    ref = engine.containers.create(
        CreateOptions(image, "box", command=("sleep", "1000"), network="none")
    )
    engine.containers.start(ref)
    return str(engine.containers.inspect(ref).summary.pid)


def test_options_choose_the_columns(engine: LocalEngine, pid: str) -> None:
    assert engine.containers.top_by("box", ["-o", "pid,args", "-e"]) == [
        ["PID", "COMMAND"], [pid, "sleep 1000"],
    ]  # fmt: skip
    titles, row = engine.containers.top_by("box", ["aux"])
    assert (titles[1], titles[-1]) == ("PID", "COMMAND")
    assert (row[1], row[-1]) == (pid, "sleep 1000")
    titles, row = engine.containers.top_by("box", ["-ef"])
    assert len(titles) == len(row) == 8


def test_what_ps_refuses_is_said(engine: LocalEngine, pid: str) -> None:
    with pytest.raises(InvalidInput, match=r"^ps: ") as caught:
        engine.containers.top_by("box", ["--no-such-option"])
    assert caught.value.hint
    with pytest.raises(InvalidInput, match="couldn't find PID field in ps output"):
        engine.containers.top_by("box", ["-e", "-o", "args"])


def test_a_host_without_ps_and_a_container_without_processes(
    engine: LocalEngine, pid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    with pytest.raises(Unavailable, match="ps: not installed on this host"):
        engine.containers.top_by("box", ["-ef"])
    engine.containers.stop("box", timeout_seconds=0)
    with pytest.raises(Conflict, match="is not running"):
        engine.containers.top_by("box", ["-ef"])
