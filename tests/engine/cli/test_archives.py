"""`save` and `load`."""

import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Pydock
from tests.support import images
from tests.support.double import Double


def test_load_says_what_was_in_it(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    image = images.make_image([{"a": b"1"}])
    archive = images.layout_tar(tmp_path / "layout", {"localhost/a:1": image})
    file = tmp_path / "image.tar"
    file.write_bytes(archive)
    assert pydock("load", "-i", str(file)).out == "Loaded image: localhost/a:1\n"
    assert pydock("load", "-i", "/nonexistent").err.startswith("pydock: open /nonexistent: no such")
    assert pydock("load", stdin=archive).out == "Loaded image: localhost/a:1\n"
    file.write_bytes(b"x" * 2000)
    assert pydock("load", "-qi", str(file)).code == 1


def test_save_writes_a_whole_file(pydock: Pydock, double: Double, tmp_path: Path) -> None:
    double.add_image("debian:bookworm", [{"a": 1000}])
    file = tmp_path / "image.tar"
    file.write_bytes(b"old")
    said = pydock("save", "-o", str(file), "debian:bookworm")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert tarfile.is_tarfile(file)
    assert os.listdir(tmp_path) == ["image.tar"]
    assert pydock("load", "-i", str(file)).out == "Loaded image: debian:bookworm\n"


def test_save_streams_into_a_pipe(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm", [{"a": 1000}])
    data = pydock("save", "debian").out.encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "manifest.json" in tar.getnames()


def test_save_refuses_a_terminal(pydock: Pydock, double: Double) -> None:
    double.add_image("debian:bookworm")
    said = pydock("save", "debian:bookworm", terminal=True)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: cowardly refusing to save to a terminal")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nonexistent/x.tar", 'invalid output path: directory "/nonexistent" does not exist'),
        ("/tmp", 'invalid output path: "/tmp" must be a regular file: it is a directory'),
        ("/dev/null", 'invalid output path: "/dev/null" must be a regular file: it is a device'),
    ],
)
def test_save_refuses_what_can_be_no_file(
    pydock: Pydock, double: Double, path: str, said: str
) -> None:
    double.add_image("debian:bookworm")
    found = pydock("save", "-o", path, "debian:bookworm")
    assert found.code == 1
    assert found.err.startswith(f"pydock: {said}")


def test_a_failed_save_leaves_what_was_there(
    pydock: Pydock, double: Double, tmp_path: Path
) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(b"old")
    assert pydock("save", "-o", str(file), "nothing:1").code == 1
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["image.tar"]


def tarball(name: str = "etc/os") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 5
        tar.addfile(info, io.BytesIO(b"first"))
    return buffer.getvalue()


def test_import_takes_a_file_or_standard_input(
    pydock: Pydock, double: Double, tmp_path: Path
) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(tarball())
    said = pydock("import", "-c", 'CMD ["sh"]', "-m", "by hand", str(file), "flat:1")
    image = double.images.inspect("flat:1")
    assert said.lines == [image.summary.id]
    assert image.config.command == ("sh",)
    assert image.history[0].comment == "by hand"
    piped = pydock("import", "-", stdin=tarball("etc/other"))
    assert double.images.inspect(piped.lines[0]).history[0].comment == "Imported from -"
    said = pydock("import", "/nonexistent", "flat:2")
    assert said.code == 1
    assert said.err.startswith("pydock: open /nonexistent: no such file")


@pytest.fixture
def web() -> Iterator[str]:
    """A server of one file, that also breaks off in the middle of another."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/root.tar", "/cut.tar"):
                self.send_error(404)
                return
            data = tarball()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if self.path == "/root.tar" else data[:700])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_import_takes_a_url(pydock: Pydock, double: Double, web: str) -> None:
    assert pydock("import", f"{web}/root.tar", "flat:1").code == 0
    (step,) = double.images.inspect("flat:1").history
    assert step.comment == f"Imported from {web}/root.tar"
    said = pydock("import", f"{web}/none.tar", "flat:2")
    assert (said.code, said.err.splitlines()[0]) == (1, f"pydock: {web}/none.tar: 404 Not Found")
    said = pydock("import", f"{web}/cut.tar", "flat:2")
    assert said.code == 1
    assert "bytes too early" in said.err
    said = pydock("import", "http://127.0.0.1:1/x", "flat:2")
    assert (said.code, said.err.splitlines()[0]) == (
        1, "pydock: http://127.0.0.1:1/x: connection refused"
    )  # fmt: skip
    assert [row.references for row in double.images.list()] == [("flat:1",)]
