"""Pulls that end in the middle: cancelled, killed; and several at once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.engine import Cancel
from engine.errors import Cancelled
from engine.registry.timeouts import Timeouts
from tests.support import images
from tests.support.fault_server import Exchange, FaultServer
from tests.support.images import MadeImage, make_image
from tests.support.pulls import Store, example, noise
from tests.support.registry import Registry
from tests.support.waiting import until

pytestmark = pytest.mark.root


@pytest.mark.parametrize("moment", ["resolve", "config", "layer"])
def test_cancel_at_any_moment_ends_it_while_the_server_says_nothing(
    store: Store, moment: str
) -> None:
    reached = threading.Event()
    given_up: list[str] = []
    part = {"resolve": "/manifests/1", "config": "/blobs/", "layer": "/blobs/"}[moment]
    image = example(300_000)

    def script(exchange: Exchange) -> bool:
        is_config = exchange.path.endswith(image.config.digest)
        if part not in exchange.path or (moment == "layer" and is_config):
            return False
        reached.set()
        exchange.stall()
        given_up.append(exchange.path)
        return True

    cancel = Cancel()
    patience = Timeouts(headers_seconds=600, stall_seconds=600)

    def end() -> None:
        reached.wait(60)
        time.sleep(0.05)  # by now it waits in the kernel, as a rule
        cancel.cancel()

    with FaultServer(script) as server:
        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(Cancelled):
            store.pull(images.serve(server, "r", "1", image), cancel=cancel, timeouts=patience)
        assert given_up == []
        thread.join()
    store.assert_nothing_half_made()


_PULL = """
import sys
from pathlib import Path
from engine.home import open_home
from engine.oci.reference import parse_reference
from engine.registry.pull import pull
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
home = open_home(); database = Database(home); content = Content(home, database)
print("begin", flush=True)
pull(parse_reference(sys.argv[1]), home=home, database=database, content=content,
     images=ImageStore(database, content))
"""


def kill_at_random(store: Store, reference: str, times: int, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", _PULL, reference],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        time.sleep(moments.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def many_layers(count: int) -> MadeImage:
    layers = [{f"d{n}/": None, f"d{n}/f": noise(300_000, n)} for n in range(count)]
    return make_image(layers)


def check_killed_pulls(store: Store, registry: Registry, times: int, seed: int) -> None:
    image = many_layers(8)
    reference = images.push(registry, f"killed{seed}", "1", image)
    kill_at_random(store, reference, times, seed)
    assert store.pull(reference) == image.config.digest
    for number in range(8):
        assert store.tree(image, number)[f"d{number}/f"] == noise(300_000, number)
    for layer in image.layers:
        assert store.content.read(layer.digest) == layer.data
    assert all(name.endswith(".lock") for name in os.listdir(f"{store.home.root}/ingest"))


def test_pull_after_killed_pulls_succeeds(store: Store, registry: Registry) -> None:
    check_killed_pulls(store, registry, 4, 1)


def test_processes_that_pull_one_image_share_its_downloads(
    store: Store, server: FaultServer
) -> None:
    image = many_layers(4)
    reference = images.serve(server, "r", "1", image)
    processes = [
        subprocess.Popen([sys.executable, "-c", _PULL, reference], stdout=subprocess.DEVNULL)
        for _ in range(8)
    ]
    assert [process.wait() for process in processes] == [0] * 8
    assert [server.count("GET", layer.digest) for layer in image.layers] == [1] * 4
    assert store.images.get(reference).id == image.config.digest
    assert len(os.listdir(f"{store.home.root}/layers")) == 4
    assert not os.listdir(f"{store.home.root}/staging")
    assert not store.database.query("SELECT * FROM lease")


def test_next_one_takes_over_when_the_first_dies(store: Store) -> None:
    """And goes on where that one was."""
    image = make_image([{"noise": noise(2 << 20)}])
    (blob,) = image.layers
    half = len(blob.data) // 2

    def stall_once(exchange: Exchange) -> bool:
        faults = exchange.server.faults
        if not exchange.path.endswith(blob.digest) or faults.count("GET", blob.digest) > 1:
            return False
        exchange.send_head(200, None, len(blob.data))
        exchange.wfile.write(blob.data[:half])
        exchange.stall()
        return True

    with FaultServer(stall_once) as server:
        reference = images.serve(server, "r", "1", image)
        first = subprocess.Popen(
            [sys.executable, "-c", _PULL, reference], stdout=subprocess.DEVNULL
        )
        partial = Path(store.home.root) / "ingest" / blob.digest[7:]
        until(lambda: partial.exists() and partial.stat().st_size == half, 60)

        def end() -> None:
            try:
                until(lambda: "waiting" in store.phases(blob.digest[7:19]))
            finally:
                first.kill()

        killer = threading.Thread(target=end)
        killer.start()
        assert store.pull(reference) == image.config.digest
        killer.join()
        assert first.wait() == -signal.SIGKILL
        ranges = [r.headers["Range"] for r in server.requests if r.path.endswith(blob.digest)]
    assert ranges == [None, f"bytes={half}-"]
    waiting = [step.current for step in store.told if step.phase == "waiting"]
    assert waiting[-1] == half


@pytest.mark.long
def test_pull_after_many_killed_pulls_succeeds(store: Store, registry: Registry) -> None:
    for seed in range(2, 12):
        check_killed_pulls(store, registry, 10, seed)
