import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.registry.challenge import parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (["Basic"], [("basic", {})]),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (["bearer REALM=a , Service = b"], [("bearer", {"realm": "a", "service": "b"})]),
        (
            ['Basic realm="a, b", Bearer realm="c",service=d'],
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": "c", "service": "d"})],
        ),
        (
            ["Negotiate", 'Bearer realm="x"', "NTLM TlRMTVNTUAAC==, Basic realm=y"],
            [
                ("negotiate", {}),
                ("bearer", {"realm": "x"}),
                ("ntlm", {}),
                ("basic", {"realm": "y"}),
            ],
        ),
        ([r'Basic realm="say \"hi\" \\"'], [("basic", {"realm": r'say "hi" \ '.strip()})]),
        (["Bearer realm=first,realm=second"], [("bearer", {"realm": "first"})]),
        (['Bearer realm="unfinished'], [("bearer", {})]),
        (["realm=stray"], []),
        ([",,, Basic ,,"], [("basic", {})]),
        (["\x00"], []),
    ],
)
def test_challenges_are_read(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges(headers) == expected


@given(st.lists(st.text(max_size=80), max_size=3))
def test_any_header_is_read_without_harm(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme


CHALLENGE_TEXT = st.text(st.sampled_from('Bearer basic realm="\\,=; x\t/:é\x00'), max_size=80)


@given(st.lists(CHALLENGE_TEXT, max_size=3))
def test_any_text_like_a_challenge_is_read_without_harm(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.long
@given(st.lists(CHALLENGE_TEXT, max_size=3))
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_very_many_texts_like_a_challenge_are_read_without_harm(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()


SCHEMES = st.sampled_from(["bearer", "basic", "negotiate"])
NAMES = st.sampled_from(["realm", "service", "scope", "error"])
VALUES = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=20)


@given(st.lists(st.tuples(SCHEMES, st.dictionaries(NAMES, VALUES, min_size=1)), max_size=3))
def test_what_is_written_by_the_book_is_read_back(
    challenges: list[tuple[str, dict[str, str]]],
) -> None:
    def quote(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"')

    header = ", ".join(
        f"{scheme} " + ",".join(f'{name}="{quote(value)}"' for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([header]) == challenges
