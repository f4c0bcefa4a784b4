"""What takes the disk, and how it comes free, as every engine has it."""

import pytest

from engine.engine import Engine
from engine.errors import InvalidInput
from engine.model.container import CreateOptions, MountRequest
from engine.model.prune import Preview

EVERYTHING = ("container", "network", "volume", "image", "file")


def names(preview: Preview) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in preview.items]


def create(engine: Engine, image: str, name: str, **options: object) -> str:
    return engine.containers.create(
        CreateOptions(image, name, ("sleep", "1000"), **{"network": "none", **options})  # type: ignore[arg-type]
    )


def test_df_counts_what_there_is(engine: Engine, image: str) -> None:
    engine.volumes.create("data")
    create(engine, image, "idle")
    create(engine, image, "user", mounts=(MountRequest("volume", "used", "/data"),))
    found = engine.system.df()
    assert found.images[:2] == (1, 1)
    assert found.images.reclaimable_bytes == 0
    (row,) = found.each_image
    assert (row.references, row.containers) == ((image,), 2)
    assert row.size_bytes == row.unique_bytes == found.images.size_bytes > 5000
    assert row.shared_bytes == 0
    assert found.containers[:2] == (2, 0)
    assert len(found.each_container) == 2
    assert [(each.name, each.used_by) for each in found.each_volume] == [
        ("data", ()),
        ("used", ("user",)),
    ]
    assert found.volumes[:2] == (2, 1)
    assert found.total_bytes >= found.images.size_bytes + found.metadata_bytes
    engine.images.tag(image, "other:1")
    (row,) = engine.system.df().each_image
    assert set(row.references) == {image, "other:1"}


def test_nothing_is_pruned_where_all_is_used(engine: Engine, image: str) -> None:
    engine.networks.create("mine", internal=True)
    volume = engine.volumes.create()
    mounts = (MountRequest("volume", volume, "/data"),)
    ref = create(engine, image, "web", network="mine", mounts=mounts)
    engine.containers.start(ref)
    preview = engine.system.prune_preview(EVERYTHING, all_images=True, all_volumes=True)
    assert (preview.items, preview.freed_bytes) == ((), 0)
    assert {(each.kind, each.name, each.reason) for each in preview.kept} == {
        ("container", "web", "it is running"),
        ("network", "mine", "container web uses it"),
        ("volume", volume, "container web uses it"),
        ("image", image, "container web uses it"),
    }
    assert engine.system.prune(preview).removed == ()
    engine.containers.remove(ref, force=True)


def test_a_preview_sees_what_is_free_once_the_containers_are_gone(
    engine: Engine, image: str
) -> None:
    engine.networks.create("mine", internal=True)
    anonymous = engine.volumes.create()
    engine.volumes.create("named")
    mounts = tuple(MountRequest("volume", each, f"/{each[:5]}") for each in (anonymous, "named"))
    ref = create(engine, image, "old", network="mine", mounts=mounts)
    kept = engine.system.prune_preview(("network", "volume", "image"), all_images=True)
    assert kept.items == ()
    preview = engine.system.prune_preview(EVERYTHING, all_images=True)
    assert names(preview) == [
        ("container", "old"), ("network", "mine"), ("volume", anonymous), ("image", image),
    ]  # fmt: skip
    assert preview.items[0].id == ref
    assert preview.items[-1].users == ("old",)
    assert preview.items[-1].references == (image,)
    assert preview.freed_bytes == sum(item.freed_bytes for item in preview.items) > 5000
    pruned = engine.system.prune(preview)
    assert (pruned.removed, pruned.kept) == (preview.items, ())
    assert pruned.freed_bytes == preview.freed_bytes
    assert len(pruned.chains) == 2
    assert engine.images.list() == []
    assert engine.containers.list(all=True) == []
    assert [row.name for row in engine.volumes.list()] == ["named"]
    assert "mine" not in [row.name for row in engine.networks.list()]
    assert engine.system.df().images == (0, 0, 0, 0)


