"""What a client says to be let in, as conversations."""

from base64 import b64encode

import pytest

from pykbroker.client.errors import AuthenticationFailed
from pykbroker.client.sasl import exchange
from pykbroker.client.settings import SaslSettings

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def test_plain() -> None:
    talk = exchange("PLAIN", SaslSettings(user="tim", password="tänzer"), NONCE)
    assert next(talk) == b"\0tim\0t\xc3\xa4nzer"
    with pytest.raises(StopIteration):
        talk.send(b"")


def test_scram_as_in_rfc_7677() -> None:
    talk = exchange("SCRAM-SHA-256", SaslSettings(user="user", password="pencil"), NONCE)
    assert next(talk) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert talk.send(SERVER_FIRST) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    with pytest.raises(StopIteration):
        talk.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    talk = exchange("SCRAM-SHA-256", SaslSettings(user="user", password="pencil"), NONCE)
    next(talk)
    talk.send(SERVER_FIRST)
    with pytest.raises(AuthenticationFailed, match="doesn't know the password either"):
        talk.send(b"v=" + b64encode(bytes(32)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"e=unknown-user", "SCRAM: unknown-user"),
        (b"nonsense", "is no SCRAM"),
        (b"r=other,s=AAAA,i=4096", "can't be trusted"),
        (b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=1", "can't be trusted"),
        (b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=999999999", "can't be trusted"),
    ],
)
def test_a_first_answer_that_is_no_good(answer: bytes, said: str) -> None:
    talk = exchange("SCRAM-SHA-512", SaslSettings(user="a", password="b"), NONCE)
    next(talk)
    with pytest.raises(AuthenticationFailed, match=said):
        talk.send(answer)


def test_names_are_escaped_and_tokens_are_told() -> None:
    talk = exchange("SCRAM-SHA-512", SaslSettings(user="a=b,c", password="x", token_auth=True), NONCE)
    assert next(talk) == b"n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO,tokenauth=true"


def test_oauthbearer() -> None:
    talk = exchange("OAUTHBEARER", SaslSettings(token="abc"), NONCE)
    assert next(talk) == b"n,,\x01auth=Bearer abc\x01\x01"
    with pytest.raises(StopIteration):
        talk.send(b"")


def test_an_oauthbearer_refusal_is_closed_with_a_dummy() -> None:
    talk = exchange("OAUTHBEARER", SaslSettings(token="abc"), NONCE)
    next(talk)
    assert talk.send(b'{"status":"invalid_token"}') == b"\x01"
    with pytest.raises(AuthenticationFailed, match="invalid_token"):
        talk.send(b"")
