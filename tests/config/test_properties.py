"""The text of a server.properties."""

import pytest

from pykbroker.config.properties import as_texts, parse_properties


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b=c", {"a.b": "c"}),
        ("# comment\n! comment\n\n a.b = c d \n", {"a.b": "c d "}),
        ("a:b", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1,\\\n   2,\\\n   3\nb=4", {"a": "1,2,3", "b": "4"}),
        ("a=one\\\\\nb=2", {"a": "one\\", "b": "2"}),
        ("a\\=b=\\t\\u0041\\q", {"a=b": "\tAq"}),
        ("a=1\r\nb=2\r", {"a": "1", "b": "2"}),
        ("a=1\\", {"a": "1"}),
    ],
)
def test_javas_form(text: str, found: dict[str, str]) -> None:
    assert parse_properties(text) == found


def test_a_broken_escape() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_properties("a=\\uzzzz")


def test_values_of_a_program() -> None:
    assert as_texts({"a": True, "b": 3, "c": "x"}) == {"a": "true", "b": "3", "c": "x"}
