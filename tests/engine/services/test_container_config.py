"""docker's rules for what a request takes from its image."""

from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.model.container import CreateOptions, MountRequest, PortMapping
from engine.model.image_config import ImageConfig
from engine.services.container_config import check_name, resolve

IMAGE = ImageConfig(
    env=("PATH=/bin", "LANG=C"),
    entrypoint=("/entry",),
    command=("serve", "--port", "80"),
    working_directory="/srv",
    user="app",
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    labels=(("maker", "image"),),
    stop_signal="SIGINT",
)
ID = "0123456789ab" + "c" * 52


def resolved(image: ImageConfig = IMAGE, **options: Any) -> dict[str, Any]:
    return resolve(CreateOptions(image="x", **options), image, ID)


def test_the_image_fills_what_is_not_asked_for() -> None:
    config = resolved()
    assert config["argv"] == ["/entry", "serve", "--port", "80"]
    assert config["working_directory"] == "/srv"
    assert config["user"] == "app"
    assert config["hostname"] == ID[:12]
    assert config["stop_signal"] == "SIGINT"
    assert config["labels"] == {"maker": "image"}


def test_a_command_replaces_the_images_command_and_keeps_its_entrypoint() -> None:
    assert resolved(command=("sh", "-c", "x"))["argv"] == ["/entry", "sh", "-c", "x"]


def test_an_entrypoint_drops_the_images_command() -> None:
    assert resolved(entrypoint=("sh",))["argv"] == ["sh"]
    assert resolved(entrypoint=("sh",), command=("-c", "x"))["argv"] == ["sh", "-c", "x"]
    assert resolved(entrypoint=("",), command=("ls",))["argv"] == ["ls"]


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no command specified"):
        resolved(IMAGE._replace(entrypoint=(), command=()))


def test_the_last_setting_of_a_variable_wins() -> None:
    env = resolved(env=("LANG=de", "A=1", "A=2"))["env"]
    assert "LANG=de" in env
    assert "A=2" in env
    assert not {"LANG=C", "A=1"} & set(env)
    assert "TERM=xterm" in resolved(tty=True)["env"]
    with pytest.raises(InvalidInput, match="environment"):
        resolved(env=("=x",))


def test_a_declared_volume_is_anonymous_unless_something_is_mounted_there() -> None:
    (declared,) = resolved()["mounts"]
    assert declared["anonymous"]
    assert declared["target"] == "/data"
    (named,) = resolved(mounts=(MountRequest("volume", "kept", "/data/"),))["mounts"]
    assert (named["source"], named["anonymous"]) == ("kept", False)


def test_what_an_image_says_badly_is_left_out() -> None:
    assert resolved(IMAGE._replace(env=("=x", "PATH=/bin", "BARE")))["env"] == [
        "PATH=/bin", "BARE=",
    ]  # fmt: skip
    mounts = resolved(IMAGE._replace(volumes=("/", "data", "/ok/")))["mounts"]
    assert [mount["target"] for mount in mounts] == ["/ok"]


@pytest.mark.parametrize("name", ["a_b", "a.b-c", "-x", "x" * 64, "\u00e4"])
def test_a_hostname_is_any_word(name: str) -> None:
    assert resolved(hostname=name)["hostname"] == name


@pytest.mark.parametrize("target", ["data", "/", "//"])
def test_a_mount_needs_a_place_of_its_own(target: str) -> None:
    with pytest.raises(InvalidInput):
        resolved(mounts=(MountRequest("volume", "kept", target),))


def test_a_place_is_mounted_once() -> None:
    twice = (MountRequest("volume", "one", "/x"), MountRequest("volume", "two", "/x/"))
    with pytest.raises(InvalidInput, match="duplicate mount point: /x"):
        resolved(mounts=twice)


def test_ports_go_with_a_network() -> None:
    port = PortMapping(80, host_port=8080)
    assert resolved(ports=(port,))["ports"] == [list(port)]
    assert resolved(ports=(port,), network="host")["ports"] == []
    assert resolved(ports=(port,), network="none")["ports"] == []


@pytest.mark.parametrize(
    "options",
    [
        {"memory_bytes": 1 << 20},
        {"nano_cpus": 1},
        {"nano_cpus": 10**12},
        {"hostname": "a b"},
        {"hostname": "a\nb"},
        {"hostname": "a#"},
        {"hostname": "x" * 65},
        {"hostname": "\u00e4" * 33},
        {"env": ("A=x\0y",)},
        {"mounts": (MountRequest("volume", "../x", "/x"),)},
        {"mounts": (MountRequest("volume", "x", "/x"),)},
        {"mounts": (MountRequest("bind", "x/y", "/x"),)},
        {"working_directory": "relative"},
    ],
)
def test_limits_and_names_are_checked_before_anything_exists(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        resolved(**options)


def test_names_are_dockers() -> None:
    assert check_name("/web-1.x_y") == "web-1.x_y"
    for name in ("", "a", "-web", "we b", "wéb"):
        with pytest.raises(InvalidInput, match="invalid container name"):
            check_name(name)
