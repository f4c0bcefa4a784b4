"""What is said beside the bytes: lines, patches, severity, the base image."""

from pathlib import Path

import pytest

from engine.layers.advisor.commands import appended, dockerfile_line
from tests.support.advice import analysis_of, findings_of
from tests.support.tarball import directory, file

LISTS = file(b"var/lib/apt/lists/a", b"x" * 1000)
APT = "/bin/sh -c apt-get update && apt-get install -y curl"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("/bin/sh -c #(nop)  CMD [\"bash\"]", 'CMD ["bash"]'),
        ("/bin/sh -c #(nop) COPY dir:1f in /app ", "COPY … /app"),
        ("/bin/sh -c #(nop) ADD file:ab12 in / ", "ADD … /"),
        ("RUN /bin/sh -c make   all # buildkit", "RUN make all"),
        ("|2 A=1 B=2 /bin/sh -c make", "RUN make"),
        ("RUN |1 A=1 /bin/sh -c make # buildkit", "RUN make"),
        ("COPY . /app # buildkit", "COPY . /app"),
        ("/bin/bash -c make\n  all", "RUN make all"),
        ("", ""),
    ],
)  # fmt: skip
def test_history_becomes_lines_of_a_dockerfile(command: str, line: str) -> None:
    assert dockerfile_line(command) == line


def test_a_patch_is_for_a_run() -> None:
    assert appended("RUN a", "b") == "-RUN a\n+RUN a && b"
    assert appended("COPY a b", "c") == ""


def test_the_fix_is_a_patch_of_the_line(tmp_path: Path) -> None:
    finding = findings_of(tmp_path, (APT, LISTS))["P01"]
    line = "RUN apt-get update && apt-get install -y curl"
    assert finding.command == line
    assert finding.fix == f"-{line}\n+{line} && rm -rf /var/lib/apt/lists/*"
    assert finding.layers == ((0, 1000),)


def test_a_chown_moves_into_the_copy(tmp_path: Path) -> None:
    data = b"x" * 1000
    finding = findings_of(
        tmp_path,
        ("COPY . /app # buildkit", directory(b"app") + file(b"app/a", data)),
        ("RUN /bin/sh -c chown -R app:app /app # buildkit", file(b"app/a", data, uid=7)),
    )["L05"]
    assert "-COPY . /app\n+COPY --chown=app:app . /app\n-RUN chown -R app:app /app" in finding.fix
    assert "from layer 0, by layer 1" in finding.fix


def test_two_runs_are_joined(tmp_path: Path) -> None:
    steps = (("RUN make", file(b"a", b"x" * 1000)), ("RUN rm /a", file(b".wh.a")))
    fix = findings_of(tmp_path, *steps)["L01"].fix
    assert "-RUN make\n-RUN rm /a\n+RUN make && rm /a" in fix


def test_severity_is_by_share_of_the_image(tmp_path: Path) -> None:
    rest = file(b"app", b"y" * 99_000)
    assert findings_of(tmp_path, LISTS + rest)["P01"].severity == "medium"
    assert findings_of(tmp_path, LISTS)["P01"].severity == "critical"
    rest = file(b"app", b"y" * 6_000_000)
    assert findings_of(tmp_path, LISTS + rest)["P01"].severity == "info"


def test_the_worst_comes_first(tmp_path: Path) -> None:
    found = analysis_of(tmp_path, LISTS + file(b"tmp/a", b"t" * 50_000) + file(b"id_rsa", b"k"))
    assert [each.rule for each in found.findings] == ["C04", "C03", "P01"]


def test_many_pairs_of_layers_are_summed_up(tmp_path: Path) -> None:
    steps = [file(b"a", b"%d" % number * 1000) for number in range(9)]
    found = analysis_of(tmp_path, *steps)
    again = [each for each in found.findings if each.rule == "L04"]
    assert len(again) == 6
    assert sum(each.raw_bytes for each in again) == 8000


def test_flattening_and_runs_are_only_told(tmp_path: Path) -> None:
    steps = [("RUN a", file(b"a", b"x" * 1000)), ("RUN b", file(b".wh.a")), ("RUN c", b"")]
    found = findings_of(tmp_path, *steps)
    assert (found["L10"].raw_bytes, found["L09"].raw_bytes) == (0, 0)
    assert "FROM app:1 AS whole" in found["L10"].fix
    assert " RUN a\n RUN b\n RUN c" in found["L09"].fix
    assert "L09" not in findings_of(tmp_path, *steps[:2])


def test_secrets_are_high_though_they_weigh_nothing(tmp_path: Path) -> None:
    finding = findings_of(tmp_path, file(b"app/.env", b"A=1"), file(b"app/.wh..env"))["C03"]
    assert (finding.severity, finding.paths) == ("high", ("app/.env",))
    found = findings_of(tmp_path, file(b"a", b"1"), config={"Env": ["DB_PASSWORD=x", "PATH=/bin"]})
    assert "variables of the image: DB_PASSWORD" in found["C03"].fix
    assert "x" not in found["C03"].fix.rpartition(": ")[2]


def test_the_config_is_looked_at(tmp_path: Path) -> None:
    found = findings_of(
        tmp_path, file(b"usr/bin/gcc", b"1"), config={"Env": ["DEBIAN_FRONTEND=noninteractive"]}
    )
    assert "DEBIAN_FRONTEND" in found["F05"].fix
    assert found["F02"].paths == ("usr/bin/gcc",)
    assert "F04" not in found  # app:1 is a version
