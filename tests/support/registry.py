"""Debian's docker-registry on a free loopback port: open, by password, by token, with TLS."""

import base64
import http.client
import json
import signal
import ssl
import subprocess
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from tests.support.fault_server import Exchange, FaultServer
from tests.support.tls import Authority, Certificate

USER, PASSWORD = "alice", "correct:horse"
# bcrypt of PASSWORD: the only hash that the registry takes, and no tool for it is at hand.
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuto9TfiXPqFaPFSnWZR02c4ScFTB3OSG\n"


class TokenServer(FaultServer):
    """Signs tokens for a registry, for USER with PASSWORD, or for anyone when `anonymous`.

    https://distribution.github.io/distribution/spec/auth/jwt/
    """

    def __init__(
        self,
        authority: Authority,
        *,
        anonymous: bool = True,
        expires_in: int = 300,
        tls: Certificate | None = None,
    ) -> None:
        super().__init__(self._answer, tls=tls)
        self.anonymous = anonymous
        self.expires_in = expires_in
        self.signer = authority.issue("token-signer", rsa=True)
        self.bundle = authority.certificate

    def _answer(self, exchange: Exchange) -> bool:
        query = parse_qs(urlsplit(exchange.path).query)
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = exchange.headers.get("Authorization", "")
        if given != f"Basic {expected}" and (given or not self.anonymous):
            exchange.reply(401, body=b'{"details":"incorrect username or password"}')
            return True
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":", 2)
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        token = self.sign(query["service"][0], access)
        body = json.dumps({"token": token, "expires_in": self.expires_in}).encode()
        exchange.reply(200, {"Content-Type": "application/json"}, body)
        return True

    def sign(self, service: str, access: list[dict[str, object]]) -> str:
        """A token for `access`."""
        der = ssl.PEM_cert_to_DER_cert(self.signer.certificate.read_text())
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "issuer",
            "sub": USER,
            "aud": service,
            "exp": now + self.expires_in,
            "nbf": now - 10,
            "iat": now,
            "jti": str(time.monotonic_ns()),
            "access": access,
        }
        parts = [_base64url(json.dumps(part).encode()) for part in (header, claims)]
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.signer.key],
            input=".".join(parts).encode(),
            capture_output=True,
            check=True,
        ).stdout
        return ".".join([*parts, _base64url(signature)])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Registry:
    """A registry process with its store in `directory`; leaving the context kills it."""

    def __init__(
        self,
        directory: Path,
        *,
        password: bool = False,
        tokens: TokenServer | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.directory = directory
        self.tls = tls
        self._log = directory / "log"
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(directory / "store")},
                "delete": {"enabled": True},
            },
            "http": {"addr": "127.0.0.1:0"},
        }
        if tls:
            config["http"] = {
                "addr": "127.0.0.1:0",
                "tls": {"certificate": str(tls.certificate), "key": str(tls.key)},
            }
        if password:
            (directory / "htpasswd").write_text(_HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
        if tokens:
            config["auth"] = {
                "token": {
                    "realm": f"{tokens.url}/token",
                    "service": "registry",
                    "issuer": "issuer",
                    "rootcertbundle": str(tokens.bundle),
                }
            }
        self.authorization: str | None = None
        if password:
            basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            self.authorization = f"Basic {basic}"
        self._tokens = tokens
        (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(directory / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.stop()
            raise
        self.host = f"localhost:{self.port}"

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            _, _, told = self._log.read_text().partition("listening on 127.0.0.1:")
            line, end, _ = told.partition("\n")
            if end:  # all of it is there
                return int(line.partition('"')[0].partition(",")[0])
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"docker-registry does not start:\n{self._log.read_text()}")

    def connect(self) -> http.client.HTTPConnection:
        """A plain client's connection, for pushing what a test needs."""
        if self.tls:
            context = ssl.create_default_context(cafile=str(self.tls.authority))
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on from Python 3.13
            return http.client.HTTPSConnection("localhost", self.port, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port)

    def headers(self, repository: str) -> dict[str, str]:
        """What a push needs to be let in."""
        if self._tokens:
            actions = ["pull", "push"]
            access: list[dict[str, object]] = [
                {"type": "repository", "name": repository, "actions": actions}
            ]
            return {"Authorization": f"Bearer {self._tokens.sign('registry', access)}"}
        return {"Authorization": self.authorization} if self.authorization else {}

    def stop(self) -> None:
        """Ends the process: nothing answers any more."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
