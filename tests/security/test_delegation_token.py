"""Delegation tokens: until when they are good, and for whom."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.security.delegation_token import expiring, new_token, password, renewed, visible
from pykbroker.security.principal import KafkaPrincipal

ALICE, BOB, EVE = (KafkaPrincipal("User", name) for name in ("alice", "bob", "eve"))
TOKEN = new_token("id", ALICE, ALICE, [BOB], 1000, -1, (10_000, 2_000))


def test_how_long_a_new_one_is_good() -> None:
    assert (TOKEN.issued_ms, TOKEN.expires_ms, TOKEN.max_ms) == (1000, 3000, 11_000)
    short = new_token("id", ALICE, ALICE, [], 1000, 500, (10_000, 2_000))
    assert (short.expires_ms, short.max_ms) == (1500, 1500)
    assert new_token("id", ALICE, ALICE, [], 1000, 99_999, (10_000, 2_000)).max_ms == 11_000
    assert TOKEN.expired(3001)
    assert not TOKEN.expired(3000)


def test_renewing() -> None:
    for who in (ALICE, BOB):
        assert renewed(TOKEN, who, 2500, -1, 2000).expires_ms == 4500
        assert renewed(TOKEN, who, 2500, 100, 2000).expires_ms == 2600
    near_its_end = renewed(TOKEN, ALICE, 3000, -1, 99_000)
    assert near_its_end.expires_ms == TOKEN.max_ms


def test_ending() -> None:
    assert expiring(TOKEN, BOB, 2000, -1) is None
    assert expiring(TOKEN, ALICE, 9000, -1) is None
    later = expiring(TOKEN, ALICE, 2000, 5000)
    assert later is not None
    assert later.expires_ms == 7000


@pytest.mark.parametrize(
    ("token", "who", "now", "code"),
    [
        (None, ALICE, 0, ErrorCode.DELEGATION_TOKEN_NOT_FOUND),
        (TOKEN, EVE, 2000, ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH),
        (TOKEN, ALICE, 3001, ErrorCode.DELEGATION_TOKEN_EXPIRED),
    ],
)
def test_what_can_not_be(token: object, who: KafkaPrincipal, now: int, code: ErrorCode) -> None:
    with pytest.raises(KafkaError) as renewal:
        renewed(token, who, now, -1, 2000)  # type: ignore[arg-type]
    with pytest.raises(KafkaError) as end:
        expiring(token, who, now, 100)  # type: ignore[arg-type]
    assert renewal.value.code == end.value.code == code


def test_who_sees_it() -> None:
    def nothing(*asked: object) -> bool:
        return False

    assert visible(TOKEN, ALICE, None, nothing)
    assert visible(TOKEN, BOB, None, nothing)
    assert not visible(TOKEN, EVE, None, nothing)
    assert visible(TOKEN, EVE, None, lambda operation, kind, name: name == "User:alice")
    assert visible(TOKEN, EVE, None, lambda operation, kind, name: name == "id")
    assert not visible(TOKEN, ALICE, [EVE], nothing)
    assert visible(TOKEN, ALICE, [EVE, BOB], nothing)


def test_its_password_is_its_hmac() -> None:
    expected = hmac.new(b"key", b"id", hashlib.sha512).digest()
    assert password("id", "key") == base64.b64encode(expected).decode()
