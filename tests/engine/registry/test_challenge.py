import pytest
from hypothesis import given
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
