import pytest

from pykbroker.protocol.versions import Versions


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("3", [3], [2, 4]), ("0-4", [0, 4], [-1, 5]), ("2+", [2, 32767], [1]), ("none", [], [-1, 0, 1])],
)
def test_ranges(text, inside, outside):
    versions = Versions(text)
    assert all(version in versions for version in inside)
    assert not any(version in versions for version in outside)
    assert str(versions) == text
    assert versions == Versions(text)
    assert hash(versions) == hash(Versions(text))


def test_none_is_no_version():
    assert Versions(None) == Versions("none")
    assert list(Versions("1-3")) == [1, 2, 3]
    assert repr(Versions("1-3")) == "Versions('1-3')"


def test_anything_else_is_refused():
    with pytest.raises(ValueError, match="invalid literal"):
        Versions("new")
