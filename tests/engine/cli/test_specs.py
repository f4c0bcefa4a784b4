"""`-p`, `-v`, `--env-file`: docker's rules, and its words (taken from docker 28 itself)."""

import os
from pathlib import Path

import pytest

from engine.cli import specs
from engine.errors import InvalidInput, Unsupported
from engine.model.container import MountRequest, PortMapping


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [PortMapping(80)]),
        ("80/udp", [PortMapping(80, "udp")]),
        ("80/", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, "tcp", "", 8080)]),
        (":80", [PortMapping(80)]),
        ("0:80", [PortMapping(80, "tcp", "", 0)]),
        ("8080:80/UDP", [PortMapping(80, "udp", "", 8080)]),
        ("127.0.0.1:8080:80", [PortMapping(80, "tcp", "127.0.0.1", 8080)]),
        ("127.0.0.1::80", [PortMapping(80, "tcp", "127.0.0.1", 0)]),
        ("[::1]:8080:80", [PortMapping(80, "tcp", "::1", 8080)]),
        ("::1:8080:80", [PortMapping(80, "tcp", "::1", 8080)]),
        (
            "8000-8002:80-82",
            [PortMapping(80 + n, "tcp", "", 8000 + n) for n in range(3)],
        ),
        ("80-81", [PortMapping(80), PortMapping(81)]),
    ],
)
def test_ports_are_read(text: str, ports: list[PortMapping]) -> None:
    assert specs.parse_port(text) == ports


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no port specified: <empty>"),
        ("80:", "no port specified: 80:<empty>"),
        ("abc", "invalid containerPort: abc"),
        ("70000", "invalid containerPort: 70000"),
        ("0", "invalid containerPort: 0"),
        ("99999:80", "invalid hostPort: 99999"),
        ("90-80:1-2", "invalid hostPort: 90-80"),
        ("-1:80", "invalid hostPort: -1"),
        ("٨٠", "invalid containerPort: ٨٠"),
        (
            "80:90-95",
            "invalid ranges specified for container and host Ports: 90-95 and 80",
        ),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
        ("localhost:80:80", "invalid IP address: localhost"),
        ("80:80/foo", "invalid proto: foo"),
    ],
)
def test_a_bad_port_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        specs.parse_port(text)
    assert failure.value.message == said


@pytest.mark.parametrize("text", ["80:80/sctp", "8000-8010:80"])
def test_ports_that_are_not_built_are_refused(text: str) -> None:
    with pytest.raises(Unsupported):
        specs.parse_port(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", MountRequest("volume", "", "/data")),
        ("data:/data", MountRequest("volume", "data", "/data")),
        ("data:/data:ro", MountRequest("volume", "data", "/data", True)),
        ("data:/data:rw", MountRequest("volume", "data", "/data")),
        ("data:/data:nocopy", MountRequest("volume", "data", "/data", nocopy=True)),
        ("data:/data:nocopy,ro", MountRequest("volume", "data", "/data", True, True)),
        ("/host:/data", MountRequest("bind", "/host", "/data")),
        ("/host/../a/:/data:ro", MountRequest("bind", "/a", "/data", True)),
    ],
)
def test_volumes_are_read(text: str, mount: MountRequest) -> None:
    assert specs.parse_volume(text) == mount


def test_relative_sources_are_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert specs.parse_volume("./x:/data").source == f"{tmp_path}/x"
    assert specs.parse_volume("..:/data").source == str(tmp_path.parent)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "invalid empty volume spec"),
        (":/x", "invalid spec: :/x: empty section between colons"),
        ("a:/b:", "invalid spec: a:/b:: empty section between colons"),
        ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
        ("ab:cd", "invalid mount path: 'cd' mount path must be absolute"),
        ("ab:/", "destination can't be '/'"),
        ("ab:/x/..", "destination can't be '/'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:rw,ro", "invalid mode: rw,ro"),
        ("a:/b:nocopy,nocopy", "invalid mode: nocopy,nocopy"),
        ("/a:rw", "invalid volume specification: '/a:rw'"),
        ("/a:/b:nocopy", 'invalid mount config for type "bind": field VolumeOptions must not be'),
        ("/a:/b:shared,slave", "invalid mode: shared,slave"),
        ("ab:/c:rshared", "field BindOptions must not be specified"),
        ("x:/c", "volume name is too short"),
        ("a/b:/c", '"a/b" includes invalid characters for a local volume name'),
        ("a b:/c", '"a b" includes invalid characters for a local volume name'),
        ("~/x:/c", "includes invalid characters"),
    ],
)
def test_a_bad_volume_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        specs.parse_volume(text)
    assert said in failure.value.message


def test_words_of_a_mount_are_kept_or_mean_nothing_here() -> None:
    assert specs.parse_volume("/a:/b:ro,rshared").options == ("rshared",)
    assert specs.parse_volume("/a:/b:ro,rshared").read_only
    assert specs.parse_volume("/a:/b:cached").options == ()
    for mode in ("z", "ro,Z"):
        if os.path.exists("/sys/fs/selinux/enforce"):
            with pytest.raises(Unsupported, match="mount mode"):
                specs.parse_volume(f"/a:/b:{mode}")
        else:
            assert specs.parse_volume(f"/a:/b:{mode}").options == ()


def test_variables_come_from_files_then_flags_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "here")
    monkeypatch.delenv("NOWHERE", raising=False)
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# note\n\n  A=1 \nB=two words\r\nHERE\nNOWHERE\nC=\n")
    found = specs.environment(["D=4", "HERE", "NOWHERE"], [str(file)])
    assert found == ("A=1 ", "B=two words", "HERE=here", "C=", "D=4", "HERE=here")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"C D=3\n", "variable 'C D' contains whitespaces"),
        (b"=x\n", "no variable name on line '=x'"),
        (b"ok=1\na=\xff\n", "invalid utf8 bytes at line 2"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "env"
    file.write_bytes(data)
    with pytest.raises(InvalidInput) as failure:
        specs.environment([], [str(file)])
    assert failure.value.message == f"invalid env file ({file}): {said}"


def test_labels_come_from_files_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_bytes(b"# note\nrole=db\n\x0b\ta.b=c d \nBARE\nEMPTY=\n")
    found = specs.labels([("role", "web"), ("more", "")], [str(file)])
    assert found == {"role": "web", "a.b": "c d ", "EMPTY": "", "more": ""}
    file.write_bytes(b"a b=c\n")
    with pytest.raises(InvalidInput, match="variable 'a b' contains whitespaces") as failure:
        specs.labels([], [str(file)])
    assert failure.value.message.startswith(f"invalid label file ({file}): ")


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InvalidInput, match="open /nonexistent: no such file or directory"):
        specs.environment([], ["/nonexistent"])
    with pytest.raises(InvalidInput, match="is a directory"):
        specs.environment([], [os.sep])
    with pytest.raises(InvalidInput, match="invalid environment variable: =x"):
        specs.check_variable("=x")


def test_the_one_storage_option_there_is() -> None:
    assert specs.storage_option("overlay.mountopt=volatile") == "volatile"
    with pytest.raises(InvalidInput, match="invalid storage option 'volatile'"):
        specs.storage_option("volatile")
    with pytest.raises(Unsupported, match="storage option size=10G: not supported"):
        specs.storage_option("size=10G")
