"""Where a repository may be found: the registry itself, or a mirror of it."""

from __future__ import annotations

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple
from engine.registry.origin import split_url


class Trust(NamedTuple):
    """Whom to believe beside the system's authorities, and who we are: paths of PEM files."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()  # certificate and key
    unchecked: bool = False  # certificates prove nothing


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
    trust: Trust = Trust()

    def __repr__(self) -> str:
        return f"Source({self.name}{self.base}/{self.path})"


def split_location(text: str, where: str) -> tuple[str, str, str]:
    """Scheme ("" when it has none), host[:port] and path without slashes at its ends of
    `[http[s]://]host[:port][/path]`. Raises InvalidInput."""
    scheme, mark, rest = text.partition("://")
    try:
        origin, target = split_url(text if mark else f"https://{text}")
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}") from error
    if "?" in target or not (rest if mark else text):
        raise InvalidInput(f"{where}: {text!r}: expected host[:port][/path]")
    return scheme if mark else "", origin.name, target.strip("/")
