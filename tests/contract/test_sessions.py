"""Attach, exec, start_attached: bytes both ways, terminals, ends."""

import select
from collections.abc import Iterator

import pytest

from engine.engine import Engine, Session
from engine.errors import NotFound, Unavailable
from engine.model.container import CreateOptions


@pytest.fixture
def options(image: str) -> CreateOptions:
    return CreateOptions(image=image, command=("sleep", "1000"), network="none")


@pytest.fixture
def running(engine: Engine, options: CreateOptions) -> Iterator[str]:
    """A container that sleeps."""
    ref = engine.containers.create(options._replace(env=("COLOUR=red",)))
    engine.containers.start(ref)
    yield ref
    engine.containers.remove(ref, force=True)


def read_all(session: Session) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    while True:
        source, data = session.read()
        if not data:
            return found
        found[source] += data


def read_until(session: Session, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        _, data = session.read()
        assert data, f"{wanted!r} is not in {found!r}"
        found += data
    return found


def test_exec_may_be_privileged(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["sh", "-c", "exit 3"], privileged=True)
    assert session.wait() == 3


def test_exec_keeps_the_streams_apart_and_the_code(engine: Engine, running: str) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; exit 5"]
    session = engine.containers.exec(running, command)
    assert read_all(session) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert session.wait() == 5
    assert session.wait() == 5
    session.close()


def test_exec_reads_stdin_to_its_end(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["cat"], stdin=True)
    session.write(b"one\n")
    assert read_until(session, b"one\n") == b"one\n"
    session.write(b"x" * 200_000)
    session.close_stdin()
    assert read_all(session)["stdout"] == b"x" * 200_000
    assert session.wait() == 0
    session.close()


def test_exec_without_stdin_reads_nothing(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["cat"])
    assert read_all(session) == {"stdout": b"", "stderr": b""}
    assert session.wait() == 0
    session.close()


def test_exec_takes_environment_directory_and_user(engine: Engine, running: str) -> None:
    session = engine.containers.exec(
        running,
        ["sh", "-c", "pwd; id -u; echo $COLOUR $SHAPE"],
        env=["SHAPE=round"],
        working_directory="/tmp",
        user="7",
    )
    assert read_all(session)["stdout"] == b"/tmp\n7\nred round\n"
    session.close()


def test_a_missing_command_is_127(engine: Engine, running: str) -> None:
    with pytest.raises(NotFound, match="executable file not found") as failure:
        engine.containers.exec(running, ["no-such-program"])
    assert failure.value.exit_code == 127


def test_a_terminal_echoes_and_has_a_size(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["sh"], tty=True, stdin=True, size=(31, 97))
    assert session.tty
    session.write(b"stty size\n")
    seen = read_until(session, b"31 97")
    assert b"stty size\r\n" in seen
    session.resize(40, 132)
    session.write(b"stty size\n")
    read_until(session, b"40 132")
    session.write(b"exit 4\n")
    read_all(session)
    assert session.wait() == 4
    session.close()


def test_the_descriptor_says_when_read_will_not_block(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["cat"], stdin=True)

    def readable(timeout_seconds: float) -> bool:
        return bool(select.select([session.fileno()], [], [], timeout_seconds)[0])

    assert not readable(0.05)
    session.write(b"a")
    assert readable(5)
    assert session.read() == ("stdout", b"a")
    assert not readable(0.05)
    session.close_stdin()
    assert readable(5)
    assert session.read()[1] == b""
    session.close()


def test_a_signal_ends_it(engine: Engine, running: str) -> None:
    session = engine.containers.exec(running, ["sleep", "100"])
    session.signal(15)
    assert session.wait() == 143
    session.close()


def test_start_attached_misses_no_byte(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(command=("seq", "2000")))
    session = engine.containers.start_attached(ref)
    expected = "".join(f"{number}\n" for number in range(1, 2001)).encode()
    assert read_all(session)["stdout"] == expected
    assert session.wait() == 0
    session.close()
    lines = list(engine.containers.logs(ref))
    assert b"".join(line.text + b"\n" for line in lines) == expected


def test_an_interactive_container_reads_what_is_written(
    engine: Engine, options: CreateOptions
) -> None:
    ref = engine.containers.create(options._replace(command=("cat",), interactive=True))
    session = engine.containers.start_attached(ref, stdin=True)
    session.write(b"typed\n")
    session.close_stdin()
    assert read_all(session)["stdout"] == b"typed\n"
    assert session.wait() == 0
    session.close()


def test_who_is_not_interactive_finds_stdin_at_its_end(
    engine: Engine, options: CreateOptions
) -> None:
    ref = engine.containers.create(options._replace(command=("cat",)))
    session = engine.containers.start_attached(ref, stdin=True)
    assert session.wait() == 0
    session.close()


def test_the_code_of_one_that_removes_itself_is_known_when_it_is_gone(
    engine: Engine, options: CreateOptions
) -> None:
    command = ("sh", "-c", "exit 6")
    ref = engine.containers.create(options._replace(command=command, auto_remove=True))
    session = engine.containers.start_attached(ref)
    assert session.wait() == 6
    assert engine.containers.list(all=True) == []
    session.close()


def test_detaching_leaves_it_running_and_another_can_attach(
    engine: Engine, options: CreateOptions
) -> None:
    command = ("sh", "-c", "echo hello; cat")
    ref = engine.containers.create(options._replace(command=command, interactive=True, tty=True))
    first = engine.containers.start_attached(ref, stdin=True, size=(24, 80))
    read_until(first, b"hello\r\n")
    first.detach()
    assert first.read()[1] == b""
    with pytest.raises(Unavailable):
        first.wait()
    first.close()
    assert engine.containers.inspect(ref).summary.state == "running"
    second = engine.containers.attach(ref, replay=True)
    assert read_until(second, b"hello\r\n") == b"hello\r\n"
    second.write(b"again\n")
    read_until(second, b"again\r\nagain\r\n")  # the echo, and what cat made of it
    second.write(b"\x04")
    assert second.wait() == 0
    second.close()


def test_who_leaves_a_pipe_ends_its_stdin(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(command=("cat",), interactive=True))
    session = engine.containers.start_attached(ref, stdin=True)
    session.close()
    assert engine.containers.wait(ref) == 0


def test_two_sessions_see_the_same(engine: Engine, options: CreateOptions) -> None:
    ref = engine.containers.create(options._replace(command=("cat",), interactive=True))
    writer = engine.containers.start_attached(ref, stdin=True)
    watcher = engine.containers.attach(ref, stdin=False)
    writer.write(b"seen by both\n")
    for session in (writer, watcher):
        read_until(session, b"seen by both\n")
    watcher.write(b"not for it\n")
    writer.close_stdin()
    assert read_all(writer)["stdout"] == b""
    for session in (writer, watcher):
        assert session.wait() == 0
        session.close()


def test_who_has_the_code_finds_the_container_as_it_has_ended(
    engine: Engine, options: CreateOptions
) -> None:
    ref = engine.containers.create(options._replace(command=("cat",), interactive=True))
    first = engine.containers.start_attached(ref, stdin=True)
    second = engine.containers.attach(ref, stdin=False)
    first.detach()  # the end of its input, and nobody is there to clean up
    assert second.wait() == 0
    assert engine.containers.inspect(ref).summary.state == "exited"
    for session in (first, second):
        session.close()
