"""SCRAM: the conversations of the RFCs, what is refused, and that nothing is shown."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from pykbroker.security.scram import (
    Found,
    ScramCredential,
    ScramError,
    ScramServer,
    WrongAuthorizationId,
    credential_of,
    make_credential,
    parse_credential,
)

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CREDENTIAL = make_credential("SCRAM-SHA-256", "pencil", SALT, 4096)


def server(credential: ScramCredential | None = CREDENTIAL, mechanism: str = "SCRAM-SHA-256") -> ScramServer:
    def lookup(name: str, is_token: bool) -> Found | None:
        return Found(credential, name) if credential is not None and name == "user" and not is_token else None

    return ScramServer(mechanism, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", lookup)


def test_the_conversation_of_rfc_7677() -> None:
    one = server()
    first = one.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    answer, found = one.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert answer == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert found.owner == "user"


def proof(password: str, mechanism: str, first_bare: str, first: bytes, without_proof: str) -> str:
    """What a client answers, computed here anew."""
    name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), SALT, 4096)
    client_key = hmac.digest(salted, b"Client Key", name)
    signed = f"{first_bare},{first.decode()},{without_proof}".encode()
    signature = hmac.digest(hashlib.new(name, client_key).digest(), signed, name)
    return base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("password", ["pencil", "pencils", ""])
def test_passwords(mechanism: str, password: str) -> None:
    one = server(make_credential(mechanism, "pencil", SALT), mechanism)
    bare = "n=user,r=abc"
    first = one.first(f"n,,{bare}".encode())
    nonce = first.decode().split(",")[0]
    final = f"c=biws,{nonce}"
    message = f"{final},p={proof(password, mechanism, bare, first, final)}".encode()
    if password == "pencil":
        assert one.final(message)[0].startswith(b"v=")
    else:
        with pytest.raises(ScramError, match="proof is wrong"):
            one.final(message)


@pytest.mark.parametrize(
    "message",
    [b"", b"n,,n=user", b"y,,n=user,r=a", b"p=tls-unique,,n=user,r=a", b"n,,n=us=er,r=a", b"\xff", b"n,,n=,r=a"],
)
def test_first_messages_that_are_none(message: bytes) -> None:
    with pytest.raises(ScramError):
        server().first(message)


def test_who_is_not_there() -> None:
    with pytest.raises(ScramError, match="no such user"):
        server(None).first(b"n,,n=user,r=a")
    with pytest.raises(ScramError, match="no such token"):
        server().first(b"n,,n=user,r=a,tokenauth=true")


def test_somebody_else() -> None:
    with pytest.raises(WrongAuthorizationId):
        server().first(b"n,a=other,n=user,r=a")
    assert server().first(b"n,a=user,n=user,r=a")


@pytest.mark.parametrize(
    "message",
    [b"", b"c=biws,r=other,p=AAAA", b"c=biws,r=a%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b"c=biws,r=X,p=AAAA", b"\x00"],
)
def test_final_messages_that_are_wrong(message: bytes) -> None:
    one = server()
    one.first(b"n,,n=user,r=a")
    with pytest.raises(ScramError):
        one.final(message)
    with pytest.raises(ScramError):
        server().final(b"c=biws,r=a,p=AAAA")


def test_a_proof_of_another_length() -> None:
    one = server()
    nonce = one.first(b"n,,n=user,r=a").split(b",")[0]
    with pytest.raises(ScramError, match="length"):
        one.final(b"c=biws," + nonce + b",p=AAAA")


def test_too_few_iterations() -> None:
    with pytest.raises(ScramError, match="iterations"):
        server(CREDENTIAL._replace(iterations=1)).first(b"n,,n=user,r=a")


def test_kafkas_text_form() -> None:
    assert parse_credential(CREDENTIAL.to_text()) == CREDENTIAL
    assert CREDENTIAL.to_text().startswith("salt=W22ZaJ0SNY7soEsUEjb6gQ==,stored_key=")
    for text in ("", "salt=AA==", "salt=!,stored_key=AA==,server_key=AA==,iterations=1"):
        with pytest.raises(ValueError, match="not valid"):
            parse_credential(text)


def test_a_password_salted_by_the_client() -> None:
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    assert credential_of("SCRAM-SHA-256", salted, SALT, 4096) == CREDENTIAL


def test_keys_are_not_shown() -> None:
    assert repr(CREDENTIAL) == "ScramCredential(iterations=4096)"
    assert "ScramCredential(iterations=4096)" in str(Found(CREDENTIAL, "user"))
