import pytest

from engine.errors import InvalidInput, Unavailable
from engine.registry.origin import (
    Origin,
    check_leads_outside,
    is_private_address,
    join_url,
    split_url,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/a?b=c", (Origin("https", "h", 443, "h"), "/a?b=c")),
        ("http://H:5000", (Origin("http", "h", 5000, "h:5000"), "/")),
        ("https://[::1]:5/x", (Origin("https", "::1", 5, "[::1]:5"), "/x")),
    ],
)
def test_url_is_split(url: str, expected: object) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/x",
        "https://",
        "https://u:p@h/x",
        "https://h/a b",
        "https://h/\r\nX: y",
        "https://h/ä",
        "https://h:port/x",
        "https://[::1/x",
        "",
        "/x",
    ],
)
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="URL"):
        split_url(url)


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        ("https://h/a/b?c", "d", "https://h/a/d"),
        ("https://h/a/b", "/d", "https://h/d"),
        ("https://h/a", "//other/x", "https://other/x"),
        ("https://h/a", "http://other/x", "http://other/x"),
    ],
)
def test_location_leads_from_a_url(url: str, location: str, expected: str) -> None:
    assert join_url(url, location) == expected


def test_location_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(InvalidInput, match="URL"):
        join_url("https://h/a", "http://[/")


def test_credentials_stay_with_scheme_host_and_port() -> None:
    here = split_url("https://h/a")[0]
    assert here.is_same(split_url("https://H:443/b")[0])
    for other in ("http://h:443/", "https://h:444/", "https://sub.h/"):
        assert not here.is_same(split_url(other)[0])


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("10.0.0.1", True),
        ("169.254.169.254", True),
        ("fe80::1", True),
        ("::ffff:10.0.0.1", True),
        ("0.0.0.0", True),
        ("localhost", True),
        ("8.8.8.8", False),
        ("registry.example", False),
    ],
)
def test_private_addresses_are_known(host: str, private: bool) -> None:
    assert is_private_address(host) == private


@pytest.mark.parametrize(
    ("first", "other", "reason"),
    [
        ("https://registry.example", "https://127.0.0.1/x", "private"),
        ("https://registry.example", "https://localhost/x", "private"),
        ("https://registry.example", "http://elsewhere.example/x", "from https to http"),
        ("http://localhost:5000", "http://10.0.0.1/x", "private"),
        ("http://10.0.0.2", "http://10.0.0.1/x", "private"),
    ],
)
def test_server_cannot_send_us_where_only_we_can_go(first: str, other: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        check_leads_outside(split_url(first)[0], split_url(other)[0], "redirect")


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("https://registry.example", "https://cdn.example/x"),
        ("http://localhost:5000", "http://127.0.0.1:9000/x"),
        ("http://10.0.0.1:5000", "http://10.0.0.1:9000/x"),
        ("http://a", "https://a"),
    ],
)
def test_other_ways_are_open(first: str, other: str) -> None:
    check_leads_outside(split_url(first)[0], split_url(other)[0], "redirect")
