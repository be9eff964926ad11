"""The client's side of the SASL mechanisms, pure: what to send next, given what the server said.

An exchange is a generator that yields what to send and is sent the answers; it ends when the user is in.
RFC 4616 (PLAIN), RFC 5802 (SCRAM), RFC 7628 (OAUTHBEARER).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Generator

from pykbroker.client.errors import AuthenticationFailed
from pykbroker.client.settings import SaslSettings

Exchange = Generator[bytes, bytes, None]
MIN_ITERATIONS = 4096
MAX_ITERATIONS = 1_000_000
"""A server that asks for more would only keep this side busy."""


def exchange(mechanism: str, settings: SaslSettings, nonce: str) -> Exchange:
    """The exchange of a mechanism; `nonce` is random text without a comma."""
    if mechanism == "PLAIN":
        return _plain(settings)
    if mechanism == "OAUTHBEARER":
        return _oauth_bearer(settings)
    return _scram("sha512" if mechanism == "SCRAM-SHA-512" else "sha256", settings, nonce)


def _plain(settings: SaslSettings) -> Exchange:
    yield b"\0".join((b"", settings.user.encode(), settings.password.encode()))


def _oauth_bearer(settings: SaslSettings) -> Exchange:
    answer = yield f"n,,\x01auth=Bearer {settings.token}\x01\x01".encode()
    if answer:
        # RFC 7628 3.2.3: the error comes as a challenge, and the client closes the exchange with a dummy.
        yield b"\x01"
        raise AuthenticationFailed(f"the token was refused: {answer.decode(errors='replace')}")


def _scram(digest: str, settings: SaslSettings, nonce: str) -> Exchange:
    user = settings.user.replace("=", "=3D").replace(",", "=2C")
    bare = f"n={user},r={nonce}"
    if settings.token_auth:
        bare += ",tokenauth=true"
    server_first = (yield b"n,," + bare.encode()).decode(errors="replace")
    fields = _fields(server_first)
    try:
        salt, iterations, whole_nonce = b64decode(fields["s"], validate=True), int(fields["i"]), fields["r"]
    except (KeyError, ValueError):
        raise AuthenticationFailed(_refusal(fields, "the server's first message is no SCRAM")) from None
    if not whole_nonce.startswith(nonce) or not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise AuthenticationFailed("the server's SCRAM challenge can't be trusted (nonce or iterations)")
    salted = hashlib.pbkdf2_hmac(digest, settings.password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    without_proof = f"c=biws,r={whole_nonce}"
    signed = f"{bare},{server_first},{without_proof}".encode()
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), signed, digest)
    proof = bytes(key ^ other for key, other in zip(client_key, signature, strict=True))
    server_final = yield f"{without_proof},p={b64encode(proof).decode()}".encode()
    fields = _fields(server_final.decode(errors="replace"))
    expected = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
    if not hmac.compare_digest(fields.get("v", ""), b64encode(expected).decode()):
        raise AuthenticationFailed(_refusal(fields, "the server doesn't know the password either"))


def _fields(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in text.split(","))
    return {name: value for name, _, value in pairs}


def _refusal(fields: dict[str, str], otherwise: str) -> str:
    return f"SCRAM: {fields['e']}" if "e" in fields else otherwise
