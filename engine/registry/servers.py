"""Which server of a repository is asked: its mirrors in their order, then the registry itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from engine.engine import Cancel
from engine.errors import Cancelled, EngineError
from engine.oci.reference import DOCKER_HUB, Reference
from engine.registry.credentials import find_credential
from engine.registry.hosts import DOCKER_HUB_ADDRESS, Hosts
from engine.registry.refusal import named
from engine.registry.retry import Transient
from engine.registry.server import Server
from engine.registry.source import Source
from engine.registry.timeouts import Timeouts
from engine.registry.transport import Response, Transport

OnNotice = Callable[[str], None]
_GOOD = (200, 206, 416)


class Servers:
    """A mirror that fails in any way is passed over, and said so once; what the registry itself
    answers is the answer. Safe from any thread."""

    def __init__(
        self,
        reference: Reference,
        actions: str,
        readable: Sequence[str],
        transport: Transport,
        hosts: Hosts,
        timeouts: Timeouts,
        cancel: Cancel,
        notice: OnNotice | None,
    ) -> None:
        self._notice = notice or (lambda text: None)
        self._lock = threading.Lock()
        self._passed_over: set[tuple[Server, str]] = set()
        self._given: dict[str, tuple[Server, int]] = {}  # who gave a path last, from which offset
        *mirrors, upstream = hosts.sources(reference.domain, reference.path)
        self._mirror_transport = Transport(
            hosts,
            timeouts._replace(connect_seconds=timeouts.mirror_connect_seconds),
            cancel,
        )

        def server(source: Source, transport: Transport, *scopes: str) -> Server:
            # Each place has credentials of its own: a mirror never sees the registry's.
            domain = DOCKER_HUB if source.name == DOCKER_HUB_ADDRESS else source.name
            return Server(
                source,
                transport,
                hosts,
                domain,
                lambda: find_credential(domain, source.path, timeouts),
                scopes,
                notice=self._notice,
            )

        self.mirrors = [
            server(source, self._mirror_transport, f"repository:{source.path}:pull")
            for source in mirrors
        ]
        self.registry = server(
            upstream,
            transport,
            f"repository:{upstream.path}:{actions}",
            *(f"repository:{path}:pull" for path in readable),
        )

    def close(self) -> None:
        self._mirror_transport.close()

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        names_tag: bool = False,
        offset: int = 0,
    ) -> Response:
        """The answer of the first mirror that gives what is asked for, else the registry's own,
        any status. `names_tag`: `path` may mean something else tomorrow."""
        for mirror in self.mirrors:
            able = mirror.source.resolves if names_tag else mirror.source.pulls
            with self._lock:
                if not able or not self._passed_over.isdisjoint(((mirror, ""), (mirror, path))):
                    continue
            try:
                response = mirror.request(method, path, headers)
            except Cancelled:
                raise
            except (Transient, EngineError) as failure:
                error = failure.error if isinstance(failure, Transient) else failure
                self._pass_over(mirror, "", error.message)
                continue
            if response.status in _GOOD:
                with self._lock:
                    self._given[path] = mirror, offset
                return response
            response.close()
            self._pass_over(mirror, path, f"answers {named(response.status)}")
        with self._lock:
            self._given.pop(path, None)
        return self.registry.request(method, path, headers)

    def asked_before(self, path: str, offset: int) -> None:
        """`path` is about to be asked for from `offset` on: a mirror that has given it from there,
        or from further on, has given what was of no use."""
        with self._lock:
            given = self._given.get(path)
        if given and offset <= given[1]:
            self.distrust(path, "gave wrong bytes, or none")

    def distrust(self, path: str, reason: str) -> bool:
        """True when a mirror gave `path` last: it is not asked for that again."""
        with self._lock:
            given = self._given.pop(path, None)
        if given is None:
            return False
        self._pass_over(given[0], path, reason)
        return True

    def _pass_over(self, mirror: Server, path: str, reason: str) -> None:
        with self._lock:
            is_new = all(each[0] is not mirror for each in self._passed_over)
            self._passed_over.add((mirror, path))
        if is_new:
            self._notice(f"warning: mirror {mirror.source.name}: {reason}: asking elsewhere")
