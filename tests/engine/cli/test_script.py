"""The process `pydock`: how it begins, and how it ends."""

import subprocess
import sys

import pytest

SCRIPT = "from engine.cli.script import script; script()"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 1, "pydock: standard output: no space left on device\n"),
        ("2>/dev/full --foo", 1, ""),
        (">&-", 0, ""),
        ("2>&- --foo", 125, ""),
        ("<&-", 0, ""),
    ],
)
def test_an_output_that_takes_nothing_makes_no_traceback(
    redirection: str, code: int, said: str
) -> None:
    shell = f"exec {sys.executable} -c '{SCRIPT}' ps --help {redirection}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_nothing_is_collected_while_a_command_is_imported() -> None:
    code = (
        "import gc, os, sys\n"
        "runs = []\n"
        "gc.callbacks.append(lambda phase, info: runs.append(phase))\n"
        "os._exit = lambda code: print(len(runs) - before, code, file=sys.stderr)\n"
        "sys.argv[1:] = ['--help']\n"
        "from engine.cli.script import script\n"
        "before = len(runs)\n"
        "script()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "0 0\n")
