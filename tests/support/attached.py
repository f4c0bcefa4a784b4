"""A program of a container, run to its end."""

from typing import NamedTuple

from engine.engine import Engine
from engine.model.container import CreateOptions


class Said(NamedTuple):
    """How it ended, and what it wrote to both streams."""

    code: int
    text: str


def run(engine: Engine, image: str, *command: str, **options: object) -> Said:
    """A container of `image` ran `command`, with `CreateOptions` of these `options`, and is gone
    again."""
    options = {"network": "none", **options}
    ref = engine.containers.create(
        CreateOptions(image, command=command, **options)  # type: ignore[arg-type]
    )
    try:
        session = engine.containers.start_attached(ref)
        text = b""
        while part := session.read()[1]:
            text += part
        code = session.wait()
        session.close()
        return Said(code, text.decode())
    finally:
        engine.containers.remove(ref, force=True, volumes=True)