def test_only_images_without_a_name_unless_all_are_asked_for(engine: Engine, image: str) -> None:
    create(engine, image, "user")
    (identity,) = (row.id for row in engine.images.list())
    engine.images.remove(image, force=True)  # the container keeps it, without a name
    assert engine.system.prune_preview(("image",)).items == ()
    engine.containers.remove("user")
    preview = engine.system.prune_preview(("image",))
    assert names(preview) == [("image", identity[7:19])]
    engine.images.tag(identity, "again:1")
    assert engine.system.prune_preview(("image",)).items == ()
    assert names(engine.system.prune_preview(("image",), all_images=True)) == [("image", "again:1")]


def test_what_has_changed_since_the_preview_stays_and_is_told(engine: Engine, image: str) -> None:
    volume = engine.volumes.create()
    create(engine, image, "old")
    engine.networks.create("mine", internal=True)
    preview = engine.system.prune_preview(EVERYTHING, all_images=True)
    assert len(preview.items) == 4
    engine.images.tag(image, "new:1")
    engine.containers.start("old")
    engine.networks.remove("mine")
    engine.volumes.remove(volume)
    pruned = engine.system.prune(preview)
    assert (pruned.removed, pruned.freed_bytes, pruned.chains) == ((), 0, ())
    reasons = {each.kind: each.reason for each in pruned.kept}
    assert reasons["network"] == reasons["volume"] == "it is gone already"
    assert reasons["container"].startswith("cannot remove container")
    assert reasons["image"] == "container old uses it"
    engine.containers.remove("old", force=True)
    pruned = engine.system.prune(preview)
    assert {each.kind: each.reason for each in pruned.kept}["image"] == "it has a new name, new:1"
    assert [set(row.references) for row in engine.images.list()] == [{image, "new:1"}]


def test_filters_choose_by_age_and_label(engine: Engine, image: str) -> None:
    create(engine, image, "plain")
    create(engine, image, "kept", labels=(("keep", "yes"), ("tier", "db")))

    def preview(*filters: tuple[str, str]) -> list[str]:
        found = engine.system.prune_preview(("container",), filters=filters)
        return sorted(item.name for item in found.items)

    assert preview() == ["kept", "plain"]
    assert preview(("label", "keep")) == ["kept"]
    assert preview(("label", "keep=yes"), ("label", "tier=web")) == []
    assert preview(("label!", "keep")) == ["plain"]
    assert preview(("label!", "keep"), ("label!", "tier=web")) == ["kept", "plain"]
    assert preview(("until", "10m")) == []
    assert preview(("until", "2h"), ("label", "keep")) == []
    assert preview(("until", "4102444800")) == ["kept", "plain"]
    engine.containers.remove("plain")
    engine.containers.remove("kept")
    images = engine.system.prune_preview(
        ("image",), all_images=True, filters=[("label", "maker=contract")]
    )
    assert names(images) == [("image", image)]
    with pytest.raises(InvalidInput, match="invalid filter 'color'"):
        preview(("color", "red"))
    with pytest.raises(InvalidInput, match="failed to parse value as time"):
        preview(("until", "yesterday"))


def test_a_volume_with_a_name_goes_when_all_are_asked_for(engine: Engine) -> None:
    engine.volumes.create("data", labels=[("role", "db")])
    anonymous = engine.volumes.create()
    system = engine.system
    assert names(system.prune_preview(("volume",))) == [("volume", anonymous)]
    both = system.prune_preview(("volume",), all_volumes=True)
    assert sorted(names(both)) == sorted([("volume", anonymous), ("volume", "data")])
    only = system.prune_preview(("volume",), all_volumes=True, filters=[("label", "role")])
    assert names(only) == [("volume", "data")]
    assert [item.name for item in system.prune(only).removed] == ["data"]
    assert [row.name for row in engine.volumes.list()] == [anonymous]
