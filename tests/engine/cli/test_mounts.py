"""`--mount` and `--volumes-from`: docker's grammar, and its words for what is wrong."""

import pytest

from engine.cli.mounts import Requested, parse_mount
from engine.errors import EngineError, InvalidInput, Unsupported
from engine.model.container import MountRequest
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double

IMAGE = "debian:bookworm"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/d", MountRequest("volume", "", "/d")),
        (
            "type=volume,src=name,dst=/d,ro,volume-nocopy",
            MountRequest("volume", "name", "/d", True, True),
        ),
        ("source=name,destination=/d,readonly=false", MountRequest("volume", "name", "/d")),
        (
            "type=BIND,source=/srv/,target=/d,readonly",
            MountRequest("bind", "/srv", "/d", True, must_exist=True),
        ),
        (
            "type=bind,src=/s,dst=/d,bind-propagation=rshared,bind-recursive=disabled",
            MountRequest("bind", "/s", "/d", options=("rshared", "bind"), must_exist=True),
        ),
        ("type=bind,src=/s,dst=/d,bind-create-src=true", MountRequest("bind", "/s", "/d")),
        (
            'type=bind,"src=/a,b",dst=/d,bind-nonrecursive',
            MountRequest("bind", "/a,b", "/d", options=("bind",), must_exist=True),
        ),
    ],
)
def test_a_mount_is_read(text: str, expected: MountRequest) -> None:
    assert parse_mount(text) == Requested(expected)


def test_a_tmpfs_is_read() -> None:
    assert parse_mount("type=tmpfs,dst=/t") == Requested(tmpfs=("/t", ""))
    text = "type=tmpfs,dst=/t,readonly,tmpfs-size=1m,tmpfs-mode=1770"
    assert parse_mount(text) == Requested(tmpfs=("/t", "ro,size=1048576,mode=1770"))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", InvalidInput, "target is required"),
        ("type=bind,src=/s", InvalidInput, "target is required"),
        ("target", InvalidInput, "invalid field 'target' must be a key=value pair"),
        ("target=/d,colour=red", InvalidInput, "unexpected key 'colour' in 'colour=red'"),
        ("target=/d,readonly=maybe", InvalidInput, "invalid value for readonly: maybe"),
        ("type=foo,target=/d", InvalidInput, 'mount config for type "foo": mount type unknown'),
        ("target=d", InvalidInput, "invalid mount path: 'd' mount path must be absolute"),
        ("target=/x/..", InvalidInput, "destination can't be '/'"),
        ("type=bind,target=/d", InvalidInput, 'type "bind": field Source must not be empty'),
        ("type=bind,src=a,target=/d", InvalidInput, "invalid mount path: 'a' mount path must"),
        ("type=tmpfs,src=a,target=/d", InvalidInput, "field Source must not be specified"),
        ("type=tmpfs,target=/d,tmpfs-size=big", InvalidInput, "value for tmpfs-size: big"),
        ("type=tmpfs,target=/d,tmpfs-mode=9", InvalidInput, "value for tmpfs-mode: 9"),
        ("target=/d,bind-propagation=shared", InvalidInput, "cannot mix 'bind-*' options with"),
        ("target=/d,tmpfs-size=1m", InvalidInput, "options with mount type 'volume'"),
        ("type=bind,src=/s,dst=/d,volume-nocopy", InvalidInput, "cannot mix 'volume-*' options"),
        (
            "type=bind,src=/s,dst=/d,bind-propagation=up",
            InvalidInput,
            "invalid propagation mode: up",
        ),
        (
            "type=bind,src=/s,dst=/d,bind-recursive=no",
            InvalidInput,
            "invalid value for bind-recursive: no",
        ),
        (
            "type=bind,src=/s,dst=/d,bind-recursive=readonly",
            InvalidInput,
            "'bind-recursive=readonly' requires 'readonly'",
        ),
        ("type=bind,src=/s,dst=/d,ro,bind-recursive=writable", Unsupported, "not supported"),
        ("target=/d,volume-opt=type=nfs", Unsupported, "--mount volume-opt: not supported"),
        ("type=image,src=a,target=/d", Unsupported, "mount type image: not supported"),
    ],
)
def test_a_bad_mount_is_told(text: str, kind: type[EngineError], said: str) -> None:
    with pytest.raises(kind) as failure:
        parse_mount(text)
    assert said in failure.value.message
    assert failure.value.hint


def test_mounts_become_a_part_of_the_request(pydock: Pydock, double: Double) -> None:
    double.add_image(IMAGE)
    said = pydock(
        "create", "--mount", "src=data,dst=/data", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1k",
        "--mount", "type=bind,src=/srv,dst=/srv,ro", "--volumes-from", "x:ro", IMAGE,
    )  # fmt: skip
    found = double.containers.inspect(said.out.strip())
    assert [(each.type, each.target, each.read_only) for each in found.summary.mounts] == [
        ("volume", "/data", False),
        ("bind", "/srv", True),
    ]
    assert found.confinement is not None
    assert found.confinement.tmpfs == (("/t", "size=1024"),)
    assert found.volumes_from == ("x:ro",)
    said = pydock("create", "--mount", "target", IMAGE)
    assert said.code == 125
    assert said.err.startswith(
        'pydock: invalid argument "target" for "--mount" flag: invalid field'
    )
