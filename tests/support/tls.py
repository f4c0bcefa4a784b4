"""A certificate authority for tests, by openssl(1)."""

import subprocess
from pathlib import Path
from typing import NamedTuple

_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
_RSA_KEY = ("-newkey", "rsa:2048")


class Certificate(NamedTuple):
    """A certificate with its key, and the authority's certificate that proves it."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """Its files lie in `directory`; nothing is trusted outside the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / "ca.crt"
        self._key = directory / "ca.key"
        _openssl(
            "req", "-x509", *_EC_KEY, "-nodes", "-days", "30",
            "-subj", "/CN=pydock test authority", "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip
        (directory / "index.txt").touch()
        (directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca = test\n[test]\n"
            f"database = {directory}/index.txt\nnew_certs_dir = {directory}\nrand_serial = yes\n"
            "default_md = sha256\npolicy = any\nunique_subject = no\ncopy_extensions = copy\n"
            "[any]\ncommonName = supplied\n"
        )

    def issue(
        self,
        name: str,
        alternative: str = "DNS:localhost,IP:127.0.0.1",
        *,
        expired: bool = False,
        rsa: bool = False,
    ) -> Certificate:
        """A certificate for `alternative` (subjectAltName), an old one when `expired`."""
        certificate = self._directory / f"{name}.crt"
        key = self._directory / f"{name}.key"
        request = self._directory / f"{name}.csr"
        _openssl(
            "req", *(_RSA_KEY if rsa else _EC_KEY), "-nodes", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={alternative}", "-keyout", key, "-out", request,
        )  # fmt: skip
        end = "20200102000000Z" if expired else "20991231000000Z"
        _openssl(
            "ca", "-batch", "-notext", "-config", self._directory / "ca.cnf",
            "-cert", self.certificate, "-keyfile", self._key, "-in", request, "-out", certificate,
            "-startdate", "20200101000000Z", "-enddate", end,
        )  # fmt: skip
        return Certificate(certificate, key, self.certificate)


def _openssl(*args: str | Path) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)
