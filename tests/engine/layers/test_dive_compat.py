"""dive's numbers: its own test image, and the faults that they have."""

from pathlib import Path

import pytest

from engine.layers.dive_compat import measure
from engine.layers.merge import Merged
from engine.model.analysis import DiveFile, DiveNumbers
from engine.storage.layer_index import LayerIndex
from tests.support.stacks import indexes_of
from tests.support.tarball import directory, file

SOME = 6405
ROOT, EXAMPLE = directory(b"root"), directory(b"root/example")


def some(path: bytes, mode: int = 0o644) -> bytes:
    return file(path, b"s" * SOME, mode=mode)


# dive's .data/test-docker-image.tar, as its golden export lists it; of busybox, which the upper
# layers leave alone, only the bytes count.
DIVES_OWN = (
    file(b"bin/[", b"b" * 1_153_000) + file(b"etc/passwd", b"p" * 1361) + ROOT + directory(b"tmp"),
    some(b"somefile.txt"),
    ROOT + EXAMPLE + directory(b"root/example/really") + directory(b"root/example/really/nested"),
    ROOT + EXAMPLE + some(b"root/example/somefile1.txt"),
    ROOT + EXAMPLE + some(b"root/example/somefile1.txt", 0o444),
    ROOT + EXAMPLE + some(b"root/example/somefile2.txt"),
    ROOT + EXAMPLE + some(b"root/example/somefile3.txt"),
    ROOT + EXAMPLE + file(b"root/example/.wh.somefile3.txt") + some(b"root/saved.txt"),
    ROOT + some(b"root/.saved.txt"),
    ROOT + file(b"root/.wh.example"),
    ROOT + directory(b"root/.data") + file(b"root/.data/tag.sh", b"t" * 917)
    + file(b"root/.data/test.sh", b"t" * 1270),
    directory(b"tmp") + some(b"tmp/saved.again1.txt"),
    ROOT + directory(b"root/.data") + some(b"root/.data/saved.again2.txt"),
    ROOT + some(b"root/saved.txt", 0o755),
)  # fmt: skip


def dive_of(tmp_path: Path, *streams: bytes) -> DiveNumbers:
    layers = [LayerIndex(path) for path in indexes_of(tmp_path, streams)]
    try:
        return measure(Merged(layers), layers)
    finally:
        for layer in layers:
            layer.close()


def test_dives_own_image_has_dives_numbers(tmp_path: Path) -> None:
    numbers = dive_of(tmp_path, *DIVES_OWN)
    assert numbers == DiveNumbers(
        efficiency=0.9844212134184309,
        size_bytes=1_220_598,
        user_size_bytes=66_237,
        wasted_bytes=32_025,
        wasted_user_share=0.4834911001404049,
        files=(
            DiveFile(2, 12_810, "/root/saved.txt"),
            DiveFile(2, 12_810, "/root/example/somefile1.txt"),
            DiveFile(2, 6_405, "/root/example/somefile3.txt"),
        ),
    )


def test_a_whiteout_of_nothing_ends_its_layer(tmp_path: Path) -> None:
    numbers = dive_of(tmp_path, file(b"z", b"12"), file(b".wh.none") + file(b"z", b"345"))
    assert (numbers.wasted_bytes, numbers.files) == (0, ())
    assert numbers.efficiency == pytest.approx((2 - 1) / 2)


def test_a_removed_directory_raises_the_efficiency(tmp_path: Path) -> None:
    base = directory(b"d") + file(b"d/f", b"x" * 90) + file(b"e", b"1" * 10)
    again = file(b"e", b"2" * 10)
    one = dive_of(tmp_path, base, again)
    other = dive_of(tmp_path, base, again, file(b".wh.d"))
    assert (one.efficiency, other.efficiency) == (pytest.approx(1 / 1.1), 0.95)
    assert one.wasted_bytes == other.wasted_bytes == 20


def test_an_opaque_directory_hides_nothing(tmp_path: Path) -> None:
    base = directory(b"d") + file(b"d/f", b"x" * 90)
    numbers = dive_of(tmp_path, base, file(b"d/.wh..wh..opq"), file(b"d/f", b"x" * 10))
    assert (numbers.wasted_bytes, numbers.efficiency) == (100, 0.1)


def test_childless_directories_count_as_files(tmp_path: Path) -> None:
    numbers = dive_of(tmp_path, directory(b"etc"), directory(b"etc") + file(b"a", b"1"))
    assert numbers.files == (DiveFile(2, 0, "/etc"),)


def test_one_layer_is_all_base(tmp_path: Path) -> None:
    numbers = dive_of(tmp_path, file(b"a", b"1") + file(b"a", b"22"))
    assert (numbers.user_size_bytes, numbers.wasted_user_share, numbers.size_bytes) == (0, 0, 3)
