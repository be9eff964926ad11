"""The states of a connection, and what PLAIN and OAUTHBEARER answer."""

from __future__ import annotations

import pytest

from pykbroker.security.principal import KafkaPrincipal
from pykbroker.security.sasl import (
    TRANSITIONS,
    Event,
    OAuthBearerExchange,
    PlainExchange,
    Proved,
    SaslFailure,
    Session,
    State,
    Step,
    TokenRefused,
)

ALICE = Proved(KafkaPrincipal("User", "alice"))
BOB = Proved(KafkaPrincipal("User", "bob"))


def plain() -> PlainExchange:
    return PlainExchange({"alice": "secret"}.get)


async def test_a_password_that_is_right() -> None:
    assert await plain().respond(b"\0alice\0secret") == Step(b"", ALICE)
    assert await plain().respond(b"alice\0alice\0secret") == Step(b"", ALICE)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (b"", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
        (b"\0a\0b\0c", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        (b"\0\0secret", "Authentication failed: username not specified"),
        (b"\0alice\0", "Authentication failed: password not specified"),
        (b"\0alice\0wrong", "Authentication failed: Invalid username or password"),
        (b"\0nobody\0secret", "Authentication failed: Invalid username or password"),
        (
            b"bob\0alice\0secret",
            "Authentication failed: Client requested an authorization id that is different from username",
        ),
        (b"\xff\xfe\0a", "Invalid SASL/PLAIN response: expected 3 tokens, got 2"),
    ],
)
async def test_what_plain_refuses_in_kafkas_words(token: bytes, told: str) -> None:
    with pytest.raises(SaslFailure) as failure:
        await plain().respond(token)
    assert failure.value.told == told


async def validate(token: str) -> Proved:
    if token != "good":
        raise TokenRefused("bad")
    return ALICE


async def test_a_token_that_is_good() -> None:
    for message in (b"n,,\x01auth=Bearer good\x01\x01", b"n,a=alice,\x01auth=Bearer good\x01x=y\x01\x01"):
        assert await OAuthBearerExchange(validate).respond(message) == Step(b"", ALICE)


async def test_a_token_that_is_bad_is_refused_in_two_steps() -> None:
    exchange = OAuthBearerExchange(validate)
    assert await exchange.respond(b"n,,\x01auth=Bearer bad\x01\x01") == Step(b'{"status":"invalid_token"}')
    with pytest.raises(SaslFailure) as failure:
        await exchange.respond(b"\x01")
    assert failure.value.told == '{"status":"invalid_token"}'


@pytest.mark.parametrize(
    "message",
    [b"", b"\x01", b"n,,\x01\x01", b"n,,\x01auth=Basic x\x01\x01", b"n,,\x01auth=Bearer a b\x01\x01", b"\xff" * 9],
)
async def test_what_is_no_token(message: bytes) -> None:
    with pytest.raises(SaslFailure) as failure:
        await OAuthBearerExchange(validate).respond(message)
    assert failure.value.told is None


async def test_another_ones_token() -> None:
    with pytest.raises(SaslFailure) as failure:
        await OAuthBearerExchange(validate).respond(b"n,a=bob,\x01auth=Bearer good\x01\x01")
    assert "different from the token's principal name" in str(failure.value.told)


def session(*events: Event) -> Session:
    one = Session()
    for event in events:
        assert one.happened(event)
    return one


PROVED = (Event.VERSIONS, Event.HANDSHAKE, Event.GO_ON, Event.PROVED)


def test_from_hello_to_ready_and_again() -> None:
    one = session(*PROVED)
    assert one.authenticated
    assert not session(*PROVED, Event.HANDSHAKE).authenticated
    assert session(*PROVED, Event.HANDSHAKE, Event.PROVED).authenticated
    assert session(Event.HANDSHAKE, Event.REFUSED).state is State.FAILED


def test_every_other_step_is_none() -> None:
    for state in State:
        for event in Event:
            one = Session()
            one.state = state
            taken = one.happened(event)
            assert taken == ((state, event) in TRANSITIONS)
            assert taken or one.state is state


def test_a_session_lasts_as_long_as_its_shortest_limit() -> None:
    one = session(Event.HANDSHAKE)
    assert one.prove(ALICE, now=10.0, now_ms=1000, max_reauth_ms=0) == 0
    assert one.expires_at is None
    assert one.prove(ALICE, now=10.0, now_ms=1000, max_reauth_ms=500) == 500
    assert one.expires_at == 10.5
    until = ALICE._replace(expires_ms=1200)
    assert one.prove(until, now=10.0, now_ms=1000, max_reauth_ms=500) == 200
    assert one.prove(until, now=10.0, now_ms=1000, max_reauth_ms=100) == 100
    assert one.prove(until, now=10.0, now_ms=9000, max_reauth_ms=0) == 0
    assert one.expires_at == 10.0


def test_nobody_becomes_somebody_else() -> None:
    one = session(Event.HANDSHAKE)
    one.prove(ALICE, 0.0, 0, 0)
    with pytest.raises(SaslFailure) as failure:
        one.prove(BOB, 0.0, 0, 0)
    assert failure.value.told == "Cannot change principals during re-authentication from User.alice: User.bob"


def test_another_mechanism_than_before() -> None:
    one = session(Event.HANDSHAKE)
    one.mechanism = "PLAIN"
    assert one.wrong_mechanism("SCRAM-SHA-256") is None
    one.prove(ALICE, 0.0, 0, 0)
    assert one.wrong_mechanism("PLAIN") is None
    assert "not supported for re-authentication of mechanism 'PLAIN'" in str(one.wrong_mechanism("SCRAM-SHA-256"))


def test_once_a_second() -> None:
    one = session(*PROVED)
    assert one.may_begin_again(5.0)
    assert not one.may_begin_again(5.9)
    assert one.may_begin_again(6.0)
