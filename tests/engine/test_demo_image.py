"""The demo image is made of this host's tools, and is a whole OCI layout."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from engine import demo_image
from engine.errors import Unavailable


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The layout, file by file."""
    buffer = io.BytesIO()
    demo_image.write(buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_every_blob_is_what_its_name_says(files: dict[str, bytes]) -> None:
    blobs = {name: data for name, data in files.items() if name.startswith("blobs/sha256/")}
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    wanted = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(files, wanted[0]))
    wanted += [manifest["config"], *manifest["layers"]]
    assert {f"blobs/sha256/{each['digest'][7:]}" for each in wanted} == set(blobs)
    assert all(len(blob(files, each)) == each["size"] for each in wanted)


def blob(files: dict[str, bytes], descriptor: dict[str, str]) -> bytes:
    return files[f"blobs/sha256/{descriptor['digest'][7:]}"]


def test_image_is_the_same_each_time(files: dict[str, bytes]) -> None:
    again = io.BytesIO()
    demo_image.write(again)
    again.seek(0)
    with tarfile.open(fileobj=again) as tar:
        assert tar.getnames() == list(files)


def test_tools_bring_their_interpreter_and_libraries() -> None:
    found = demo_image.collect(("sh", "cat"))
    assert any(path.endswith("/cat") for path in found)
    assert any("/ld-" in path for path in found)
    assert any("/libc.so" in path or "/libc.musl" in path for path in found)
    assert all(Path(source).is_file() for source in found.values())


def test_host_without_a_needed_tool_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="sh is not in PATH"):
        demo_image.collect()
