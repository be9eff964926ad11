"""Delegation tokens (KIP-48): what one is, who may renew, end and see it, and until when it is good.

A token's secret is the HMAC of its id; it is never shown by itself. Times are ms since 1970, and arguments.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Collection
from typing import NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.principal import KafkaPrincipal


class DelegationToken(NamedTuple):
    """A token without its secret."""

    id: str
    owner: KafkaPrincipal
    requester: KafkaPrincipal
    renewers: tuple[KafkaPrincipal, ...]
    issued_ms: int
    expires_ms: int
    max_ms: int

    def belongs_to(self, principal: KafkaPrincipal) -> bool:
        """Whether a principal is owner, requester or renewer."""
        return same(principal, self.owner) or self.may_renew(principal) or same(principal, self.requester)

    def may_renew(self, principal: KafkaPrincipal) -> bool:
        """Whether a principal may renew or end it."""
        return same(principal, self.owner) or any(same(principal, one) for one in self.renewers)

    def expired(self, now_ms: int) -> bool:
        """Whether it is no longer good."""
        return min(self.max_ms, self.expires_ms) < now_ms


def same(one: KafkaPrincipal, other: KafkaPrincipal) -> bool:
    """Whether two principals are the same person, however it was proved."""
    return one[:2] == other[:2]


def secret(token_id: str, key: str) -> bytes:
    """A token's HMAC."""
    return hmac.digest(key.encode(), token_id.encode(), "sha512")


def password(token_id: str, key: str) -> str:
    """The secret as SCRAM's password."""
    return base64.b64encode(secret(token_id, key)).decode()


def new_token(
    token_id: str,
    owner: KafkaPrincipal,
    requester: KafkaPrincipal,
    renewers: Collection[KafkaPrincipal],
    now_ms: int,
    wanted_ms: int,
    limits: tuple[int, int],
) -> DelegationToken:
    """A token that lives as long as wanted, at most the first limit, and has to be renewed after the second."""
    longest, renewal = limits
    end = now_ms + (longest if wanted_ms <= 0 else min(wanted_ms, longest))
    return DelegationToken(token_id, owner, requester, tuple(renewers), now_ms, min(end, now_ms + renewal), end)


def renewed(
    token: DelegationToken | None, principal: KafkaPrincipal, now_ms: int, period_ms: int, renewal_ms: int
) -> DelegationToken:
    """The token with a later expiry, at most its end. Raises KafkaError."""
    found = _good(token, principal, now_ms)
    period = renewal_ms if period_ms <= 0 else min(period_ms, renewal_ms)
    return found._replace(expires_ms=min(found.max_ms, now_ms + period))


def expiring(
    token: DelegationToken | None, principal: KafkaPrincipal, now_ms: int, period_ms: int
) -> DelegationToken | None:
    """The token with another expiry; None where it ends at once (a negative period). Raises KafkaError."""
    if token is None:
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
    if period_ms < 0:
        if not token.may_renew(principal):
            raise KafkaError(ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH)
        return None
    found = _good(token, principal, now_ms)
    return found._replace(expires_ms=min(found.max_ms, now_ms + period_ms))


def _good(token: DelegationToken | None, principal: KafkaPrincipal, now_ms: int) -> DelegationToken:
    if token is None:
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
    if token.expired(now_ms):
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_EXPIRED)
    if not token.may_renew(principal):
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH)
    return token


def visible(
    token: DelegationToken,
    principal: KafkaPrincipal,
    owners: Collection[KafkaPrincipal] | None,
    may: Callable[[Operation, ResourceType, str], bool],
) -> bool:
    """Whether a token is described to somebody who asked for those of `owners`, or for all."""
    if owners is not None and not any(token.belongs_to(owner) for owner in owners):
        return False
    return (
        token.belongs_to(principal)
        or may(Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, token.id)
        or may(Operation.DESCRIBE_TOKENS, ResourceType.USER, str(token.owner))
    )
