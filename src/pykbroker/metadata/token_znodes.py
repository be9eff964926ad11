"""Where delegation tokens stand in the metadata store, in Apache Kafka's layout. It never reads or writes a store."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

from pykbroker.security.delegation_token import DelegationToken
from pykbroker.security.principal import KafkaPrincipal, parse_principal

TOKENS = "/delegation_token/tokens"
TOKEN_CHANGES = "/delegation_token/token_changes"


def sanitized(name: str) -> str:
    """A name as a node's: URL-encoded as Java does it, with `%20` for blanks and `%2A` for asterisks."""
    return quote(name, safe="").replace("~", "%7E")


def desanitized(name: str) -> str:
    """A node's name as it was."""
    return unquote(name)


def token_path(token_id: str) -> str:
    """Where a token stands."""
    return f"{TOKENS}/{token_id}"


def token_change(token_id: str) -> tuple[str, bytes]:
    """The note by which other brokers learn of a token's change."""
    return f"{TOKEN_CHANGES}/token_change_", token_id.encode()


def encode_token(token: DelegationToken) -> bytes:
    """A token, version 3; its secret isn't in it."""
    return _dump(
        {
            "version": 3,
            "owner": sanitized(str(token.owner)),
            "tokenRequester": sanitized(str(token.requester)),
            "renewers": [sanitized(str(one)) for one in token.renewers],
            "issueTimestamp": token.issued_ms,
            "maxTimestamp": token.max_ms,
            "expiryTimestamp": token.expires_ms,
            "tokenId": token.id,
        }
    )


def decode_token(data: bytes) -> DelegationToken:
    """A token of version 1 to 3."""
    body = json.loads(data)
    owner = _principal(body["owner"])
    return DelegationToken(
        id=str(body["tokenId"]),
        owner=owner,
        requester=_principal(body["tokenRequester"]) if "tokenRequester" in body else owner,
        renewers=tuple(_principal(one) for one in body.get("renewers", [])),
        issued_ms=int(body["issueTimestamp"]),
        expires_ms=int(body["expiryTimestamp"]),
        max_ms=int(body["maxTimestamp"]),
    )


def _principal(text: str) -> KafkaPrincipal:
    return parse_principal(desanitized(text))


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
