"""DescribeUserScramCredentials and AlterUserScramCredentials: SCRAM users in the metadata store (KIP-554)."""

from __future__ import annotations

from collections import Counter

from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
)
from pykbroker.protocol.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)
from pykbroker.security.scram import (
    MAX_ITERATIONS,
    MECHANISM_TYPES,
    MIN_ITERATIONS,
    ScramCredential,
    credential_of,
)
from pykbroker.server.request import RequestContext, handles

Deletion = AlterUserScramCredentialsRequest.Deletion
Upsertion = AlterUserScramCredentialsRequest.Upsertion
Described = DescribeUserScramCredentialsResponse.Result
Altered = AlterUserScramCredentialsResponse.Result

_TYPES = {name: number for number, name in MECHANISM_TYPES.items()}


@handles(DescribeUserScramCredentialsRequest, "0")
async def describe_user_scram_credentials(
    request: DescribeUserScramCredentialsRequest, context: RequestContext
) -> DescribeUserScramCredentialsResponse:
    """DescribeUserScramCredentials 0: mechanisms and iterations, never a key; no names ask for all users."""
    known = context.services.credentials.scram_users()
    names = [user.name for user in request.users or ()]
    counts = Counter(names)
    results = []
    for name in dict.fromkeys(names) or known:
        result = Described(user=name, error_message=None)
        results.append(result)
        if counts[name] > 1:
            result.error_code = ErrorCode.DUPLICATE_RESOURCE
            result.error_message = (
                f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
            )
        elif name not in known:
            result.error_code = ErrorCode.RESOURCE_NOT_FOUND
            result.error_message = f"Attempt to describe a user credential that does not exist: {name}"
        else:
            result.credential_infos = [
                Described.CredentialInfo(mechanism=_TYPES[mechanism], iterations=iterations)
                for mechanism, iterations in known[name].items()
            ]
    return DescribeUserScramCredentialsResponse(error_message=None, results=results)


@handles(AlterUserScramCredentialsRequest, "0")
async def alter_user_scram_credentials(
    request: AlterUserScramCredentialsRequest, context: RequestContext
) -> AlterUserScramCredentialsResponse:
    """AlterUserScramCredentials 0: the client salts; in force on this broker when it is answered.

    A user named twice has nothing changed, as in Kafka 4; the first thing wrong with a user is what is answered.
    """
    asked: list[Deletion | Upsertion] = [*request.deletions, *request.upsertions]
    changes: dict[str, dict[str, ScramCredential | None]] = {}
    refused: dict[str, KafkaError] = {}
    for one in asked:
        try:
            if one.name in refused:
                continue
            if changes.pop(one.name, None) is not None:
                message = "A user credential cannot be altered twice in the same request"
                raise KafkaError(ErrorCode.DUPLICATE_RESOURCE, message)
            changes[one.name] = _change(one, context)
        except KafkaError as error:
            refused[one.name] = error
    for name, change in changes.items():
        try:
            await context.services.credentials.alter_scram(name, change)
        except StoreError as error:
            refused[name] = KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, str(error))
    results = [Altered(user=name, error_message=None) for name in changes if name not in refused]
    results += [Altered(user=name, error_code=one.code, error_message=one.message) for name, one in refused.items()]
    return AlterUserScramCredentialsResponse(results=results)


def _change(one: Deletion | Upsertion, context: RequestContext) -> dict[str, ScramCredential | None]:
    """The credential to set or to remove, by mechanism; raises KafkaError."""
    if not one.name:
        raise KafkaError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
    mechanism = MECHANISM_TYPES.get(one.mechanism)
    if mechanism is None:
        raise KafkaError(ErrorCode.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
    if isinstance(one, Deletion):
        if mechanism not in context.services.credentials.scram_users().get(one.name, {}):
            message = "Attempt to delete a user credential that does not exist"
            raise KafkaError(ErrorCode.RESOURCE_NOT_FOUND, message)
        return {mechanism: None}
    if one.iterations < MIN_ITERATIONS:
        raise KafkaError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too few iterations")
    if one.iterations > MAX_ITERATIONS:
        raise KafkaError(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too many iterations")
    return {mechanism: credential_of(mechanism, bytes(one.salted_password), bytes(one.salt), one.iterations)}
