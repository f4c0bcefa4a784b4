"""Every rule finds its bytes, and leaves alone what only looks like them."""

from pathlib import Path

import pytest

from tests.support.advice import Step, findings_of
from tests.support.tarball import directory, file

X = b"x" * 1000


def many(*paths: bytes) -> bytes:
    return b"".join(file(path, b"%d" % number + X) for number, path in enumerate(paths))


COPY = "COPY . /app # buildkit"

# rule: (layers, bytes that it finds); each path of `many` has 1001.
POSITIVE: dict[str, tuple[tuple[Step | bytes, ...], int]] = {
    "L01": ((many(b"a", b"b"), file(b".wh.a")), 1001),
    "L02": ((directory(b"d") + many(b"d/a", b"d/b"), file(b".wh.d")), 2002),
    "L03": ((directory(b"d") + many(b"d/a"), file(b"d/.wh..wh..opq") + file(b"d/n", b"1")), 1001),
    "L04": ((many(b"a"), file(b"a", b"new")), 1001),
    "L05": ((file(b"a", X, mode=0o644), file(b"a", X, mode=0o755)), 1000),
    "L06": ((file(b"a", X, mtime=1), file(b"a", X, mtime=2)), 1000),
    "L07": ((file(b"a", X), file(b"b", X) + file(b".wh.a")), 1000),
    "L08": (
        (("ADD s.tar.gz /", many(b"s.tar.gz")), ("RUN tar xf s.tar.gz", many(b"s/a"))), 1001,
    ),
    "L12": ((file(b"a", X) + file(b"a", b"1"),), 1000),
    "P01": ((many(b"var/lib/apt/lists/main_Packages"),), 1001),
    "P02": ((many(b"var/cache/apt/pkgcache.bin", b"var/cache/apt/archives/a.deb"),), 2002),
    "P06": ((many(b"var/cache/apk/APKINDEX.1.tar.gz"),), 1001),
    "P07": ((many(b"var/cache/dnf/fedora/repodata/primary.xml"),), 1001),
    "P08": ((many(b"var/lib/dpkg/status"), file(b"var/lib/dpkg/status", b"")), 1001),
    "P09": ((many(b"var/log/dpkg.log", b"var/cache/debconf/config.dat-old"),), 2002),
    "P10": ((file(b"var/log/lastlog", bytes(1_200_000)),), 1_200_000),
    "D01": ((many(b"usr/share/doc/a/readme", b"usr/share/man/man1/a.1.gz"),), 2002),
    "D02": ((many(b"usr/share/locale/de/LC_MESSAGES/a.mo"),), 1001),
    "D03": ((many(b"usr/share/icons/a.png"),), 1001),
    "D04": ((many(b"usr/include/stdio.h", b"usr/lib/libc.a"),), 2002),
    "Y01": ((many(b"root/.cache/pip/http/a"),), 1001),
    "Y02": ((many(b"app/m.py", b"app/__pycache__/m.cpython-311.pyc"),), 1001),
    "Y03": ((many(b"usr/lib/python3/dist-packages/numpy/tests/test_a.py"),), 1001),
    "Y04": ((many(b"usr/local/lib/python3.12/site-packages/pip/__main__.py"),), 1001),
    "Y05": ((many(b"venv/lib/python3/site-packages/nvidia/cudnn/lib/a.so"),), 1001),
    "Y06": ((many(b"opt/conda/pkgs/a.conda"),), 1001),
    "N01": ((many(b"root/.npm/_cacache/content-v2/a"),), 1001),
    "N02": (
        (
            file(
                b"app/node_modules/.package-lock.json",
                b'{"packages":{"node_modules/jest":{"dev":true},"node_modules/a":{}}}',
            )
            + many(b"app/node_modules/jest/index.js", b"app/node_modules/a/index.js"),
        ),
        1001,
    ),
    "N03": ((many(b"app/node_modules/a/index.js.map", b"app/node_modules/a/README.md"),), 2002),
    "N04": (
        (
            file(b"node_modules/a/package.json", b'{"name":"a"}')
            + file(b"node_modules/b/node_modules/a/package.json", b'{"name":"a"}')
            + many(b"node_modules/a/i.js", b"node_modules/b/node_modules/a/i.js"),
        ),
        1001 + 12,
    ),
    "G01": ((many(b"usr/local/go/src/a.go", b"go/pkg/mod/a@v1/a.go"),), 2002),
    "G02": ((many(b"usr/local/cargo/registry/a", b"app/target/release/deps/a.rlib"),), 2002),
    "J01": ((many(b"usr/lib/jvm/a/jmods/java.base.jmod", b"usr/lib/jvm/a/lib/src.zip"),), 2002),
    "J02": ((many(b"root/.m2/repository/a/a.jar"),), 1001),
    "C01": ((many(b"app/.git/objects/a"),), 1001),
    "C02": (((COPY, many(b"app/.venv/bin/python", b"app/.idea/w.xml", b"app/main.py")),), 2002),
    "C04": ((many(b"tmp/build.o", b"app/java_pid1.hprof"),), 2002),
    "B03": ((many(b"usr/lib/debug/.build-id/ab/cd.debug"),), 1001),
    "B04": ((file(b"a", b"z" * 5000) + file(b"b", b"z" * 5000),), 5000),
}  # fmt: skip


