"""DescribeClientQuotas and AlterClientQuotas: who has which quota (KIP-546, KIP-612)."""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import ip_address

from pykbroker.cluster.client_quota import (
    DEFAULT,
    Entity,
    QuotaError,
    check_entity,
    check_filter,
    matching,
    plan_quotas,
    quotas_of,
)
from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest, AlterClientQuotasResponse
from pykbroker.protocol.messages.describe_client_quotas import (
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)
from pykbroker.server.quotas import entity_of, path_of
from pykbroker.server.request import RequestContext, handles

Entry = DescribeClientQuotasResponse.Entry


@handles(DescribeClientQuotasRequest, "0-1")
async def describe_client_quotas(
    request: DescribeClientQuotasRequest, context: RequestContext
) -> DescribeClientQuotasResponse:
    """DescribeClientQuotas 0-1: the entities that match all components, with `strict` those that have no others."""
    try:
        wanted = check_filter((one.entity_type, one.match_type, one.match) for one in request.components)
    except QuotaError as error:
        return _refusal(ErrorCode.INVALID_REQUEST, str(error))
    except KeyError as error:
        return _refusal(ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {error.args[0]}")
    found = {}
    for kind in ("users", "clients", "ips"):
        for path, config in context.services.configs.entities.below(kind):
            quotas = quotas_of(config)
            if quotas:
                found[entity_of(path)] = quotas
    entries = [
        Entry(
            entity=[
                Entry.Entity(entity_type=kind, entity_name=None if name is DEFAULT else str(name))
                for kind, name in entity.parts().items()
            ],
            values=[Entry.Value(key=key, value=value) for key, value in found[entity].items()],
        )
        for entity in matching(found, wanted, strict=request.strict)
    ]
    return DescribeClientQuotasResponse(error_message=None, entries=entries)


def _refusal(code: ErrorCode, message: str) -> DescribeClientQuotasResponse:
    return DescribeClientQuotasResponse(error_code=code, error_message=message, entries=None)


@handles(AlterClientQuotasRequest, "0-1")
async def alter_client_quotas(request: AlterClientQuotasRequest, context: RequestContext) -> AlterClientQuotasResponse:
    """AlterClientQuotas 0-1: sets and removes quotas; in force when it is answered. One answer for each entity."""
    response = AlterClientQuotasResponse()
    seen: set[Entity] = set()
    for entry in request.entries:
        answer = AlterClientQuotasResponse.Entry(
            error_message=None,
            entity=[
                AlterClientQuotasResponse.Entry.Entity(entity_type=one.entity_type, entity_name=one.entity_name)
                for one in entry.entity
            ],
        )
        try:
            await _alter(entry, seen, context, validate_only=request.validate_only)
        except KafkaError as error:
            answer.error_code, answer.error_message = error.code, error.message
        response.entries.append(answer)
    return response


async def _alter(
    entry: AlterClientQuotasRequest.Entry, seen: set[Entity], context: RequestContext, *, validate_only: bool
) -> None:
    """Changes one entity's quotas. Raises KafkaError."""
    entities = context.services.configs.entities
    try:
        addresses = [one.entity_name for one in entry.entity if one.entity_type == "ip" and one.entity_name]
        known = {text: await _is_address(text, context) for text in addresses}
        entity = check_entity(((one.entity_type, one.entity_name) for one in entry.entity), known.__getitem__)
        if entity in seen:
            raise QuotaError("Ignoring duplicate entity")
        seen.add(entity)
        ops = [(one.key, None if one.remove else one.value) for one in entry.ops]
        plan = partial(plan_quotas, entity, ops)
        plan(entities.get(path_of(entity)))
        if not validate_only:
            await entities.change(path_of(entity), plan)
    except QuotaError as error:
        raise KafkaError(ErrorCode.INVALID_REQUEST, str(error)) from None
    except StoreError as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from None


async def _is_address(text: str, context: RequestContext) -> bool:
    """Whether a text is an address, or a name that this host can resolve."""
    try:
        ip_address(text)
    except ValueError:
        return await context.services.disk.run(_resolves, text)
    return True


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
