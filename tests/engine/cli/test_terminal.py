"""`pydock` on a real terminal and the real engine: shells, detaching, interrupted pulls."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import Entry, File, Symlink
from tests.support.registry import Registry
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

PYDOCK = [sys.executable, "-c", "import sys; from engine.cli.main import main; sys.exit(main())"]
BOX = "localhost/box:1"


def pydock(*words: str) -> str:
    return subprocess.run([*PYDOCK, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def box(roots: tuple[str, str], tmp_path: Path) -> str:
    """An image with busybox in it, in this test's own store."""
    busybox = shutil.which("busybox")
    assert busybox
    layer: dict[str, Entry] = {"bin": None, "bin/busybox": File(Path(busybox).read_bytes())}
    layer |= {f"bin/{name}": Symlink("busybox") for name in ("sh", "cat", "stty", "sleep", "echo")}
    archive = tmp_path / "box.tar"
    archive.write_bytes(
        images.layout_tar(tmp_path / "layout", {BOX: images.make_image([layer], compression="")})
    )
    assert pydock("load", "-i", str(archive)) == f"Loaded image: {BOX}\n"
    return BOX


def test_a_shell_has_the_terminals_size_and_its_own_exit_code(box: str) -> None:
    words = ["run", "-it", "--rm", "--network", "none", box, "sh"]
    with Terminal([*PYDOCK, *words], columns=90, rows=20) as terminal:
        terminal.until("/ #")
        terminal.type("stty size\n")
        terminal.until("20 90")
        terminal.resize(110, 30)
        terminal.type('while [ "$(stty size)" != "30 110" ]; do sleep 0.01; done; echo now $?\n')
        terminal.until("now 0")
        terminal.type("\x03exit 4\n")  # an interrupt is the shell's, not ours
        assert terminal.wait() == 4
    assert pydock("ps", "-aq") == ""


def test_who_detaches_finds_it_again(box: str) -> None:
    words = ["run", "-it", "--name", "shell", "--network", "none", box, "sh"]
    with Terminal([*PYDOCK, *words]) as terminal:
        terminal.until("/ #")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert pydock("ps", "--format", "{{.Names}} {{.State}}") == "shell running\n"
    with Terminal([*PYDOCK, "attach", "shell"]) as terminal:
        terminal.type("echo back $((6 * 7))\n")
        terminal.until("back 42")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5
    assert pydock("wait", "shell") == "5\n"
    assert "Exited (5)" in pydock("ps", "-a")
    pydock("rm", "shell")


def test_a_pull_draws_its_layers_and_can_be_interrupted(
    roots: tuple[str, str], registry: Registry
) -> None:
    layers = [{f"data{number}": os.urandom(3_000_000)} for number in range(2)]
    image = images.make_image(layers, compression="")
    reference = images.push(registry, "drawn", "1", image)
    with Terminal([*PYDOCK, "pull", reference], columns=130) as terminal:
        assert terminal.wait() == 0
        terminal.settle()
        lines = terminal.screen().strip().splitlines()
    assert [line.partition(": ")[2].strip() for line in lines[1:3]] == ["Pull complete"] * 2
    assert lines[-1].strip() == reference
    long = images.make_image([{"data": os.urandom(3_000_000)}], compression="")
    (layer,) = long.layers

    def stall(exchange: Exchange) -> bool:
        if layer.digest not in exchange.path:
            return False
        exchange.send_head(200, None, len(layer.data))
        exchange.wfile.write(layer.data[: len(layer.data) // 2])
        exchange.stall()
        return True

    with FaultServer(stall) as server:
        other = images.serve(server, "long", "1", long)
        with Terminal([*PYDOCK, "pull", other]) as terminal:
            terminal.until("Downloading")
            terminal.type("\x03")
            assert terminal.wait() == 130
    assert other not in pydock("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert pydock("system", "fsck") == "no damage found\n"
