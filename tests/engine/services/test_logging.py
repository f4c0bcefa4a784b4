"""Where a container's output goes, and how much of it is kept."""

import os
from typing import Any

import pytest

from engine.docker_json import container as docker_json
from engine.errors import EngineError, InvalidInput, Unsupported
from engine.local import LocalEngine
from engine.model.container import CreateOptions
from tests.support.attached import run

pytestmark = pytest.mark.root


def logged(engine: LocalEngine, image: str, lines: int, **options: str) -> tuple[list[str], str]:
    """The files of a log that so many numbered lines were written to, and its container."""
    ref = engine.containers.create(
        CreateOptions(
            image,
            command=("seq", str(lines)),
            network="none",
            log_options=tuple((name.replace("_", "-"), text) for name, text in options.items()),
        )
    )
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 0
    found = os.listdir(f"{engine.info.root}/containers/{ref}")
    return sorted(name for name in found if name.startswith("log")), ref


def test_a_log_is_as_large_as_is_asked_for(engine: LocalEngine, image: str) -> None:
    files, ref = logged(engine, image, 100_000, max_size="64k", max_file="5")
    assert files == ["log", "log.1", "log.2", "log.3", "log.4"]
    numbers = [int(line.text) for line in engine.containers.logs(ref)]
    assert numbers == list(range(numbers[0], 100_001))


def test_one_file_can_be_all(engine: LocalEngine, image: str) -> None:
    files, ref = logged(engine, image, 5000, max_size="64k", max_file="1")
    assert files == ["log"]
    numbers = [int(line.text) for line in engine.containers.logs(ref)]
    assert not numbers or numbers[-1] == 5000


def test_a_log_without_an_end_is_whole(engine: LocalEngine, image: str) -> None:
    files, ref = logged(engine, image, 1000, max_size="-1")
    assert files == ["log"]
    assert len(list(engine.containers.logs(ref))) == 1000


def test_without_a_log_there_is_only_what_is_seen(engine: LocalEngine, image: str) -> None:
    assert run(engine, image, "echo", "seen", log_driver="none") == (0, "seen\n")
    ref = engine.containers.create(
        CreateOptions(image, command=("echo", "x"), network="none", log_driver="none")
    )
    engine.containers.start(ref)
    assert engine.containers.wait(ref) == 0
    assert not os.path.exists(engine.containers.inspect(ref).log_path)
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        engine.containers.logs(ref)
    document = docker_json(engine.containers.inspect(ref))
    assert document["HostConfig"]["LogConfig"] == {"Type": "none", "Config": {}}


@pytest.mark.parametrize(
    ("driver", "options", "kind", "text"),
    [
        ("journald", (), Unsupported, "log driver journald: not supported by pydock yet"),
        ("foo", (), InvalidInput, "logger: no log driver named 'foo' is registered"),
        ("none", (("max-size", "1m"),), InvalidInput, "unknown log opt 'max-size' for none log"),
        ("k8s-file", (("tag", "x"),), InvalidInput, "unknown log opt 'tag' for k8s-file log"),
        ("k8s-file", (("max-size", "big"),), InvalidInput, "invalid size: 'big'"),
        ("k8s-file", (("max-size", "0"),), InvalidInput, "max-size must be a positive number"),
        ("k8s-file", (("max-file", "0"),), InvalidInput, "invalid value for max-file: 0"),
        ("k8s-file", (("max-file", "x"),), InvalidInput, "invalid value for max-file: x"),
    ],
)
def test_what_cannot_be_logged_so_is_told(
    engine: LocalEngine, image: str, driver: str, options: Any, kind: type[EngineError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        engine.containers.create(CreateOptions(image, log_driver=driver, log_options=options))
    assert engine.containers.list(all=True) == []
