"""`exec`, `attach`, `start -a`: sessions, and who may have one."""

import os
import pty
import threading
from collections.abc import Iterator

import pytest

from engine.engine import Session
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

IMAGE = "debian:bookworm"


@pytest.fixture
def web(pydock: Pydock, double: Double) -> Iterator[str]:
    double.add_image(IMAGE)
    pydock("run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    yield "web"
    double.containers.remove("web", force=True)


def test_exec_gives_streams_and_code(pydock: Pydock, web: str) -> None:
    said = pydock("exec", web, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert said == (5, "out\n", "err\n")
    assert pydock("exec", "-i", web, "cat", stdin=b"typed").out == "typed"
    assert pydock("exec", web, "cat", stdin=b"typed").out == ""


def test_exec_takes_options_before_the_container_only(pydock: Pydock, web: str) -> None:
    script = "pwd; id -u; echo $COLOUR"
    said = pydock("exec", "-w", "/tmp", "-u", "7", "-e", "COLOUR=red", web, "sh", "-c", script)
    assert said.lines == ["/tmp", "7", "red"]
    assert pydock("exec", web, "echo", "-it", "-d").out == "-it -d\n"


def test_exec_failures_have_dockers_codes(pydock: Pydock, double: Double, web: str) -> None:
    assert pydock("exec", web, "no-such-program").code == 127
    assert pydock("exec", "missing", "true").code == 1
    assert pydock("exec", "--privileged", web, "true").code == 0
    said = pydock("exec", "-it", web, "sh")
    assert (said.code, said.err.splitlines()[0]) == (1, "pydock: the input device is not a TTY")
    double.containers.pause(web)
    said = pydock("exec", web, "true")
    assert said.code == 1
    assert "container web is paused" in said.err


def test_detach_keys_are_checked_before_anything_starts(
    pydock: Pydock, double: Double, web: str
) -> None:
    assert "unknown key 'nope'" in pydock("exec", "--detach-keys", "nope", web, "true").err
    assert pydock("run", "--detach-keys", "nope", IMAGE).code == 1
    assert [row.name for row in double.containers.list(all=True)] == ["web"]
    assert pydock("create", "--detach-keys", "a", IMAGE).code == 125


def test_a_detached_exec_says_nothing(pydock: Pydock, double: Double, web: str) -> None:
    assert pydock("exec", "-d", web, "sleep", "50") == (0, "", "")
    assert [each.command for each in double.containers.top(web)] == ["sleep 1000", "sleep 50"]


def test_attach_needs_a_running_container(pydock: Pydock, double: Double) -> None:
    double.add_container("created", state="created")
    double.add_container("paused", state="paused")
    assert "cannot attach to a stopped container" in pydock("attach", "created").err
    assert "cannot attach to a paused container" in pydock("attach", "paused").err
    assert pydock("attach", "missing").code == 1


def test_attach_ends_with_the_container(
    pydock: Pydock, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_container("web")
    attached = threading.Event()
    attach = double.containers.attach

    def told(ref: str, *, stdin: bool) -> Session:
        session = attach(ref, stdin=stdin)
        attached.set()
        return session

    def live() -> None:
        attached.wait()
        double.say("web", "hello")
        double.end("web", 4)

    monkeypatch.setattr(double.containers, "attach", told)
    threading.Thread(target=live).start()
    assert pydock("attach", "web") == (4, "hello\n", "")


def test_start_attached_gives_output_and_code(pydock: Pydock, double: Double) -> None:
    double.add_image(IMAGE)
    pydock("create", "-i", "--name", "echo", IMAGE, "cat")
    assert pydock("start", "-ai", "echo", stdin=b"typed\n") == (0, "typed\n", "")
    pydock("create", "--name", "ends", IMAGE, "sh", "-c", "echo bye; exit 3")
    assert pydock("start", "-a", "ends") == (3, "bye\n", "")
    said = pydock("start", "-a", "echo", "ends")
    assert "cannot start and attach multiple containers at once" in said.err


def test_detach_keys_leave_the_container_running(pydock: Pydock, double: Double) -> None:
    """`run -it` on a real terminal: type, see, press the keys."""
    double.add_image(IMAGE)
    controller, terminal = pty.openpty()
    kept = [os.dup(number) for number in (0, 1)]
    seen = bytearray()

    def person() -> None:
        os.write(controller, b"hello\n")
        while b"hello\r\nhello" not in seen:
            seen.extend(os.read(controller, 1000))
        os.write(controller, b"\x10x")

    from engine.cli.main import main
    from engine.cli.output import Output

    typing = threading.Thread(target=person)
    try:
        for number in (0, 1):
            os.dup2(terminal, number)
        typing.start()
        with open(os.devnull, "wb") as nowhere:
            code = main(
                ["run", "-it", "--detach-keys", "ctrl-p,x", "--name", "shell", IMAGE, "cat"],
                connect=lambda demo: double,
                output=Output(nowhere, nowhere, terminal=True),
            )
    finally:
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        typing.join(60)
        os.close(controller)
        os.close(terminal)
    assert code == 0
    assert double.containers.inspect("shell").summary.state == "running"
    double.containers.remove("shell", force=True)
