import ssl
from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.registry.hosts import Hosts, address_of
from tests.support.tls import Authority


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_docker_hub_has_an_address_of_its_own() -> None:
    assert address_of("docker.io") == "registry-1.docker.io"
    assert address_of("localhost:5000") == "localhost:5000"


def test_insecure_is_what_the_settings_say(tmp_path: Path, user: Path) -> None:
    write(
        tmp_path / "pydock/config.toml",
        '[registry."a:5000"]\ninsecure = true\n[registry.b]\ninsecure = true\n',
    )
    write(user / "pydock/config.toml", "[registry.b]\ninsecure = false\n[registry.c]\n")
    write(
        tmp_path / "docker/daemon.json",
        '{"insecure-registries": ["d:1", "10.0.0.0/8"], "other": 1}',
    )
    hosts = Hosts(str(tmp_path))
    insecure = {
        name: hosts.is_insecure(name)
        for name in ("a:5000", "a", "b", "c", "d:1", "10.1.2.3:5000", "11.0.0.1", "localhost")
    }
    assert [name for name, value in insecure.items() if value] == ["a:5000", "d:1", "10.1.2.3:5000"]
    assert hosts.may_speak_http("a:5000")
    assert hosts.may_speak_http("localhost:5000")
    assert hosts.may_speak_http("[::1]:5000")
    assert not hosts.may_speak_http("registry.example")


@pytest.mark.parametrize(
    "text", ["[registry", "[registry.a]\ninsecure = 'yes'\n", "registry.a = 1"]
)
def test_broken_settings_are_named(tmp_path: Path, text: str) -> None:
    write(tmp_path / "pydock/config.toml", text)
    with pytest.raises(InvalidInput, match=r"config\.toml"):
        Hosts(str(tmp_path))


def test_dockers_own_broken_file_is_dockers_matter(tmp_path: Path) -> None:
    write(tmp_path / "docker/daemon.json", "[1")
    assert not Hosts(str(tmp_path)).is_insecure("a")


def test_contexts_check_certificates_unless_insecure(tmp_path: Path) -> None:
    write(tmp_path / "pydock/config.toml", "[registry.a]\ninsecure = true\n")
    hosts = Hosts(str(tmp_path))
    assert hosts.tls_context("b").verify_mode == ssl.CERT_REQUIRED
    assert hosts.tls_context("b").check_hostname
    assert hosts.tls_context("b").minimum_version == ssl.TLSVersion.TLSv1_2
    assert hosts.tls_context("a").verify_mode == ssl.CERT_NONE
    assert hosts.tls_context("b") is hosts.tls_context("b")


def test_authorities_and_client_pairs_are_loaded(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client = authority.issue("client")
    place = tmp_path / "docker/certs.d/r:5000"
    write(place / "ca.crt", authority.certificate.read_text())
    hosts = Hosts(str(tmp_path))
    known = len(hosts.tls_context("other").get_ca_certs())
    assert len(hosts.tls_context("r:5000").get_ca_certs()) == known + 1
    assert len(hosts.tls_context("r").get_ca_certs()) == known  # the port must match
    write(place / "me.cert", client.certificate.read_text())
    with pytest.raises(InvalidInput, match="key is missing"):
        Hosts(str(tmp_path)).tls_context("r:5000")
    write(place / "me.key", client.key.read_text())
    Hosts(str(tmp_path)).tls_context("r:5000")
    (place / "me.cert").unlink()
    with pytest.raises(InvalidInput, match="certificate is missing"):
        Hosts(str(tmp_path)).tls_context("r:5000")


def test_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    write(tmp_path / "pydock/certs.d/r/ca.crt", "nothing")
    with pytest.raises(InvalidInput, match=r"ca\.crt"):
        Hosts(str(tmp_path)).tls_context("r")
