"""The way in: verbs, help, errors, exit codes, and what is imported for it."""

import io
import subprocess
import sys
from collections.abc import Sequence

import pytest

from engine.cli import main as main_module
from engine.cli.main import COMMON, GROUPS, OTHERS, load, main
from engine.cli.output import Output
from engine.engine import Engine
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

LEAN = (
    "argparse", "asyncio", "dataclasses", "datetime", "email", "http.client", "inspect", "json",
    "logging", "pathlib", "random", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile",
    "textual", "threading", "urllib.request", "engine.engine", "engine.docker_json",
    "engine.cli.templates", "engine.relay",
)  # fmt: skip


def imported(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_ps_imports_nothing_that_it_does_not_need() -> None:
    """The command line's own part; the engine's is tested with the engine."""
    code = (
        "from types import SimpleNamespace as Stub\n"
        "from engine.cli.main import main\n"
        "containers = Stub(list=lambda all, filters: [])\n"
        "engine = Stub(containers=containers, close=lambda: None)\n"
        "assert main(['ps'], connect=lambda demo: engine) == 0"
    )
    assert not imported(code) & set(LEAN)


@pytest.mark.parametrize("verb", ["run:RUN", "attached:EXEC", "lifecycle:STOP"])
def test_verbs_on_the_way_to_a_container_are_lean(verb: str) -> None:
    code = f"import engine.cli.call\nfrom engine.cli.main import load\nload({verb!r})"
    assert not imported(code) & set(LEAN)


def test_every_verb_is_there_and_has_help(pydock: Pydock) -> None:
    lines = [[name] for name in (*COMMON, *OTHERS)]
    lines += [[group, verb] for group, (_, verbs) in GROUPS.items() for verb in verbs]
    for words in lines:
        said = pydock(*words, "--help")
        assert said.code == 0
        assert said.out.startswith("Usage:  pydock ")
        assert said.out == pydock("help", *words).out


def test_group_members_are_the_verbs_themselves() -> None:
    where = {**COMMON, **OTHERS}
    for verb, at in GROUPS["container"][1].items():
        if verb not in ("inspect", "ls", "prune"):
            assert where[verb] == at
    for verb in ("load", "pull", "tag"):
        assert where[verb] == GROUPS["image"][1][verb]


def test_alone_it_lists_its_verbs(pydock: Pydock) -> None:
    said = pydock()
    assert said.code == 0
    assert said.out == pydock("--help").out == pydock("help").out
    for title in ("Common Commands:", "Management Commands:", "Commands:", "Global Options:"):
        assert title in said.lines
    assert "  ps          List containers" in said.lines
    assert "  ls          List containers" in pydock("container").lines
    assert "cleanup" not in pydock("container", "--help").out


def test_it_says_its_version(pydock: Pydock) -> None:
    assert pydock("--version").out.startswith("pydock version ")
    assert pydock("-v").out == pydock("--version").out


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("foo", 1, "pydock: unknown command: pydock foo\nSee 'pydock --help'.\n"),
        (
            "container foo", 1,
            "pydock: unknown command: pydock container foo\nSee 'pydock container --help'.\n",
        ),
        ("build .", 1, "pydock: command build: not supported by pydock yet"),
        ("network connect a b", 1, "pydock: command network connect: not supported by pydock yet"),
        ("--foo ps", 125, "pydock: unknown flag: --foo\nSee 'pydock --help'.\n"),
        ("-H tcp://x ps", 125, "pydock: flag -H: not supported by pydock yet"),
        ("ps --foo", 125, "pydock: unknown flag: --foo\nSee 'pydock ps --help'.\n"),
        ("ps x", 1, "pydock: 'pydock ps' accepts no arguments\nSee 'pydock ps --help'.\n"),
        ("run", 1, "pydock: 'pydock run' requires at least 1 argument\nSee 'pydock run --help'.\n"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_a_hint(
    pydock: Pydock, line: str, code: int, message: str
) -> None:
    said = pydock(*line.split())
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(message)
    assert said.err.count("\n") == 2


def test_dockers_other_names_work(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    expected = pydock("ps", "-q").out
    assert expected
    for words in (("container", "ls"), ("container", "list"), ("container", "ps")):
        assert pydock(*words, "-q").out == expected
    assert pydock("image", "list", "-q").out == pydock("images", "-q").out


def run(words: Sequence[str], failure: BaseException) -> tuple[int, str]:
    def connect(demo: bool) -> Engine:
        raise failure

    err = io.BytesIO()
    code = main(words, connect=connect, output=Output(io.BytesIO(), err, terminal=False))
    return code, err.getvalue().decode()


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    code, err = run(["ps"], KeyError("oh\x1b"))
    assert code == 1
    assert err == (
        "pydock: KeyError: 'oh\\x1b': this is a bug\nhint: PYDOCK_TRACEBACK=1 shows where\n"
    )
    monkeypatch.setenv("PYDOCK_TRACEBACK", "1")
    with pytest.raises(KeyError):
        run(["ps"], KeyError("oh"))


def test_an_interrupt_is_130_and_silent() -> None:
    assert run(["ps"], KeyboardInterrupt()) == (130, "")


def test_who_hangs_up_is_not_told() -> None:
    code = (
        "import sys\n"
        "from engine.cli.main import main\n"
        "sys.stdin.read()\n"
        "sys.exit(main(['--help']))\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdin
    assert program.stdout
    assert program.stderr
    program.stdout.close()
    program.stdin.close()  # now it writes
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() == main_module.BROKEN_PIPE_EXIT


def test_commands_tell_what_docker_tells() -> None:
    assert load("containers:PS").text == "List containers"
    assert load("run:RUN").text == "Create and run a new container from an image"
