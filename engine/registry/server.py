"""A server of a repository: where it is, how it lets us in, what is sent to it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence

from engine.errors import Unavailable
from engine.registry.credentials import Credential
from engine.registry.hosts import Hosts
from engine.registry.origin import Origin, check_leads_outside, split_url
from engine.registry.retry import Transient
from engine.registry.secret import quote_foreign
from engine.registry.source import Source
from engine.registry.tokens import Authorizer
from engine.registry.transport import Body, Response, Transport

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"(?: "[^"]*")?')
_RATE = re.compile(r"([0-9]{1,9})(?:;|$)")
_MAX_NOTICES = 8  # of one server
_MAX_ANSWERS = 2  # 401s in a row: one for the token, one for a wider scope


class Server:
    """Requests to one source. Safe from any thread; the first one finds out how to talk to it."""

    def __init__(
        self,
        source: Source,
        transport: Transport,
        hosts: Hosts,
        called: str,
        find_credential: Callable[[], Credential | None],
        scopes: Sequence[str],
        *,
        offline: bool = False,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.source = source
        self._transport = transport
        self._hosts = hosts
        self._called = called  # how a person names it
        self._find_credential = find_credential
        self._scopes = scopes
        self._offline = offline
        self._notice = notice or (lambda text: None)
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        self._found: tuple[Origin, Authorizer] | None = None

    @property
    def origin(self) -> Origin:
        return self._find()[0]

    @property
    def authorizer(self) -> Authorizer:
        return self._find()[1]

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
    ) -> Response:
        """The answer, any status, after we are let in. `target` is a path below the repository
        (below the API's root when there is none), or a URL that the server gave. Raises Transient,
        Unavailable …"""
        origin, authorizer = self._find()
        source = self.source
        if "://" in target:
            url = target
            other, _ = split_url(url)
            check_leads_outside(origin, other, "address")
            if not other.is_same(origin):  # such an address is proof enough
                return self._transport.request(method, url, headers, body=body)
        else:
            below = f"{source.path}/{target}" if source.path else target
            url = f"{origin.scheme}://{origin.name}{source.base}/{below}"
            if source.namespace:
                url += f"{'&' if '?' in url else '?'}ns={source.namespace}"
        own = dict(headers) | dict(source.headers)
        for _ in range(_MAX_ANSWERS):
            sent = authorizer.header()
            response = self._transport.request(method, url, own | sent, body=body)
            if response.status != 401 or not response.origin.is_same(origin):
                break
            authorizer.answer(response, sent)
        else:
            sent = authorizer.header()
            response = self._transport.request(method, url, own | sent, body=body)
        self._tell_warnings(response)
        if not response.origin.is_same(origin) and response.status >= 400:
            status = response.status
            response.close()  # an expired address, perhaps: the next try gets a new one
            raise Transient(
                Unavailable(f"{response.origin.name} (for {origin.name}): answers {status}")
            )
        return response

    def _tell_warnings(self, response: Response) -> None:
        """What the registry wants a person to know, once: `Warning: 299`, and a limit that is near
        (docs.docker.com/docker-hub/usage/pulls).

        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#warnings
        """
        texts = []
        for value in response.headers.get_all("Warning") or []:
            if match := _WARNING.fullmatch(value.strip()):
                texts.append(quote_foreign(re.sub(r"\\(.)", r"\1", match[1])))
        limit = _RATE.match(response.headers.get("RateLimit-Limit", ""))
        left = _RATE.match(response.headers.get("RateLimit-Remaining", ""))
        if limit and left and int(left[1]) * 10 <= int(limit[1]):
            texts.append(f"few pulls are left of {limit[1]}: pydock login {self._called} has more")
        for text in texts:
            with self._lock:
                is_new = text not in self._noticed and len(self._noticed) < _MAX_NOTICES
                self._noticed.add(text)
            if is_new:
                self._notice(f"warning: {self._called}: {text}")

    def _find(self) -> tuple[Origin, Authorizer]:
        """https, but for loopback and what the settings call insecure, when nothing there speaks
        TLS; or what the settings say."""
        source = self.source
        with self._lock:
            if self._found is None:
                origin, _ = split_url(f"{source.scheme or 'https'}://{source.name}")
                if not source.scheme and self._hosts.may_speak_http(source.name):
                    origin = self._find_scheme(origin)
                authorizer = Authorizer(
                    self._transport,
                    origin,
                    self._called,
                    source.path,
                    self._find_credential,
                    scopes=self._scopes,
                    offline=self._offline,
                )
                self._found = origin, authorizer
            return self._found

    def _find_scheme(self, origin: Origin) -> Origin:
        """https where somebody speaks TLS, else http; a name without a port has two of them."""
        plain, _ = split_url(f"http://{self.source.name}")
        try:
            return origin if self._transport.speaks_tls(origin) else plain
        except (Unavailable, Transient):
            if plain.port == origin.port or not self._transport.listens(plain):
                raise
            return plain
