"""What a start has changed on the host is said to the person who asked for the start."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

PYDOCK = Path(sys.executable).parent / "pydock"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def said(*words: str) -> str:
    return subprocess.run([PYDOCK, *words], capture_output=True, text=True, check=True).stderr


def test_a_start_that_turns_forwarding_on_says_so_once(image: str) -> None:
    FORWARDING.write_text("0")
    told = said("run", "--rm", image, "true")
    assert told.startswith("WARNING: ip_forward was off and is on now")
    assert told.count("\n") == 1
    assert FORWARDING.read_text() == "1\n"
    assert said("run", "--rm", image, "true") == ""


def test_a_container_that_is_started_later_says_it_too(image: str) -> None:
    said("create", "--name", "one", image, "true")
    FORWARDING.write_text("0")
    assert said("start", "one").startswith("WARNING: ip_forward was off and is on now")
