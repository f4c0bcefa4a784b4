"""What every engine's archives hold, and which words name what goes into them."""

import io

import pytest

from engine.engine import Cancel, Engine
from engine.errors import Cancelled, NotFound
from engine.model.progress import Progress


def save(engine: Engine, *refs: str, **keywords: str) -> bytes:
    output = io.BytesIO()
    engine.images.save(refs, output, **keywords)  # type: ignore[arg-type]
    return output.getvalue()


def again(engine: Engine, archive: bytes) -> list[str]:
    """What is loaded from it, after everything that is here is gone."""
    for row in engine.images.list():
        engine.images.remove(row.id, force=True)
    return list(engine.images.load(io.BytesIO(archive)))


def test_what_is_saved_is_loaded_as_it_was(engine: Engine, image: str) -> None:
    before = engine.images.inspect(image)
    assert again(engine, save(engine, image)) == [image]
    after = engine.images.inspect(image)
    assert after.summary.id == before.summary.id
    assert after.diff_ids == before.diff_ids
    assert after.config == before.config


def test_a_name_without_a_tag_stands_for_every_tag(engine: Engine, image: str) -> None:
    engine.images.tag(image, "localhost/contract:2")
    engine.images.tag(image, "localhost/contracts:3")
    archive = save(engine, "localhost/contract")
    assert again(engine, archive) == ["localhost/contract:1", "localhost/contract:2"]


def test_an_id_stands_for_the_image_without_its_names(engine: Engine, image: str) -> None:
    identity = engine.images.inspect(image).summary.id
    assert again(engine, save(engine, identity[7:19])) == [identity]


def test_one_image_under_several_names_is_there_once(engine: Engine, image: str) -> None:
    engine.images.tag(image, "other:1")
    archive = save(engine, image, "other:1", image)
    assert len(archive) < 1.5 * len(save(engine, image))
    assert again(engine, archive) == [image, "other:1"]


def test_nothing_is_written_when_one_is_missing(engine: Engine, image: str) -> None:
    output = io.BytesIO()
    with pytest.raises(NotFound, match="no such image: nothing"):
        engine.images.save([image, "nothing"], output)
    assert output.getvalue() == b""


def test_another_platform_than_the_image_has_is_not_found(engine: Engine, image: str) -> None:
    row = engine.images.inspect(image).summary
    assert save(engine, image, platform=f"linux/{row.architecture}") == save(engine, image)
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        save(engine, image, platform="linux/s390x")


def test_saving_tells_its_end_and_hears_a_cancel(engine: Engine, image: str) -> None:
    told: list[Progress] = []
    engine.images.save([image], io.BytesIO(), progress=told.append)
    assert told[-1].phase == "done"
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        engine.images.save([image], io.BytesIO(), cancel=cancel)
