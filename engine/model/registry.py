"""Registries: who one is to them, and what they have."""

from engine.named_tuple import NamedTuple


class LoggedIn(NamedTuple):
    """A login that the registry has accepted."""

    server: str  # "docker.io", "registry.example:5000"
    user: str  # "" for a token without a name
    kept_in: str  # a file, or a credential helper
    is_encrypted: bool
    hidden_by: str  # a file that wins over it, "" usually


class LoggedOut(NamedTuple):
    """What a logout has left."""

    server: str
    was_logged_in: bool
    remains_in: tuple[str, ...]  # files that know it still, and are other tools'


class SearchResult(NamedTuple):
    """A repository that a search has found."""

    name: str
    description: str
    stars: int
    is_official: bool


class RegistrySettings(NamedTuple):
    """What this host's files say of registries, beside certificates."""

    mirrors: tuple[tuple[str, str], ...]  # registry ("*" for all) and a place, in their order
    insecure: tuple[str, ...]  # hosts and networks
