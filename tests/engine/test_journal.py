"""The journal's lines: whole, small, and in order though many write."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine import journal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "events.log")


def lines(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text("ascii").splitlines()]


def test_line_says_what_happened_to_whom(path: str) -> None:
    journal.append(path, "container", "die", "c0ffee", "wéb", {"exitCode": "7"}, time_ns=42)
    assert lines(path) == [
        {
            "time_ns": 42,
            "kind": "container",
            "action": "die",
            "id": "c0ffee",
            "name": "wéb",
            "attributes": {"exitCode": "7"},
        }
    ]


def test_hostile_text_stays_inside_its_line(path: str) -> None:
    name = 'a"\n\\\x1b[2J\u2028\udcff'
    journal.append(path, "container", "start", "1", name, {"k\n": "v\r\n"})
    (line,) = lines(path)
    assert line["name"] == name
    assert line["attributes"] == {"k\n": "v\r\n"}


def test_line_is_never_longer_than_what_one_write_keeps_together(path: str) -> None:
    attributes = {f"{n:03}\u0001" * 20: "\u0001" * 1000 for n in range(100)}
    journal.append(path, "container", "a" * 5000, "i" * 5000, "n" * 5000, attributes)
    assert len(Path(path).read_bytes()) <= journal.MAX_LINE_BYTES
    (line,) = lines(path)
    assert line["name"] == "n" * 128


def test_many_writers_lose_no_line(path: str) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from engine import journal; journal.ROTATE_BYTES = 50_000\n"
        "for n in range(100): journal.append(sys.argv[1], 'container', f'{sys.argv[2]}-{n}',"
        " 'id', 'name', {'k': 'v' * 100}, time_ns=n)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", script, path, str(number)])
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    rotated = Path(f"{path}.1")
    assert rotated.exists()
    read = [*lines(str(rotated)), *(lines(path) if Path(path).exists() else [])]
    for number in range(4):
        own = [line["action"] for line in read if str(line["action"]).startswith(f"{number}-")]
        assert own == [f"{number}-{n}" for n in range(100)]
