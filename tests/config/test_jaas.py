"""`sasl.jaas.config` in its common form."""

import pytest

from pykbroker.config.jaas import parse_jaas

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def test_the_form_of_kafkas_documentation() -> None:
    users = 'user_admin="admin-secret" user_alice="a;=\\"b"'
    module = parse_jaas(f'{PLAIN} required  username="admin" password="admin-secret" {users};')
    assert module.name == PLAIN
    assert module.options["username"] == "admin"
    assert module.users == {"admin": "admin-secret", "alice": 'a;="b'}


def test_other_ways_to_write_it() -> None:
    assert parse_jaas("A required user_x='y' ;").users == {"x": "y"}
    assert parse_jaas("A REQUIRED user_x=y;").users == {"x": "y"}
    assert parse_jaas("A required;").options == {}


@pytest.mark.parametrize(
    "text", ["", "A", "A required", 'A required x="y"', 'A required x="y', "A required; B required;"]
)
def test_what_is_none_is_said_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="expected the form") as error:
        parse_jaas(text)
    assert (
        "y" not in str(error.value).removeprefix("expected the form: org.example.LoginModule required").split("with")[0]
    )


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(parse_jaas('A required user_x="secret";'))
