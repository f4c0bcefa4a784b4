import os
from pathlib import Path

import pytest

from engine.services import host_files


def test_hosts_names_itself_and_its_peers(tmp_path: Path) -> None:
    path = host_files.write_hosts(
        str(tmp_path), [("10.90.0.2", "abc web")], [("10.90.0.3", "database")]
    )
    lines = Path(path).read_text().splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert lines[-2:] == ["10.90.0.2\tabc web", "10.90.0.3\tdatabase"]


def test_a_file_is_changed_in_place_and_readable_by_all(tmp_path: Path) -> None:
    first = os.stat(host_files.write_hosts(str(tmp_path), [("10.90.0.2", "a long name here")]))
    second = os.stat(host_files.write_hosts(str(tmp_path), []))
    assert first.st_ino == second.st_ino  # a container has this inode mounted
    assert second.st_size < first.st_size
    assert second.st_mode & 0o777 == 0o644


def test_hostname_is_one_line(tmp_path: Path) -> None:
    assert Path(host_files.write_hostname(str(tmp_path), "box")).read_text() == "box\n"


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("nameserver 10.0.0.1\nsearch lan\n", ["nameserver 10.0.0.1", "search lan"]),
        ("nameserver 127.0.0.53\nnameserver 10.0.0.1\n", ["nameserver 10.0.0.1"]),
        ("nameserver 127.0.0.53\n", ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]),
    ],
)
def test_resolvers_on_the_hosts_loopback_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, seen: list[str]
) -> None:
    source = tmp_path / "source"
    source.write_text(host)
    real = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *rest: real(source if path == "/etc/resolv.conf" else path, *rest),
    )
    path = host_files.write_resolv_conf(str(tmp_path), shares_host_network=False)
    assert Path(path).read_text().splitlines() == seen
    path = host_files.write_resolv_conf(str(tmp_path), shares_host_network=True)
    assert Path(path).read_text() == host
