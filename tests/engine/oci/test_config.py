import json
from typing import Any

import pytest

from engine.errors import EngineError, InvalidInput, Unsupported
from engine.oci.config import HistoryStep, check_layers, parse_config
from engine.oci.platform import Platform

SHA = "sha256:" + "ab" * 32


def config(**changes: Any) -> bytes:
    document = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [SHA]},
    }
    return json.dumps(document | changes).encode()


def test_everything_is_read() -> None:
    parsed = parse_config(
        config(
            created="2024-02-29T12:34:56.123456789+01:00",
            author="me",
            comment="c",
            variant="v8",
            architecture="arm64",
            config={
                "Env": ["A=b", "PATH=/bin"],
                "Entrypoint": ["/e"],
                "Cmd": ["-c", "x y"],
                "WorkingDir": "/w",
                "User": "1:2",
                "ExposedPorts": {"80/tcp": {}},
                "Volumes": {"/data": {}},
                "Labels": {"k": "\x1b[31mred"},
                "StopSignal": "SIGINT",
            },
            history=[
                {"created": "1970-01-01T00:00:01Z", "created_by": "RUN x", "comment": "c"},
                {"created_by": "ENV", "empty_layer": True, "author": "a"},
            ],
        )
    )
    assert parsed.platform == Platform("linux", "arm64")
    assert parsed.created_ns == 1709206496123456789
    assert (parsed.author, parsed.comment) == ("me", "c")
    assert (parsed.env, parsed.entrypoint, parsed.cmd) == (
        ("A=b", "PATH=/bin"),
        ("/e",),
        ("-c", "x y"),
    )
    assert (parsed.working_directory, parsed.user, parsed.stop_signal) == ("/w", "1:2", "SIGINT")
    assert (parsed.exposed_ports, parsed.volumes) == (("80/tcp",), ("/data",))
    assert parsed.labels == (("k", "\x1b[31mred"),)
    assert parsed.diff_ids == (SHA,)
    assert parsed.history == (
        HistoryStep(10**9, "RUN x", "c", "", False),
        HistoryStep(0, "ENV", "", "a", True),
    )


def test_null_and_absent_fields_are_empty() -> None:
    empty = {"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None, "Volumes": None}
    for document in (config(), config(config=None), config(config=empty, history=None)):
        parsed = parse_config(document)
        assert (parsed.env, parsed.cmd, parsed.labels, parsed.history) == ((), (), (), ())


def test_command_may_be_one_string() -> None:
    assert parse_config(config(config={"Entrypoint": "/e", "Cmd": "x y"}))[6:8] == (
        ("x y",),
        "",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0001-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("2016-12-31T23:59:60Z", 1483228799 * 10**9),
        ("2024-01-01T00:00:00.5Z", 1704067200_500000000),
        ("2024-01-01T00:00:00.1234567891Z", 1704067200_123456789),
        ("2024-01-01T00:00:00-05:30", 1704067200_000000000 + 19800 * 10**9),
    ],
)
def test_times_are_nanoseconds(text: str, expected: int) -> None:
    assert parse_config(config(created=text)).created_ns == expected


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"[]", InvalidInput),
        (b'"x"', InvalidInput),
        (b" " * (24 << 20), InvalidInput),
        (config(rootfs=None), InvalidInput),
        (config(rootfs={"type": "zip", "diff_ids": [SHA]}), InvalidInput),
        (config(rootfs={"diff_ids": []}), InvalidInput),
        (config(rootfs={"diff_ids": None}), InvalidInput),
        (config(rootfs={"diff_ids": [SHA] * 501}), InvalidInput),
        (config(rootfs={"diff_ids": ["sha256:.."]}), InvalidInput),
        (config(rootfs={"diff_ids": [7]}), InvalidInput),
        (config(rootfs={"diff_ids": ["md5:" + "ab" * 16]}), Unsupported),
        (config(created="yesterday"), InvalidInput),
        (config(created="2024-13-01T00:00:00Z"), InvalidInput),
        (config(created=7), InvalidInput),
        (config(config=[]), InvalidInput),
        (config(config={"Env": "A=b"}), InvalidInput),
        (config(config={"Env": ["A=\0"]}), InvalidInput),
        (config(config={"Cmd": [None]}), InvalidInput),
        (config(config={"Labels": {"a": 1}}), InvalidInput),
        (config(config={"User": 0}), InvalidInput),
        (config(history={}), InvalidInput),
        (config(history=["x"]), InvalidInput),
    ],
)
def test_wrong_config_is_refused(data: bytes, kind: type[EngineError]) -> None:
    with pytest.raises(kind, match="image config"):
        parse_config(data)


@pytest.mark.parametrize("layers", [0, 2])
def test_each_layer_has_one_diff_id(layers: int) -> None:
    with pytest.raises(InvalidInput, match=f"1 diff_ids for the manifest's {layers} layers"):
        check_layers(parse_config(config()), layers)
    check_layers(parse_config(config()), 1)