@pytest.mark.parametrize("rule", POSITIVE)
def test_its_bytes_are_found(rule: str, tmp_path: Path) -> None:
    steps, size = POSITIVE[rule]
    found = findings_of(tmp_path, *steps)
    assert rule in found, found
    finding = found[rule]
    assert finding.raw_bytes == size
    assert finding.fix
    assert finding.title
    assert finding.path_count >= len(finding.paths) >= 1


NEGATIVE: dict[str, tuple[Step | bytes, ...]] = {
    "L01": (many(b"a"), many(b"b")),
    "L02": (directory(b"d"), file(b".wh.d")),
    "L03": (many(b"e/a"), directory(b"d") + file(b"d/.wh..wh..opq")),
    "L04": (many(b"a"), many(b"b")),
    "L05": (file(b"a", X), file(b"a", b"y" * 1000, mode=0o755)),
    "L06": (file(b"a", X), file(b"a", b"y" * 1000)),
    "L07": (file(b"a", X), file(b"b", b"y" * 1000) + file(b".wh.a")),
    "L08": (("ADD src.tar.gz /", many(b"src.tar.gz")), ("RUN echo src.tar.gz", many(b"src/a"))),
    "L12": (file(b"a", X),),
    "P01": (many(b"var/lib/apt/extended_states"),),
    "P02": (many(b"var/cache/other/a"),),
    "P06": (many(b"etc/apk/world"),),
    "P07": (many(b"var/lib/dnf/repos"),),
    "P08": (many(b"var/lib/dpkg/status"), many(b"var/lib/other")),
    "P09": (many(b"var/lib/logs/a"),),
    "P10": (many(b"var/log/lastlog"),),
    "D01": (many(b"usr/share/doc/a/copyright"),),
    "D02": (many(b"usr/share/locale/en/LC_MESSAGES/a.mo", b"usr/share/locale/locale.alias"),),
    "D04": (many(b"usr/include/stdio.h", b"usr/bin/gcc"),),
    "Y01": (many(b"root/.cache/other/a"),),
    "Y02": (many(b"app/__pycache__/m.cpython-311.pyc"),),
    "Y03": (many(b"app/tests/test_a.py"),),
    "Y06": (many(b"opt/conda/lib/a"),),
    "N02": (file(b"node_modules/.package-lock.json", b"no json") + many(b"node_modules/a/i.js"),),
    "N03": (many(b"app/a.js.map", b"app/node_modules/a/LICENSE.md"),),
    "N04": (many(b"node_modules/a/package.json", b"node_modules/b/package.json"),),
    "G02": (many(b"app/target/release/app"),),
    "C01": (many(b"app/.github/a"),),
    "C02": (("RUN make", many(b"app/.venv/bin/python")), (COPY, many(b"app/main.py"))),
    "C04": (many(b"usr/tmp.d/a"),),
    "B04": (file(b"a", b"z" * 5000) + file(b"b", b"y" * 5000),),
}  # fmt: skip


@pytest.mark.parametrize("rule", NEGATIVE)
def test_what_looks_like_it_is_left_alone(rule: str, tmp_path: Path) -> None:
    assert rule not in findings_of(tmp_path, *NEGATIVE[rule])


def test_a_gpu_is_believed(tmp_path: Path) -> None:
    steps, _ = POSITIVE["Y05"]
    found = findings_of(tmp_path, *steps, config={"Env": ["NVIDIA_VISIBLE_DEVICES=all"]})
    assert "Y05" not in found


def test_the_language_of_the_image_is_kept(tmp_path: Path) -> None:
    steps, _ = POSITIVE["D02"]
    assert "D02" not in findings_of(tmp_path, *steps, config={"Env": ["LANG=de_DE.UTF-8"]})


def test_files_below_a_volume_are_told(tmp_path: Path) -> None:
    found = findings_of(tmp_path, many(b"data/a", b"other/a"), config={"Volumes": {"/data": {}}})
    assert (found["F06"].raw_bytes, found["F06"].paths) == (1001, ("data/a",))


def test_a_byte_is_saved_once(tmp_path: Path) -> None:
    """A log below a cache below a VOLUME, twice the same: whoever is first has it."""
    stream = file(b"root/.cache/pip/tests/a.log", b"z" * 5000) + file(b"tmp/a.log", b"z" * 5000)
    found = findings_of(tmp_path, stream, config={"Volumes": {"/root": {}, "/tmp": {}}})
    assert {rule: each.raw_bytes for rule, each in found.items() if each.raw_bytes} == {
        "Y01": 5000, "C04": 5000,
    }  # fmt: skip
