import pytest

from engine.errors import InvalidInput, Unsupported
from engine.registry.proxy import find_proxy, is_loopback

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("scheme", "environment"),
    [
        ("https", {"HTTPS_PROXY": PROXY}),
        ("https", {"https_proxy": PROXY}),
        ("https", {"https_proxy": "proxy.example:3128"}),
        ("https", {"ALL_PROXY": PROXY}),
        ("https", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}),
        ("http", {"http_proxy": PROXY}),
    ],
)
def test_proxy_comes_from_the_environment(scheme: str, environment: dict[str, str]) -> None:
    found = find_proxy(scheme, "registry.example", 443, environment)
    assert found is not None
    assert (found.host, found.port) == ("proxy.example", 3128)


def test_other_schemes_proxy_is_not_used() -> None:
    assert find_proxy("https", "registry.example", 443, {"http_proxy": PROXY}) is None


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("registry.example", "*", True),
        ("registry.example", "example", True),
        ("registry.example", ".example", True),
        ("registry.example", "*.example", True),
        ("registry.example", "other, registry.example", True),
        ("REGISTRY.example", "registry.EXAMPLE", True),
        ("registry.example", "registry.example:443", True),
        ("registry.example", "registry.example:5000", False),
        ("notexample", "example", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("registry.example", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_exempts(host: str, no_proxy: str, exempt: bool) -> None:
    environment = {"https_proxy": PROXY, "NO_PROXY": no_proxy}
    assert (find_proxy("https", host, 443, environment) is None) == exempt


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_never_proxied(host: str) -> None:
    assert is_loopback(host)
    assert find_proxy("https", host, 443, {"https_proxy": PROXY}) is None


def test_password_is_sent_but_not_shown() -> None:
    found = find_proxy("https", "h", 443, {"https_proxy": "http://u:p%40ss@proxy:1"})
    assert found is not None
    assert found.authorization == "Basic dTpwQHNz"
    assert "dTpw" not in repr(found)


def test_what_is_no_http_proxy_is_refused() -> None:
    with pytest.raises(Unsupported, match="socks5"):
        find_proxy("https", "h", 443, {"https_proxy": "socks5://proxy:1080"})
    with pytest.raises(InvalidInput):
        find_proxy("https", "h", 443, {"https_proxy": "http://proxy:port"})
