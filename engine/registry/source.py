"""Where a repository may be found: the registry itself, or a mirror of it."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """One place that answers for a repository."""

    name: str  # host[:port] to dial, the key of settings, certificates and credentials
    path: str  # of the repository there
    base: str = "/v2"  # what stands before it
    scheme: str = ""  # "" is https, and http where the settings allow it
    is_mirror: bool = False
    resolves: bool = True  # it may say what a tag names
    pulls: bool = True  # it may give what a digest names
    namespace: str = ""  # whose mirror it is: told to it as `?ns=`
    headers: tuple[tuple[str, str], ...] = ()  # sent to it alone; may hold secrets
    named_by: str = ""  # the file that says so

    def __repr__(self) -> str:
        return f"Source({self.name}{self.base}/{self.path})"
