"""Pulls from a real registry, and from an honest server that keeps count."""

import threading

import pytest

from engine.errors import Conflict, NotFound, Unavailable
from tests.support import images
from tests.support.fault_server import FaultServer
from tests.support.images import make_image, make_index
from tests.support.pulls import Store, example, noise
from tests.support.registry import Registry

pytestmark = pytest.mark.root
S390X = {"os": "linux", "architecture": "s390x"}


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_image_of_each_kind_is_unpacked(
    store: Store, registry: Registry, family: images.Family, compression: images.Compression
) -> None:
    image = make_image(
        [{"a": b"1"}, {"d/": None, "d/b": b"2"}], family=family, compression=compression
    )
    repository = f"kinds/{family}{compression}"
    reference = images.push(registry, repository, "1", make_index([image], family=family))
    assert store.pull(reference) == image.config.digest
    assert store.tree(image, 0) == {"a": b"1"}
    assert store.tree(image, 1) == {"d": None, "d/b": b"2"}
    row = store.images.get(reference)
    assert (row.id, row.manifest) == (image.config.digest, image.manifest.digest)
    for blob in (*image.blobs(), *image.manifests()):
        assert store.content.read(blob.digest) == blob.data


def test_second_pull_is_one_head(store: Store, server: FaultServer) -> None:
    index = make_index([example(), make_image([{"x": b""}], platform=S390X)])
    reference = images.serve(server, "r", "1", index)
    first = store.pull(reference)
    server.requests.clear()
    assert store.pull(reference) == first
    assert [request[:2] for request in server.requests] == [("HEAD", "/v2/r/manifests/1")]
    assert store.told[-1].text.startswith("image is up to date")


def test_tag_that_moved_brings_only_what_is_new(store: Store, server: FaultServer) -> None:
    old = make_image([{"base": noise(1000)}, {"top": b"1"}])
    new = make_image([{"base": noise(1000)}, {"top": b"2"}])
    reference = images.serve(server, "r", "1", old)
    store.pull(reference)
    images.serve(server, "r", "1", new)
    server.requests.clear()
    assert store.pull(reference) == new.config.digest
    fetched = {request.path.rpartition("/")[2] for request in server.requests}
    assert fetched == {"1", new.manifest.digest, new.config.digest, new.layers[1].digest}
    assert store.images.get(reference).id == new.config.digest
    assert store.phases(new.layers[0].digest[7:19])[-1] == "cached"


def test_digest_reference_needs_no_registry_the_second_time(
    store: Store, server: FaultServer
) -> None:
    image = example()
    images.serve(server, "r", "1", image)
    reference = f"{server.host}/r@{image.manifest.digest}"
    assert store.pull(reference) == image.config.digest
    server.requests.clear()
    assert store.pull(reference) == image.config.digest
    assert not server.requests


def test_same_layers_in_other_blobs_need_no_download(store: Store, server: FaultServer) -> None:
    """gzip and zstd of one tar: two digests, one diff_id."""
    layers = [{"a": noise(1000)}, {"b": b"1"}]
    store.pull(images.serve(server, "r", "gzip", make_image(layers)))
    other = make_image(layers, compression="zstd")
    server.requests.clear()
    assert store.pull(images.serve(server, "r", "zstd", other)) == other.config.digest
    assert not any(server.count("GET", layer.digest) for layer in other.layers)


def test_image_that_has_a_layer_twice_is_pulled(store: Store, server: FaultServer) -> None:
    image = make_image([{"a": b"1"}, {"b": b"2"}, {"a": b"1"}])
    assert store.pull(images.serve(server, "r", "1", image)) == image.config.digest
    assert server.count("GET", image.layers[0].digest) == 1


def test_asked_platform_is_pulled(store: Store, registry: Registry) -> None:
    other = make_image([{"x": b""}], platform=S390X)
    reference = images.push(registry, "platforms", "1", make_index([example(), other]))
    assert store.pull(reference, "linux/s390x") == other.config.digest
    with pytest.raises(NotFound, match=r"no image for linux/riscv64, there is .*linux/s390x"):
        store.pull(reference, "linux/riscv64")


def test_single_image_of_another_platform_is_a_conflict_when_asked(
    store: Store, registry: Registry
) -> None:
    reference = images.push(registry, "single", "1", make_image([{"x": b""}], platform=S390X))
    with pytest.raises(Conflict, match="linux/s390x"):
        store.pull(reference, "linux/riscv64")
    store.pull(reference)
    assert any(step.text.startswith("warning: ") for step in store.told)


def test_registry_named_insecure_is_pointed_out(store: Store, server: FaultServer) -> None:
    reference = images.serve(server, "r", "1", example())
    store.pull(reference)
    assert not any("insecure" in step.text for step in store.told)
    (store.etc / "pydock").mkdir()
    (store.etc / "pydock/config.toml").write_text(f'[registry."{server.host}"]\ninsecure = true\n')
    store.pull(reference)
    assert any(f"{server.host} is named insecure" in step.text for step in store.told)


def test_progress_of_a_layer_never_runs_backwards(store: Store, registry: Registry) -> None:
    image = example(3_000_000)
    store.pull(images.push(registry, "progress", "1", image))
    for layer in image.layers:
        name = layer.digest[7:19]
        assert store.phases(name)[0] == "queued"
        assert store.phases(name)[-1] == "done"
        last: dict[str, int] = {}
        for step in store.told:
            if step.id == name:
                assert last.get(step.phase, 0) <= step.current <= step.total == len(layer.data)
                last[step.phase] = step.current


def test_absent_tag_and_absent_repository_are_not_found(store: Store, registry: Registry) -> None:
    images.push(registry, "present", "bookworm", example())
    with pytest.raises(NotFound) as caught:
        store.pull(f"{registry.host}/none:1")
    assert caught.value.message == f"manifest for {registry.host}/none:1 not found"
    assert "pydock login" in caught.value.hint
    with pytest.raises(NotFound, match="present:bokworm not found") as caught:
        store.pull(f"{registry.host}/present:bokworm")
    assert caught.value.hint == "it has bookworm"
    store.assert_nothing_half_made()


def test_unreachable_registry_is_unavailable(store: Store) -> None:
    with pytest.raises(Unavailable, match="localhost:9: connection refused") as caught:
        store.pull("localhost:9/x")
    assert caught.value.hint
    store.assert_nothing_half_made()


def test_pulls_of_one_image_at_once_fetch_each_blob_once(store: Store, server: FaultServer) -> None:
    image = example(5_000_000)
    reference = images.serve(server, "r", "1", image)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            store.pull(reference)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert [server.count("GET", layer.digest) for layer in image.layers] == [1, 1]
