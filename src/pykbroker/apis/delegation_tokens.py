"""CreateDelegationToken, RenewDelegationToken, ExpireDelegationToken and DescribeDelegationToken (KIP-48, KIP-373)."""

from __future__ import annotations

from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.create_delegation_token import (
    CreateDelegationTokenRequest,
    CreateDelegationTokenResponse,
)
from pykbroker.protocol.messages.describe_delegation_token import (
    DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse,
)
from pykbroker.protocol.messages.expire_delegation_token import (
    ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse,
)
from pykbroker.protocol.messages.renew_delegation_token import (
    RenewDelegationTokenRequest,
    RenewDelegationTokenResponse,
)
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.delegation_token import DelegationToken, expiring, new_token, renewed, same, visible
from pykbroker.security.principal import ANONYMOUS, USER, KafkaPrincipal
from pykbroker.server.request import RequestContext, handles

REQUESTER_SINCE = 3
"""From this version on the answers of Create and Describe name who asked for a token (KIP-373)."""


def _check(context: RequestContext) -> None:
    """Tokens are for those who proved themselves otherwise; raises KafkaError."""
    principal = context.principal
    if principal.token_authenticated or same(principal, ANONYMOUS):
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)
    if not context.services.credentials.tokens_enabled:
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED)


def _code(error: KafkaError | StoreError) -> ErrorCode:
    return error.code if isinstance(error, KafkaError) else ErrorCode.UNKNOWN_SERVER_ERROR


def _no_expiry(code: ErrorCode) -> int:
    """What Kafka 4 has beside an error: its brokers say -1 to whom tokens aren't for, its controllers leave it out."""
    return -1 if code is ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED else 0


@handles(CreateDelegationTokenRequest, "0-3")
async def create_delegation_token(
    request: CreateDelegationTokenRequest, context: RequestContext
) -> CreateDelegationTokenResponse:
    """CreateDelegationToken 0-3: from 3 on for another owner, for whom the requester needs CREATE_TOKENS (KIP-373)."""
    requester = context.principal
    owner = requester
    if request.owner_principal_name:
        owner = KafkaPrincipal(request.owner_principal_type or USER, request.owner_principal_name)
    response = CreateDelegationTokenResponse(
        principal_type=owner.kind,
        principal_name=owner.name,
        issue_timestamp_ms=-1,
        expiry_timestamp_ms=-1,
        max_timestamp_ms=-1,
    )
    if context.api_version >= REQUESTER_SINCE:
        response.token_requester_principal_type = requester.kind
        response.token_requester_principal_name = requester.name
    try:
        token = await _create(request, owner, context)
    except (KafkaError, StoreError) as error:
        response.error_code = _code(error)
        return response
    response.issue_timestamp_ms, response.max_timestamp_ms = token.issued_ms, token.max_ms
    response.expiry_timestamp_ms, response.token_id = token.expires_ms, token.id
    response.hmac = context.services.credentials.secret_of(token)
    return response


async def _create(
    request: CreateDelegationTokenRequest, owner: KafkaPrincipal, context: RequestContext
) -> DelegationToken:
    services, requester = context.services, context.principal
    _check(context)
    if not same(owner, requester) and not context.authorize(Operation.CREATE_TOKENS, ResourceType.USER, str(owner)):
        raise KafkaError(ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED)
    renewers = [KafkaPrincipal(one.principal_type, one.principal_name) for one in request.renewers]
    if any(one.kind != USER for one in renewers):
        raise KafkaError(ErrorCode.INVALID_PRINCIPAL_TYPE)
    token = new_token(
        services.credentials.new_token_id(),
        owner._replace(token_authenticated=False),
        requester,
        renewers,
        services.clock.now_ms(),
        request.max_lifetime_ms,
        (services.config.delegation_token_max_lifetime_ms, services.config.delegation_token_expiry_time_ms),
    )
    await services.credentials.put_token(token)
    return token


@handles(RenewDelegationTokenRequest, "0-2")
async def renew_delegation_token(
    request: RenewDelegationTokenRequest, context: RequestContext
) -> RenewDelegationTokenResponse:
    """RenewDelegationToken 0-2: for the token's owner and renewers, at most to its end."""
    services = context.services
    try:
        _check(context)
        known = services.credentials.token_by_secret(bytes(request.hmac))
        limit = services.config.delegation_token_expiry_time_ms
        token = renewed(known, context.principal, services.clock.now_ms(), request.renew_period_ms, limit)
        await services.credentials.put_token(token)
    except (KafkaError, StoreError) as error:
        code = _code(error)
        return RenewDelegationTokenResponse(error_code=code, expiry_timestamp_ms=_no_expiry(code))
    return RenewDelegationTokenResponse(expiry_timestamp_ms=token.expires_ms)


@handles(ExpireDelegationTokenRequest, "0-2")
async def expire_delegation_token(
    request: ExpireDelegationTokenRequest, context: RequestContext
) -> ExpireDelegationTokenResponse:
    """ExpireDelegationToken 0-2: another expiry for a token; a negative period ends it at once."""
    services = context.services
    now = services.clock.now_ms()
    try:
        _check(context)
        known = services.credentials.token_by_secret(bytes(request.hmac))
        token = expiring(known, context.principal, now, request.expiry_time_period_ms)
        if token is not None:
            await services.credentials.put_token(token)
        elif known is not None:
            await services.credentials.end_token(known)
    except (KafkaError, StoreError) as error:
        code = _code(error)
        return ExpireDelegationTokenResponse(error_code=code, expiry_timestamp_ms=_no_expiry(code))
    return ExpireDelegationTokenResponse(expiry_timestamp_ms=now if token is None else token.expires_ms)


@handles(DescribeDelegationTokenRequest, "0-3")
async def describe_delegation_token(
    request: DescribeDelegationTokenRequest, context: RequestContext
) -> DescribeDelegationTokenResponse:
    """DescribeDelegationToken 0-3: one's own tokens and those that ACLs show; null owners ask for all of them."""
    credentials = context.services.credentials
    try:
        _check(context)
    except KafkaError as error:
        return DescribeDelegationTokenResponse(error_code=error.code)
    owners = None
    if request.owners is not None:
        owners = [KafkaPrincipal(one.principal_type, one.principal_name) for one in request.owners]
    shown = [
        token
        for token in credentials.tokens.values()
        if owners != [] and visible(token, context.principal, owners, context.authorize)
    ]
    return DescribeDelegationTokenResponse(tokens=[_described(token, context) for token in shown])


def _described(token: DelegationToken, context: RequestContext) -> DescribeDelegationTokenResponse.Token:
    Token = DescribeDelegationTokenResponse.Token  # noqa: N806 - a class
    described = Token(
        principal_type=token.owner.kind,
        principal_name=token.owner.name,
        issue_timestamp=token.issued_ms,
        expiry_timestamp=token.expires_ms,
        max_timestamp=token.max_ms,
        token_id=token.id,
        hmac=context.services.credentials.secret_of(token),
        renewers=[Token.Renewer(principal_type=one.kind, principal_name=one.name) for one in token.renewers],
    )
    if context.api_version >= REQUESTER_SINCE:
        described.token_requester_principal_type = token.requester.kind
        described.token_requester_principal_name = token.requester.name
    return described
