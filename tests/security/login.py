"""The client's side of SASL, on a wire connection: for tests that want to see every answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest
from pykbroker.testing.client import WireClient


def handshake(client: WireClient, mechanism: str, version: int = 1) -> Any:
    """What a listener says to a mechanism."""
    return client.request(SaslHandshakeRequest(mechanism=mechanism), version)


def authenticate(client: WireClient, token: bytes, version: int = 2) -> Any:
    """The answer to one token."""
    return client.request(SaslAuthenticateRequest(auth_bytes=token), version)


def plain(client: WireClient, name: str, password: str) -> Any:
    """Logs in with PLAIN; the last answer."""
    shaken = handshake(client, "PLAIN")
    return shaken if shaken.error_code else authenticate(client, f"\0{name}\0{password}".encode())


def oauth(client: WireClient, token: str) -> Any:
    """Logs in with OAUTHBEARER; the last answer."""
    shaken = handshake(client, "OAUTHBEARER")
    if shaken.error_code:
        return shaken
    answer = authenticate(client, f"n,,\x01auth=Bearer {token}\x01\x01".encode())
    return authenticate(client, b"\x01") if answer.auth_bytes else answer


def scram(client: WireClient, mechanism: str, name: str, password: str, *, token: bool = False) -> Any:
    """Logs in with SCRAM, with a delegation token where that is what it is; the last answer."""
    shaken = handshake(client, mechanism)
    if shaken.error_code:
        return shaken
    hash_name = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
    bare = f"n={name},r={secrets.token_hex(12)}" + (",tokenauth=true" if token else "")
    first = authenticate(client, f"n,,{bare}".encode())
    if first.error_code:
        return first
    told = first.auth_bytes.decode()
    parts = dict(part.partition("=")[::2] for part in told.split(","))
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    final = f"c=biws,r={parts['r']}"
    signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), f"{bare},{told},{final}".encode(), hash_name)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    return authenticate(client, f"{final},p={proof}".encode())
