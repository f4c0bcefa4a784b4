"""Two images beside each other."""

from __future__ import annotations

from engine.model.analysis import Analysis
from engine.named_tuple import NamedTuple


class FileChange(NamedTuple):
    """A path that is not the same in both. A size is -1 where there is no such file."""

    path: str
    before_bytes: int
    after_bytes: int
    content: bool  # else only owner, mode or attributes differ

    @property
    def grown_bytes(self) -> int:
        return max(self.after_bytes, 0) - max(self.before_bytes, 0)


class PackageChange(NamedTuple):
    """A package that only one has, or another version; "" and 0 where it is not."""

    kind: str
    name: str
    before: str
    after: str
    before_bytes: int
    after_bytes: int


class Comparison(NamedTuple):
    """What becomes of `before` in `after`. Lists have the biggest differences first."""

    before: Analysis
    after: Analysis
    shared_layers: tuple[tuple[int, int], ...]  # positions in both, by diff_id
    shared_bytes: int  # of those layers
    added: int  # files
    changed: int
    gone: int
    files: tuple[FileChange, ...]
    packages: tuple[PackageChange, ...]
    config: tuple[tuple[str, str, str], ...]  # (what, before, after)
