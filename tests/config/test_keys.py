"""How a key's text becomes a value and back."""

import pytest

from pykbroker.config.keys import (
    Boolean,
    ConfigError,
    Double,
    Int,
    List,
    Long,
    Password,
    Short,
    String,
    keys_of,
    nearest,
)


class Keys:
    an_int = Int(5, valid="[1,...]")
    a_level = Int(-1, valid="[1,...,9] or -1")
    a_short = Short(3)
    a_long = Long(None)
    a_ratio = Double(0.5, valid="[0,...,1]")
    a_switch = Boolean(True)
    a_choice = String("a", valid="[a, b]")
    a_list = List("x, y")
    choices = List("a", valid="[a, b]")
    replicas = List("", valid="[partitionId]:[brokerId],[partitionId]:[brokerId],...")
    reset = String("latest", valid="[latest, earliest, by_duration:PnDTnHnMn.nS]")
    secret = Password(None)


KEYS = keys_of(Keys)


def test_an_objects_values_are_the_defaults() -> None:
    keys = Keys()
    assert (keys.an_int, keys.a_long, keys.a_list, keys.a_switch) == (5, None, ("x", "y"), True)
    assert Keys.an_int.name == "an.int"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("an.int", " 7 ", 7),
        ("a.level", "-1", -1),
        ("a.level", "9", 9),
        ("a.long", "9223372036854775807", (1 << 63) - 1),
        ("a.ratio", "0.25", 0.25),
        ("a.switch", "FALSE", False),
        ("a.choice", "b", "b"),
        ("a.list", " p , q", ("p", "q")),
        ("a.list", "", ()),
        ("choices", "b,a", ("b", "a")),
        ("replicas", "*", ("*",)),
        ("replicas", "0:1,2:3", ("0:1", "2:3")),
        ("reset", "by_duration:PT1H", "by_duration:PT1H"),
        ("secret", " blanks stay ", " blanks stay "),
    ],
)
def test_a_text_becomes_a_value(name: str, text: str, value: object) -> None:
    assert KEYS[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("an.int", "0", "Value must be at least 1"),
        ("an.int", "x", "Not a number of type INT"),
        ("an.int", "2147483648", "Not a number of type INT"),
        ("an.int", "1_000", "Not a number of type INT"),
        ("a.level", "10", "Value must be no more than 9"),
        ("a.level", "0", "Value must be at least 1"),
        ("a.short", "40000", "Not a number of type SHORT"),
        ("a.ratio", "1.1", "Value must be no more than 1"),
        ("a.ratio", "half", "Not a number of type DOUBLE"),
        ("a.switch", "yes", "Expected value to be either true or false"),
        ("a.choice", "c", "String must be one of: a, b"),
        ("choices", "a,a", "String must be one of: a, b"),
        ("replicas", "0-1", "Must be * or"),
        ("reset", "by_duration:1h", "String must be one of"),
    ],
)
def test_a_bad_text_is_refused_with_what_is_allowed(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KEYS[name].parse(text)
    assert said in caught.value.allowed
    assert str(caught.value) == f"{name}: {text!r}: {caught.value.allowed}"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("a.ratio", 1.7976931348623157e308, "1.7976931348623157E308"),
        ("a.ratio", 0.5, "0.5"),
        ("a.switch", False, "false"),
        ("a.list", ("p", "q"), "p,q"),
        ("a.long", None, None),
    ],
)
def test_values_are_shown_as_kafka_shows_them(name: str, value: object, text: str | None) -> None:
    assert KEYS[name].format(value) == text


def test_the_nearest_name_is_found_where_there_is_one() -> None:
    assert nearest("an.itn", KEYS) == "an.int"
    assert nearest("zzzzzzzz", KEYS) is None
