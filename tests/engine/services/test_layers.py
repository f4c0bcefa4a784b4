"""Which files a reference means, and what is left of looking at them."""

import os
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled
from engine.services.layers import LayerFiles, LayerService, is_path, split
from engine.storage.image_store import ImageStore
from tests.support.images import compress, layout_tar, make_image
from tests.support.store import open_store

LAYERS = ({"a": b"1" * 500}, {"a": b"2" * 100})


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        ("./a.tar", True), ("/a", True), ("..", True), ("../x", True), ("oci:x:1", True),
        ("docker-archive:x.tar", True), ("a.tar", False), ("debian:12", False), ("a/b", False),
    ],
)  # fmt: skip
def test_some_words_can_only_be_paths(ref: str, path: bool) -> None:
    assert is_path(ref) is path


def test_a_name_follows_a_path(tmp_path: Path) -> None:
    there = tmp_path / "a:b.tar"
    there.touch()
    assert split(str(there)) == (str(there), "")
    assert split(f"{there}:app:1") == (str(there), "app:1")
    assert split(f"oci:{there}:app") == (str(there), "app")
    assert split("none.tar:app") == ("none.tar:app", "")


def test_files_need_no_store(tmp_path: Path) -> None:
    data = layout_tar(tmp_path / "layout", {"app:1": make_image(LAYERS)})
    (tmp_path / "a.tar").write_bytes(compress(data, "gzip"))
    files = LayerFiles(str(tmp_path / "cache"))
    found = files.analyze(str(tmp_path / "a.tar"))
    assert (found.reference, found.size_bytes, found.waste_bytes) == ("app:1", 600, 500)
    view = files.open(str(tmp_path / "layout"))
    assert view.waste_bytes == 500
    assert len(view.tree(1, aggregated=True)) == 2
    view.close()


def test_a_directory_is_an_image_of_one_layer(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/a").write_bytes(b"12345")
    found = LayerFiles(str(tmp_path / "cache")).analyze(f"{tmp_path}/root")
    assert (found.size_bytes, found.waste_bytes, found.efficiency) == (5, 0, 1.0)
    assert (found.image_id, len(found.layers)) == ("", 1)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nothing_is_left_in_the_store_but_indexes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    service = LayerService(store.home, store.database, ImageStore(store.database, store.content))
    data = layout_tar(tmp_path / "layout", {"app:1": make_image(LAYERS)})
    (tmp_path / "a.tar").write_bytes(compress(data, "gzip"))
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        service.analyze(f"{tmp_path}/a.tar", cancel=cancel)
    assert os.listdir(f"{store.home.root}/index") == []
    assert service.analyze(f"{tmp_path}/a.tar").waste_bytes == 500
    assert os.listdir(f"{store.home.root}/staging") == []
    assert len(os.listdir(f"{store.home.root}/index")) == 2
    assert store.database.query("SELECT count(*) FROM lease WHERE kind='analyze'")[0][0] == 0
