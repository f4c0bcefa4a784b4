"""Verbs on containers: what they say, and that one failure does not stop the rest."""

from types import SimpleNamespace

from engine.cli.main import main
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


def states(double: Double) -> dict[str, str]:
    return {row.name: row.state for row in double.containers.list(all=True)}


def test_verbs_answer_with_what_they_were_given(pydock: Pydock, double: Double) -> None:
    identity = double.add_container("web")
    double.add_container("db")
    for verb, state in (("pause", "paused"), ("unpause", "running"), ("stop", "exited")):
        said = pydock(verb, "web", identity[:12]) if verb == "stop" else pydock(verb, "web")
        assert said.code == 0
        assert said.lines[0] == "web"
        assert states(double)["web"] == state
    assert pydock("start", "web").out == "web\n"
    assert states(double)["web"] == "running"
    assert pydock("kill", "web", "db").lines == ["web", "db"]
    assert states(double) == {"web": "exited", "db": "exited"}


def test_the_rest_is_done_though_one_fails(pydock: Pydock, double: Double) -> None:
    double.add_container("one")
    double.add_container("two")
    said = pydock("stop", "one", "missing", "two")
    assert said.code == 1
    assert said.lines == ["one", "two"]
    assert said.err == "pydock: no such container: missing\nhint: pydock ps -a lists them\n"


def test_stop_and_restart_send_the_signal_that_is_named(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    assert pydock("stop", "-s", "KILL", "-t", "0", "web").lines == ["web"]
    assert double.containers.inspect("web").summary.exit_code == 128 + 9
    pydock("start", "web")
    assert pydock("restart", "--signal", "SIGTERM", "-t", "1", "web").code == 0
    said = pydock("stop", "--signal", "NOSUCH", "web")
    assert said.code == 1
    assert said.err.startswith("pydock: invalid signal: NOSUCH")


def test_stop_waits_as_long_as_it_is_told(pydock: Pydock, double: Double) -> None:
    double.add_image()
    pydock("run", "-d", "--name", "deaf", "debian:bookworm", "sleep", "1000")
    assert pydock("stop", "-t", "0", "deaf").code == 0
    assert double.containers.inspect("deaf").summary.exit_code == 137
    assert pydock("start", "deaf").code == 0
    assert pydock("restart", "--time=0", "deaf").out == "deaf\n"
    assert states(double)["deaf"] == "running"


def test_kill_sends_a_signal(pydock: Pydock, double: Double) -> None:
    double.add_container("web", stop_code=9)
    assert pydock("kill", "-s", "TERM", "web").code == 0
    assert double.containers.inspect("web").summary.exit_code == 9
    assert "invalid signal" in pydock("kill", "--signal", "NOPE", "web").err


def test_wait_prints_exit_codes(pydock: Pydock, double: Double) -> None:
    double.add_container("a-3", state="exited", exit_code=3)
    double.add_container("b-4", state="exited", exit_code=4)
    assert pydock("wait", "a-3", "b-4").lines == ["3", "4"]


def test_rename_is_silent(pydock: Pydock, double: Double) -> None:
    double.add_container("old-name")
    assert pydock("rename", "old-name", "new-name").out == ""
    assert states(double) == {"new-name": "running"}


def test_rm_refuses_what_runs_unless_forced(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock("rm", "web")
    assert said.code == 1
    assert "cannot remove container web: container is running" in said.err
    assert pydock("rm", "-f", "web").out == "web\n"
    said = pydock("rm", "-f", "web")  # docker: said, but no failure
    assert (said.code, said.out) == (0, "")
    assert "no such container: web" in said.err
    assert pydock("rm", "web").code == 1


def test_rm_takes_anonymous_volumes_when_asked(pydock: Pydock, double: Double) -> None:
    double.add_image()
    pydock("create", "--name", "keeper", "-v", "/data", "debian:bookworm")
    pydock("rm", "-v", "keeper")
    assert double.volumes.list() == []


def test_the_exit_command_reaches_the_engine_of_this_host() -> None:
    done: list[str] = []
    engine = SimpleNamespace(
        containers=SimpleNamespace(cleanup=done.append), close=lambda: done.append("closed")
    )
    assert main(["container", "cleanup", "f" * 64], connect=lambda demo: engine) == 0  # type: ignore[arg-type,return-value]
    assert done == ["f" * 64, "closed"]
