"""A 401 becomes an Authorization header: a password, or a token from the registry's token server.

https://distribution.github.io/distribution/spec/auth/token/ · oauth/ · what registries make of it
is in the comments.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from engine.errors import EngineError, InvalidInput, NotFound, Unavailable
from engine.registry.challenge import Challenge, parse_challenges
from engine.registry.credentials import Credential
from engine.registry.origin import Origin, check_leads_outside, split_url
from engine.registry.retry import TRANSIENT_STATUSES, Transient, parse_retry_after
from engine.registry.secret import Secret, basic_authorization, quote_foreign
from engine.registry.transport import Response, Transport

SHORTEST_LIFE_SECONDS = 60  # what a token without expires_in lives
RENEW_AT = 0.8  # of its life


class Authorizer:
    """Authorization for one repository of one registry. Safe from any thread: the first one that
    needs a new token fetches it, the others wait for that."""

    def __init__(
        self,
        transport: Transport,
        origin: Origin,
        registry: str,
        repository: str,
        find_credential: Callable[[], Credential | None],
        clock: Callable[[], float] = time.monotonic,
        *,
        scopes: Sequence[str] | None = None,
        offline: bool = False,
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._registry = registry  # as the person calls it
        self._repository = repository
        self._scopes = (f"repository:{repository}:pull",) if scopes is None else tuple(scopes)
        self._find_credential = find_credential
        self._clock = clock
        self._offline = offline  # a login: ask for an identity token too
        self.identity_token = Secret("")  # what the token server gave then
        self._lock = threading.Lock()
        self._header: str | None = None
        self._challenge: Challenge | None = None
        self._found: Credential | None = None
        self._asked = False
        self._renew_at = self._expires_at = float("inf")

    def header(self) -> dict[str, str]:
        """What to send now: nothing before the first 401; a token is renewed before it ends."""
        with self._lock:
            if self._challenge and self._clock() >= self._renew_at:
                try:
                    self._fetch_token(self._challenge)
                except Transient:
                    if self._clock() >= self._expires_at:
                        raise
            return {"Authorization": self._header} if self._header else {}

    def answer(self, response: Response, sent: dict[str, str]) -> None:
        """After a 401 to a request with `sent`: the next `header()` is worth another try. Raises
        what is to be told when there is none. Closes `response`."""
        headers = response.headers.get_all("WWW-Authenticate") or []
        response.close()
        with self._lock:
            if self._header != sent.get("Authorization"):
                return  # another thread was faster
            challenges = parse_challenges(headers)
            if not challenges:
                challenges = self._ask_base()
            for challenge in challenges:
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    self._fetch_token(challenge)
                    return
            if any(challenge.scheme == "basic" for challenge in challenges):
                credential = self._credential()
                if credential and credential.user and not self._header:
                    self._header = basic_authorization(credential.user, credential.password)
                    return
                raise self.refusal()
            raise Unavailable(f"registry {self._registry}: asks for an unknown authorization")

    def refusal(self) -> EngineError:
        """What to say when the registry does not let us."""
        if not self._repository and not self._credential():
            return InvalidInput(
                f"registry {self._registry}: wants a login", f"pydock login {self._registry}"
            )
        if not self._repository:
            return InvalidInput(
                f"registry {self._registry}: incorrect user name or password",
                "many registries want an access token in place of the password",
            )
        if self._credential():
            return InvalidInput(
                f"registry {self._registry}: wrong user name or password, or no access to "
                f"{self._repository}",
                f"pydock login {self._registry}",
            )
        verb = "push" if any("push" in scope for scope in self._scopes) else "pull"
        return NotFound(
            f"{verb} access denied for {self._repository} on {self._registry}: it does not exist "
            "or needs a login, the registry does not say which",
            f"check the name, or pydock login {self._registry}",
        )

    def _credential(self) -> Credential | None:
        """Asked for once: a helper is a process."""
        if not self._asked:
            self._found = self._find_credential()
            self._asked = True
        return self._found

    def _ask_base(self) -> list[Challenge]:
        """Some (GCR, for blobs) say 401 and no more: what /v2/ asks for then counts, but for its
        scope, which is a placeholder (GHCR: `repository:user/image:pull`)."""
        url = f"{self._origin.scheme}://{self._origin.name}/v2/"
        with self._transport.request("GET", url, {}) as response:
            challenges = parse_challenges(response.headers.get_all("WWW-Authenticate") or [])
        for challenge in challenges:
            challenge.parameters.pop("scope", None)
        return challenges

    def _fetch_token(self, challenge: Challenge) -> None:
        origin, _ = split_url(challenge.parameters["realm"])
        check_leads_outside(self._origin, origin, "token server")
        credential = self._credential()
        if credential and credential.registry_token:
            if self._header:
                raise self.refusal()
            self._header = f"Bearer {credential.registry_token.reveal()}"
            return
        response = self._ask_for_token(challenge, credential)
        with response:
            body = response.read(self._transport.timeouts.token_bytes, "token")
        if response.status in TRANSIENT_STATUSES:
            raise Transient(
                Unavailable(f"token server {origin.name}: answers {response.status}"),
                parse_retry_after(response.headers.get("Retry-After")),
            )
        if response.status in (400, 401, 403):
            raise self.refusal()
        if response.status != 200:
            raise Unavailable(f"token server {origin.name}: answers {response.status}")
        token, life, self.identity_token = _parse_token(body, origin)
        now = self._clock()
        self._header = f"Bearer {token.reveal()}"
        self._challenge = challenge
        self._renew_at, self._expires_at = now + life * RENEW_AT, now + life

    def _ask_for_token(self, challenge: Challenge, credential: Credential | None) -> Response:
        realm = challenge.parameters["realm"]
        scopes = _join_scopes(challenge.parameters.get("scope", ""), self._scopes)
        query = [("scope", scope) for scope in scopes]
        if service := challenge.parameters.get("service"):
            query.insert(0, ("service", service))
        if credential and credential.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("client_id", "pydock"),
                ("refresh_token", credential.identity_token.reveal()),
                ("service", service or ""),
                ("scope", " ".join(scopes)),
            ]
            response = self._transport.request(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
            )
            if response.status not in (400, 401, 404, 405):
                return response
            response.close()  # ACR, Artifactory, GCR and Harbor know GET only
        headers = {}
        if credential and credential.user:
            password = credential.password or credential.identity_token
            headers["Authorization"] = basic_authorization(credential.user, password)
            query.append(("account", credential.user))
        if self._offline:
            query += [("client_id", "pydock"), ("offline_token", "true")]
        separator = "&" if "?" in realm else "?"
        return self._transport.request("GET", f"{realm}{separator}{urlencode(query)}", headers)


def _join_scopes(asked: str, wanted: Sequence[str]) -> list[str]:
    """What to ask a token server for. What the registry asks for comes first (a proxy may map
    names); of ours what it did not name, and never more than we need."""
    if not asked:
        return list(wanted)
    scopes: list[str] = []
    for scope in asked.split():
        name, _, actions = scope.rpartition(":")
        for own in wanted:
            own_name, _, own_actions = own.rpartition(":")
            if own_name == name and set(actions.split(",")) <= set(own_actions.split(",")):
                scope = own
        scopes.append(scope)
    names = {scope.rpartition(":")[0] for scope in scopes}
    own_names = {scope.rpartition(":")[0] for scope in wanted}
    if names & own_names:
        scopes += [scope for scope in wanted if scope.rpartition(":")[0] not in names]
    return scopes


def _parse_token(body: bytes, origin: Origin) -> tuple[Secret, float, Secret]:
    """The token, how many seconds it lives on our clock, and an identity token if there is one."""
    try:
        document: Any = json.loads(body)
        token = document.get("token") or document.get("access_token")
        identity = document.get("refresh_token")
        life = document.get("expires_in") or 0
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not _is_clean(token):
        # The body is not shown: it may hold half a token.
        raise Unavailable(
            f"token server {quote_foreign(origin.name)}: its answer holds no token"
        ) from None
    seconds = float(life) if isinstance(life, (int, float)) else 0.0
    identity_token = Secret(identity if _is_clean(identity) else "")
    return Secret(token), max(float(SHORTEST_LIFE_SECONDS), seconds), identity_token


def _is_clean(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and token != ""
