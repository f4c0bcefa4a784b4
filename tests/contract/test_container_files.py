"""What every engine says of a container's files, and the images that are made of them."""

import gzip
import io
import tarfile

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, Corrupt, InvalidInput, NotFound
from engine.model.container import CreateOptions
from tests.contract.conftest import DRIVEN, ENGINES

pytestmark = pytest.mark.parametrize("engine", [*ENGINES, *DRIVEN], indirect=True)


@pytest.fixture
def container(engine: Engine, image: str) -> str:
    options = CreateOptions(
        image=image, name="box", network="none", env=("MORE=1",), labels=(("who", "me"),)
    )
    return engine.containers.create(options)


def exported(engine: Engine, ref: str) -> list[str]:
    output = io.BytesIO()
    engine.containers.export(ref, output)
    output.seek(0)
    with tarfile.open(fileobj=output) as tar:
        return tar.getnames()


def test_a_new_container_has_changed_nothing(engine: Engine, container: str) -> None:
    assert engine.containers.changes("box") == []
    with pytest.raises(NotFound, match="no such container: nothing"):
        engine.containers.changes("nothing")


def test_an_export_has_what_the_image_shows(engine: Engine, container: str) -> None:
    names = exported(engine, container[:12])
    assert {"bin", "bin/busybox", "bin/sh", "etc/motd", "usr/new"} <= set(names)
    assert "usr/junk" not in names  # its second layer removes it
    with pytest.raises(NotFound):
        engine.containers.export("nothing", io.BytesIO())


def test_a_commit_is_the_container_as_an_image(engine: Engine, container: str, image: str) -> None:
    identity = engine.containers.commit("box", "made:1", author="Ann", message="why not")
    row = engine.images.inspect("made:1")
    base = engine.images.inspect(image)
    assert row.comment == "why not"
    assert row.summary.id == identity
    assert row.summary.references == ("made:1",)
    assert row.diff_ids == base.diff_ids  # nothing was written
    assert row.config.command == ("sh",)
    assert "MORE=1" in row.config.env
    assert dict(row.config.labels) == {"maker": "contract", "who": "me"}
    newest, *rest = engine.images.history("made:1")
    assert (newest.comment, newest.created_by, newest.size_bytes) == ("why not", "sh", 0)
    assert len(rest) == 2
    assert engine.containers.create(CreateOptions(image="made:1", network="none"))


def test_a_commit_takes_changes(engine: Engine, container: str) -> None:
    engine.containers.commit(
        "box", "made:1",
        changes=['CMD ["echo", "hi"]', "ENV A=$MORE", "EXPOSE 8080", "WORKDIR /srv", "USER 5"],
    )  # fmt: skip
    config = engine.images.inspect("made:1").config
    assert config.command == ("echo", "hi")
    assert "A=1" in config.env
    assert set(config.exposed_ports) == {"80/tcp", "8080/tcp"}
    assert (config.working_directory, config.user) == ("/srv", "5")


def test_a_commit_needs_no_name_and_takes_no_digest(engine: Engine, container: str) -> None:
    identity = engine.containers.commit("box")
    assert engine.images.inspect(identity).summary.references == ()
    with pytest.raises(InvalidInput, match="RUN is not a valid change command"):
        engine.containers.commit("box", changes=["RUN make"])
    with pytest.raises(InvalidInput, match="digest reference"):
        engine.containers.commit("box", f"x@sha256:{'0' * 64}")
    with pytest.raises(NotFound):
        engine.containers.commit("nothing")
    assert len(engine.images.list()) == 2


def test_a_tree_is_imported_as_one_layer(engine: Engine, container: str) -> None:
    output = io.BytesIO()
    engine.containers.export("box", output)
    for data in (output.getvalue(), gzip.compress(output.getvalue())):
        identity = engine.images.import_(
            io.BytesIO(data), "flat:1", changes=["CMD sh"], message="from a tar"
        )
        row = engine.images.inspect("flat:1")
        assert row.summary.id == identity
        assert row.summary.layers == 1
        assert row.config.command == ("/bin/sh", "-c", "sh")
        assert engine.images.history("flat:1")[0].comment == "from a tar"
    view = engine.layers.open("flat:1")
    tree = view.tree(0, aggregated=True)
    assert "bin/busybox" in {tree.path(node) for node in range(len(tree))}
    view.close()


def test_what_is_no_tar_is_not_imported(engine: Engine) -> None:
    with pytest.raises((InvalidInput, Corrupt)):
        engine.images.import_(io.BytesIO(b"no tar at all" * 100), "flat:1")
    assert engine.images.list() == []


def test_files_hear_a_cancel(engine: Engine, container: str) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.containers.commit("box", cancel=cancel)
    with pytest.raises(Cancelled):
        engine.containers.export("box", io.BytesIO(), cancel=cancel)
    with pytest.raises(Cancelled):
        engine.images.import_(io.BytesIO(b"x"), cancel=cancel)
    assert len(engine.images.list()) == 1
