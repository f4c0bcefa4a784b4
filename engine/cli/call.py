"""One invocation of a command: what was asked for, the engine behind it, where answers go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.cli.output import Output
    from engine.cli.parser import Arguments
    from engine.engine import Engine

Connect = Callable[[bool], "Engine"]  # True: the demo's


class Call:
    """The engine is connected when it is needed, once; `close` gives it back. `roots` are what
    `--root` and `--run-root` said."""

    def __init__(
        self,
        arguments: Arguments,
        output: Output,
        connect: Connect,
        *,
        roots: tuple[str | None, str | None] = (None, None),
    ) -> None:
        self.words = arguments.words
        self.on = arguments.on
        self.one = arguments.one
        self.many = arguments.many
        self.value = arguments.value
        self.output = output
        self.roots = roots
        self.is_demo = False
        self._connect = connect
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._connect(self.is_demo)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def each(self, refs: Sequence[str], act: Callable[[str], object], *, say: bool = True) -> int:
        """`act` on every one, though some fail, as docker does: 0, or 1 when one failed. What was
        done is said by its ref."""
        from engine.errors import Cancelled, EngineError

        failed = 0
        for ref in refs:
            try:
                act(ref)
            except Cancelled:
                raise
            except EngineError as error:
                self.output.error(error)
                failed = 1
            else:
                if say:
                    self.output.line(ref)
                    self.output.flush()
        return failed
