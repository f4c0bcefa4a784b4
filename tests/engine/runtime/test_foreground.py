import os
import pty
import subprocess
from pathlib import Path

import pytest

from engine.kernel import tty
from tests.engine.runtime.test_oci_cli import Oci

pytestmark = pytest.mark.root


def test_terminal_of_the_caller_is_the_containers(tmp_path: Path) -> None:
    oci = Oci(tmp_path)
    oci.configure("sh", "-c", "stty size; read line; echo got $line; exit 4", terminal=True)
    master, terminal = pty.openpty()
    tty.set_size(master, 25, 77)
    process = subprocess.Popen(
        oci.command("run", "-b", str(oci.bundle), "c"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output = b""
    while b"25 77" not in output:
        output += os.read(master, 1000)
    os.write(master, b"hello\r")
    while True:
        try:
            output += os.read(master, 1000)
        except OSError:  # EIO: the last one has closed it
            break
    assert process.wait() == 4
    assert output.count(b"hello") == 2  # echoed once, by the container's terminal
    assert b"got hello" in output
    os.close(master)
