"""`pydock` in this process, over the contract double."""

import io
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from engine.cli.main import main
from engine.cli.output import Output
from engine.engine import Engine
from tests.support.double import Double


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Pydock = Callable[..., Said]


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as engine:
        yield engine


@pytest.fixture
def pydock(double: Double, capfd: pytest.CaptureFixture[str]) -> Pydock:
    """Runs a command line. What a relay writes to the descriptors themselves comes too."""

    def run(*words: str, terminal: bool = False, stdin: bytes | None = None) -> Said:
        out, err = io.BytesIO(), io.BytesIO()
        output = Output(out, err, terminal=terminal)
        capfd.readouterr()

        def connect(demo: bool) -> Engine:
            return _Kept(double)  # type: ignore[return-value]

        kept = os.dup(0)
        try:
            reader, writer = os.pipe()
            os.write(writer, stdin or b"")
            os.close(writer)
            os.dup2(reader, 0)
            os.close(reader)
            code = main(words, connect=connect, output=output)
        finally:
            os.dup2(kept, 0)
            os.close(kept)
        relayed = capfd.readouterr()
        return Said(
            code,
            out.getvalue().decode("utf-8", "replace") + relayed.out,
            err.getvalue().decode("utf-8", "replace") + relayed.err,
        )

    return run


class _Kept:
    """The double, which a command's end must not close."""

    def __init__(self, double: Double) -> None:
        self._double = double

    def __getattr__(self, name: str) -> object:
        return getattr(self._double, name)

    def close(self) -> None:
        pass
