import pytest

from engine.errors import InvalidInput
from engine.oci import json_strict


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[" * 200_000, "nested"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested"),
        (b'{"schemaVersion": 2, "layers": [', "not valid JSON"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"x": {"a": 1, "a": 2}}', "'a' is there twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "not JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"[]", "expected an object, got a list"),
        (b"null", "got null"),
        (b"", "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{} {"a": 1}', "not valid JSON"),
    ],
)
def test_what_two_readers_could_see_differently_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        json_strict.parse_object(data, "manifest")


def test_deepest_allowed_document_is_read() -> None:
    data = b'{"a":' * 32 + b"1" + b"}" * 32
    assert "a" in json_strict.parse_object(data, "manifest")


def test_escapes_and_other_scripts_are_read() -> None:
    value = json_strict.parse_object('{"ä": "\\ud83d\\ude00 \\u001b[31m"}'.encode(), "x")
    assert value == {"ä": "😀 \x1b[31m"}


def test_null_is_absent() -> None:
    document = {"key": None}
    assert json_strict.get_text(document, "key", "x") == ""
    assert json_strict.get_object(document, "key", "x") is None
    assert json_strict.get_list(document, "key", "x") is None
    assert json_strict.get_texts(document, "key", "x") == ()
    assert json_strict.get_pairs(document, "key", "x") == ()


@pytest.mark.parametrize("value", [-1, 1.5, True, 2**63, None, "7"])
def test_size_is_a_whole_number_in_range(value: object) -> None:
    with pytest.raises(InvalidInput, match="size"):
        json_strict.get_size({"size": value}, "size", "x")


@pytest.mark.parametrize("value", [[1], {"a": 1}, "a", 7])
def test_wrong_shapes_are_named(value: object) -> None:
    with pytest.raises(InvalidInput):
        json_strict.get_texts({"k": value}, "k", "x")
    with pytest.raises(InvalidInput):
        json_strict.get_pairs({"k": value}, "k", "x")
