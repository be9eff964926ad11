"""SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): credentials, and the server's side of the conversation.

Salts and nonces are arguments. A credential never shows its keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
"""Each mechanism's hash."""
MECHANISM_TYPES = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}
"""The numbers that the admin APIs have for them."""
MIN_ITERATIONS, MAX_ITERATIONS = 4096, 16384
TOKEN_AUTH = "tokenauth"
"""The extension by which a client says that it proves a delegation token (KIP-48)."""

_NAME = r"(?:[\x01-\x2b\x2d-\x3c\x3e-\x7f]|=2C|=3D)+"
_VALUE = r"[\x01-\x2b\x2d-\x7f]+"
_PRINTABLE = r"[\x21-\x2b\x2d-\x7e]+"
_BASE64 = r"(?:[a-zA-Z0-9/+]{4})*(?:[a-zA-Z0-9/+]{3}=|[a-zA-Z0-9/+]{2}==)?"
_EXTENSIONS = rf"(?:,[A-Za-z]+={_VALUE})*"
# Patterns are compiled when somebody proves himself: that takes a hundredth of a start.
_CLIENT_FIRST = (
    rf"n,(?:a=(?P<authzid>{_NAME}))?,(?:m={_VALUE},)?"
    rf"(?P<bare>n=(?P<name>{_NAME}),r=(?P<nonce>{_PRINTABLE})(?P<extensions>{_EXTENSIONS}))"
)
_CLIENT_FINAL = (
    rf"(?P<without_proof>c=(?P<channel>{_BASE64}),r=(?P<nonce>{_PRINTABLE}){_EXTENSIONS}),p=(?P<proof>{_BASE64})"
)


class ScramCredential(NamedTuple):
    """What is kept of a password."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    def __repr__(self) -> str:
        return f"ScramCredential(iterations={self.iterations})"

    def to_text(self) -> str:
        """The form in which Kafka keeps it."""
        salt, stored, server = (base64.b64encode(part).decode() for part in self[:3])
        return f"salt={salt},stored_key={stored},server_key={server},iterations={self.iterations}"


def parse_credential(text: str) -> ScramCredential:
    """A credential in Kafka's form; raises ValueError."""
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        salt, stored, server = (
            base64.b64decode(parts[name], validate=True) for name in ("salt", "stored_key", "server_key")
        )
        iterations = int(parts["iterations"])
    except (KeyError, binascii.Error) as error:
        raise ValueError("credentials not valid") from error
    return ScramCredential(salt, stored, server, iterations)


def make_credential(mechanism: str, password: str, salt: bytes, iterations: int = MIN_ITERATIONS) -> ScramCredential:
    """The credential of a password."""
    salted = hashlib.pbkdf2_hmac(HASHES[mechanism], password.encode(), salt, iterations)
    return credential_of(mechanism, salted, salt, iterations)


def credential_of(mechanism: str, salted_password: bytes, salt: bytes, iterations: int) -> ScramCredential:
    """The credential of a password that the client has salted itself, as AlterUserScramCredentials carries it."""
    name = HASHES[mechanism]
    client_key = hmac.digest(salted_password, b"Client Key", name)
    server_key = hmac.digest(salted_password, b"Server Key", name)
    return ScramCredential(salt, hashlib.new(name, client_key).digest(), server_key, iterations)


class ScramError(Exception):
    """The conversation failed; the text is for the log alone, as it may tell whether a user exists."""


class WrongAuthorizationId(ScramError):
    """The client asks to be somebody else: it may be told that."""


class Found(NamedTuple):
    """What stands behind a user name, or behind a token's id."""

    credential: ScramCredential
    owner: str
    """Who the client is then: the user itself, or the token's owner."""
    expires_ms: int | None = None


Lookup = Callable[[str, bool], Found | None]
"""Given the name, and whether it is a token's id."""


class ScramServer:
    """One conversation: `first` answers the client's first message, `final` its last."""

    def __init__(self, mechanism: str, nonce: str, lookup: Lookup) -> None:
        self._hash = HASHES[mechanism]
        self._nonce = nonce
        self._lookup = lookup
        self._found: Found | None = None
        self._messages = ""
        self.token_authenticated = False

    def first(self, message: bytes) -> bytes:
        """The server's first message: both nonces, salt, iterations. Raises ScramError."""
        client = re.fullmatch(_CLIENT_FIRST, _text(message))
        if client is None:
            raise ScramError("the client's first message has an invalid format")
        extensions = dict(part.partition("=")[::2] for part in client["extensions"].split(",") if part)
        self.token_authenticated = extensions.get(TOKEN_AUTH, "").lower() == "true"
        name = client["name"].replace("=2C", ",").replace("=3D", "=")
        found = self._found = self._lookup(name, self.token_authenticated)
        if found is None:
            raise ScramError("no such token" if self.token_authenticated else "no such user")
        if client["authzid"] not in (None, "", name):
            raise WrongAuthorizationId(
                "Authentication failed: Client requested an authorization id that is different from username"
            )
        if found.credential.iterations < MIN_ITERATIONS:
            raise ScramError(f"{found.credential.iterations} iterations are less than {MIN_ITERATIONS}")
        self._nonce = client["nonce"] + self._nonce
        salt = base64.b64encode(found.credential.salt).decode()
        answer = f"r={self._nonce},s={salt},i={found.credential.iterations}"
        self._messages = f"{client['bare']},{answer}"
        return answer.encode()

    def final(self, message: bytes) -> tuple[bytes, Found]:
        """The server's last message, and who the client is. Raises ScramError."""
        client = re.fullmatch(_CLIENT_FINAL, _text(message))
        if client is None or self._found is None:
            raise ScramError("the client's final message has an invalid format")
        if client["nonce"] != self._nonce:
            raise ScramError("the client's final message has another nonce")
        credential = self._found.credential
        signed = f"{self._messages},{client['without_proof']}".encode()
        signature = hmac.digest(credential.stored_key, signed, self._hash)
        proof = base64.b64decode(client["proof"])
        if len(proof) != len(signature):
            raise ScramError("the proof has another length")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), credential.stored_key):
            raise ScramError("the proof is wrong")
        verifier = base64.b64encode(hmac.digest(credential.server_key, signed, self._hash))
        return b"v=" + verifier, self._found


def _text(message: bytes) -> str:
    try:
        return message.decode("ascii")
    except UnicodeDecodeError:
        raise ScramError("not in ASCII") from None
