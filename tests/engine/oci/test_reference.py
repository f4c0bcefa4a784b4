"""The tables of the distribution and docker reference parsers, and docker's quirks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput, Unsupported
from engine.oci.reference import parse_reference

HEX = "0123456789abcdef" * 4
SHA = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("docker.io/library/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("index.docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("index.docker.io/a/b:c", "docker.io", "a/b", "c", None),
        ("debian:bookworm", "docker.io", "library/debian", "bookworm", None),
        ("foo/bar", "docker.io", "foo/bar", "latest", None),
        ("foo/foo_bar.com:80", "docker.io", "foo/foo_bar.com", "80", None),
        ("test.com:5000", "docker.io", "library/test.com", "5000", None),
        ("test.com/repo:tag", "test.com", "repo", "tag", None),
        ("test:5000/repo", "test:5000", "repo", "latest", None),
        (f"test:5000/repo@{SHA}", "test:5000", "repo", None, SHA),
        (f"test:5000/repo:tag@{SHA}", "test:5000", "repo", "tag", SHA),
        (f"r@{SHA512}", "docker.io", "library/r", None, SHA512),
        ("a:5000/r:5050", "a:5000", "r", "5050", None),
        ("localhost/r", "localhost", "r", "latest", None),
        ("localhost:5000/debian:bookworm", "localhost:5000", "debian", "bookworm", None),
        ("[::1]:5000/r", "[::1]:5000", "r", "latest", None),
        ("[2001:db8::1]/a/b:c", "[2001:db8::1]", "a/b", "c", None),
        ("Upper/x", "Upper", "x", "latest", None),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", None),
        ("a__b", "docker.io", "library/a__b", "latest", None),
        ("a--b", "docker.io", "library/a--b", "latest", None),
        ("1.2.3.4:80/a/b/c/d", "1.2.3.4:80", "a/b/c/d", "latest", None),
        (f"r:{'t' * 128}", "docker.io", "library/r", "t" * 128, None),
        (f"h.io/{'a' * 255}", "h.io", "a" * 255, "latest", None),
        ("asdf/foo/bar", "docker.io", "asdf/foo/bar", "latest", None),
        (HEX[:63], "docker.io", f"library/{HEX[:63]}", "latest", None),
    ],
)
def test_reference_is_read_as_docker_does(
    text: str, domain: str, path: str, tag: str | None, digest: str | None
) -> None:
    assert parse_reference(text) == (domain, path, tag, digest)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("[fe80::1%eth0]/r", "host"),
        ("[::1]", "column 1"),
        ("[::1]:t", "column 1"),
        ("[::1", "column 1"),
        ("h:99999/r", "host"),
        ("Repo", "lower case"),
        ("x:5000/Up/y", "column 8: .*lower case"),
        ("library/Ubuntu", "column 9: .*lower case"),
        ("a___b", "column 1"),
        ("a..b", "column 1"),
        ("-a", "column 1"),
        ("a-", "column 1"),
        ("a/-b", "column 3"),
        (HEX, "image id"),
        ("https://h/r", "URL"),
        ("docker://h/r", "URL"),
        ("r:", "tag"),
        ("r:-x", "tag"),
        ("r:a b", "column 3: a tag"),
        ("r@", "digest"),
        ("r@sha256:abc", "digest"),
        (f"r@sha256:{HEX.upper()}", "digest"),
        (f"r@{SHA}@{SHA}", "digest"),
        (f"@{SHA}", "empty name"),
        (":t", "empty name"),
        ("r t", "column 1"),
        ("r//x", "column 3: empty name"),
        ("r/../x", "column 3"),
        ("../x", "host"),
        ("r\n", "column 1"),
        ("r:t\n", "tag"),
        ("r/", "column 3: empty name"),
        ("/r", "column 1: empty name"),
        ("räksmörgås", "column 1"),
        ("r:\u0661", "tag"),
        (f"r:{'t' * 129}", "tag"),
        (f"h.io/{'a' * 256}", "longer than 255"),
        ("-h.io/r", "host"),
        ("foo_bar.com/x", "host"),
        ("h..io/r", "host"),
    ],
)
def test_reference_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse_reference(text)
    assert "\n" not in caught.value.message


def test_url_hint_says_what_to_drop() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference("https://h/r")
    assert caught.value.hint == "drop https://"


def test_other_digest_algorithm_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="md5"):
        parse_reference("r@md5:d41d8cd98f00b204e9800998ecf8427e")


@pytest.mark.parametrize(
    ("text", "full", "familiar", "name", "target"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest", "debian", "latest"),
        ("docker.io/a/b:c", "docker.io/a/b:c", "a/b:c", "a/b", "c"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest", None, None),
        ("h:5000/r:t", "h:5000/r:t", "h:5000/r:t", "h:5000/r", "t"),
        ("docker.io/h.io/r:t", "docker.io/h.io/r:t", "docker.io/h.io/r:t", None, None),
        (f"r:t@{SHA}", f"docker.io/library/r@{SHA}", f"r@{SHA}", "r", SHA),
    ],
)
def test_full_and_familiar_forms(
    text: str, full: str, familiar: str, name: str | None, target: str | None
) -> None:
    reference = parse_reference(text)
    assert (reference.full, reference.familiar) == (full, familiar)
    assert name is None or (reference.familiar_name, reference.target) == (name, target)


component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
domain = st.sampled_from(["docker.io", "localhost", "localhost:5000", "h.io", "[::1]:80", "UP"])
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(domain, st.lists(component, min_size=1, max_size=4), tag, st.booleans())
def test_forms_lead_back_to_the_same_reference(
    domain: str, components: list[str], tag: str, pinned: bool
) -> None:
    text = f"{domain}/{'/'.join(components)}" + (f"@{SHA}" if pinned else f":{tag}")
    reference = parse_reference(text)
    assert parse_reference(reference.full) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (InvalidInput, Unsupported) as error:
        shown = error.message
    else:
        shown = parse_reference(reference.full).full
        assert shown == reference.full
    assert shown.isprintable()
