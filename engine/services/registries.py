"""Registries: login, logout, search."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.model.registry import LoggedIn, LoggedOut, RegistrySettings, SearchResult


class RegistryService:
    """The face's `registries`. The client for them is loaded by who uses it."""

    def user(self, server: str = "") -> str | None:
        """See registry.login."""
        from engine.registry.login import user_of

        return user_of(server)

    def login(
        self, server: str = "", *, user: str = "", password: str = "", cancel: Cancel | None = None
    ) -> LoggedIn:
        """See registry.login."""
        from engine.registry.login import log_in

        return log_in(server, user, password, cancel=cancel)

    def logout(self, server: str = "") -> LoggedOut:
        """See registry.login."""
        from engine.registry.login import log_out

        return log_out(server)

    def settings(self) -> RegistrySettings:
        """See registry.hosts."""
        from engine.registry.hosts import Hosts

        return Hosts().describe()

    def search(
        self, term: str, *, limit: int = 25, cancel: Cancel | None = None
    ) -> list[SearchResult]:
        """See registry.search."""
        from engine.registry.search import search

        return search(term, limit, cancel=cancel)
