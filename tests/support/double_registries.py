"""The double's registries: they live in memory, and so do the logins."""

import builtins

from engine.engine import Cancel
from engine.errors import InvalidInput
from engine.model.registry import LoggedIn, LoggedOut, RegistrySettings, SearchResult
from engine.oci.reference import DOCKER_HUB
from tests.support.double_world import World


class DoubleRegistries:
    """Every user's password is `password_of(user)`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.users: dict[str, str] = {}
        self.results: builtins.list[SearchResult] = []
        self.said = RegistrySettings((), ())

    @staticmethod
    def password_of(user: str) -> str:
        return f"password of {user}"

    def user(self, server: str = "") -> str | None:
        return self.users.get(_domain(server))

    def login(
        self, server: str = "", *, user: str = "", password: str = "", cancel: Cancel | None = None
    ) -> LoggedIn:
        domain = _domain(server)
        if not user and not password:
            if domain not in self.users:
                raise InvalidInput(f"not logged in to {domain}", "give a user name and a password")
            return LoggedIn(domain, self.users[domain], "", True, "")
        if not user or not password:
            raise InvalidInput("user name and password are required, one is empty")
        if password != self.password_of(user):
            raise InvalidInput(f"registry {domain}: incorrect user name or password")
        self.users[domain] = user
        return LoggedIn(domain, user, "/root/.docker/config.json", False, "")

    def logout(self, server: str = "") -> LoggedOut:
        domain = _domain(server)
        return LoggedOut(domain, self.users.pop(domain, None) is not None, ())

    def settings(self) -> RegistrySettings:
        return self.said

    def search(
        self, term: str, *, limit: int = 25, cancel: Cancel | None = None
    ) -> list[SearchResult]:
        names = {name.rpartition(":")[0] for name in self._world.remote}
        rows = [*self.results, *(SearchResult(name, "", 0, False) for name in sorted(names))]
        return [row for row in rows if term in row.name or term in row.description][:limit]


def _domain(server: str) -> str:
    name = server.partition("://")[2] if "://" in server else server
    name = name.partition("/")[0] or (DOCKER_HUB if not server else "")
    if "." not in name and ":" not in name and name != "localhost":
        raise InvalidInput(f"registry {server!r}: not a host[:port]")
    return name
