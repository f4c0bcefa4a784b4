"""`diff`, `commit`, `export`."""

import io
import tarfile
from pathlib import Path

from tests.engine.cli.conftest import Pydock
from tests.support.double import Double
from tests.support.double_world import Entry


def test_diff_has_a_letter_and_a_path(pydock: Pydock, double: Double) -> None:
    double.add_image("app:1", [{"etc/os": 5, "etc/old": 5}])
    double.add_container("web", image="app:1")
    assert pydock("diff", "web").out == ""
    double.world.get("web").written = {"etc/os": Entry(9), "etc/old": None, "srv/new": Entry(3)}
    assert pydock("diff", "web").lines == [
        "C /etc", "D /etc/old", "C /etc/os", "C /srv", "A /srv/new",
    ]  # fmt: skip
    said = pydock("container", "diff", "nothing")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: no such container: nothing")


def test_commit_says_the_new_id(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    said = pydock(
        "commit", "-a", "Ann", "-m", "why not", "-c", "ENV A=1", "--change", "USER 5", "web", "x:1"
    )
    image = double.images.inspect("x:1")
    assert said.lines == [image.summary.id]
    assert image.config.user == "5"
    assert "A=1" in image.config.env
    assert image.history[-1].comment == "why not"
    assert pydock("commit", "--pause=false", "web").code == 0


def test_a_bad_change_is_one_line_and_a_hint(pydock: Pydock, double: Double) -> None:
    double.add_container("web")
    before = len(double.images.list())
    said = pydock("commit", "-c", "RUN make", "web", "x:1")
    assert said.code == 1
    assert said.err.startswith("pydock: RUN is not a valid change command\nhint: one of CMD")
    assert len(double.images.list()) == before


def test_export_writes_a_file_or_a_pipe_and_no_terminal(
    pydock: Pydock, double: Double, tmp_path: Path
) -> None:
    double.add_image("app:1", [{"etc/os": 5}])
    double.add_container("web", image="app:1")
    file = tmp_path / "web.tar"
    assert pydock("export", "-o", str(file), "web").out == ""
    assert tarfile.is_tarfile(file)
    data = pydock("export", "web").out.encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "etc/os" in tar.getnames()
    said = pydock("export", "web", terminal=True)
    assert said.code == 1
    assert said.err.startswith("pydock: cowardly refusing to export to a terminal")
