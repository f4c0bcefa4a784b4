import pytest

from engine.errors import InvalidInput
from engine.runtime.fields import list_of, number_of, object_of, text_of


def test_missing_and_null_fields_are_empty() -> None:
    for document in ({}, {"x": None}):
        assert object_of(document, "x") == {}
        assert list_of(document, "x", str) == []
        assert text_of(document, "x") == ""
        assert number_of(document, "x", 0, 1) is None


@pytest.mark.parametrize("value", [[], "x", 1, True])
def test_wrong_types_are_named(value: object) -> None:
    document = {"field": value}
    if not isinstance(value, list):
        with pytest.raises(InvalidInput, match="field: expected a list of texts"):
            list_of(document, "field", str)
    if not isinstance(value, str):
        with pytest.raises(InvalidInput, match="field: expected a text"):
            text_of(document, "field")
    with pytest.raises(InvalidInput, match="field: expected an object"):
        object_of(document, "field")
    with pytest.raises(InvalidInput, match="field: expected a number from 5 to 6"):
        number_of(document, "field", 5, 6)


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_the_kernel_cannot_take_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be passed"):
        text_of({"x": value}, "x")
    with pytest.raises(InvalidInput, match="cannot be passed"):
        list_of({"x": [value]}, "x", str)
    assert text_of({"x": "\udcff"}, "x") == "\udcff"  # a byte that is no UTF-8
