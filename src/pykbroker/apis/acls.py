"""DescribeAcls, CreateAcls and DeleteAcls: who may do what, as the authorizer keeps it."""

from __future__ import annotations

from typing import Any

from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.create_acls import CreateAclsRequest, CreateAclsResponse
from pykbroker.protocol.messages.delete_acls import DeleteAclsRequest, DeleteAclsResponse
from pykbroker.protocol.messages.describe_acls import DescribeAclsRequest, DescribeAclsResponse
from pykbroker.security.acl import (
    CLUSTER_NAME,
    Acl,
    Entry,
    Filter,
    Operation,
    PatternType,
    Permission,
    Resource,
    ResourceType,
)
from pykbroker.server.request import CloseConnection, RequestContext, handles

FIRST_WITH_PATTERNS = 1
NOT_CONFIGURED = "No Authorizer is configured."


@handles(DescribeAclsRequest, "0-3")
async def describe_acls(request: DescribeAclsRequest, context: RequestContext) -> DescribeAclsResponse:
    """DescribeAcls 0-3 (KIP-140): the ACLs that a filter matches, by resource pattern.

    From version 1 on a filter may be for prefixed patterns, or for all that apply to a name (MATCH, KIP-290).
    """
    authorizer = context.services.authorizer
    if authorizer is None:
        message = "No Authorizer is configured on the broker"
        return DescribeAclsResponse(error_code=ErrorCode.SECURITY_DISABLED, error_message=message)
    wanted = _filter(request, context.api_version)
    found: dict[Resource, list[Entry]] = {}
    for resource, entry in sorted(acl for acl in authorizer.acls if wanted.matches(acl)):
        found.setdefault(resource, []).append(entry)
    Described = DescribeAclsResponse.Resource  # noqa: N806 - a class
    return DescribeAclsResponse(
        error_message=None,
        resources=[
            Described(
                resource_type=resource.type,
                resource_name=resource.name,
                pattern_type=resource.pattern,
                acls=[
                    Described.Acl(
                        principal=entry.principal,
                        host=entry.host,
                        operation=entry.operation,
                        permission_type=entry.permission,
                    )
                    for entry in entries
                ],
            )
            for resource, entries in found.items()
        ],
    )


@handles(CreateAclsRequest, "0-3")
async def create_acls(request: CreateAclsRequest, context: RequestContext) -> CreateAclsResponse:
    """CreateAcls 0-3 (KIP-140): each is in force on this broker when it is answered."""
    authorizer = context.services.authorizer
    Result = CreateAclsResponse.Result  # noqa: N806 - a class
    results, acls = [], []
    for creation in request.creations:
        result = Result(error_message=None)
        results.append(result)
        try:
            if authorizer is None:
                raise KafkaError(ErrorCode.SECURITY_DISABLED, NOT_CONFIGURED)
            acls.append(_acl(creation, context.api_version))
        except KafkaError as error:
            result.error_code, result.error_message = error.code, error.message
    if authorizer is not None and acls:
        try:
            await authorizer.create(acls)
        except (KafkaError, StoreError) as error:
            code = error.code if isinstance(error, KafkaError) else ErrorCode.UNKNOWN_SERVER_ERROR
            for result in results:
                if result.error_code == ErrorCode.NONE:
                    result.error_code, result.error_message = code, str(error)
    return CreateAclsResponse(results=results)


@handles(DeleteAclsRequest, "0-3")
async def delete_acls(request: DeleteAclsRequest, context: RequestContext) -> DeleteAclsResponse:
    """DeleteAcls 0-3 (KIP-140): for each filter the ACLs that it removed; one removed by two stands with the first."""
    authorizer = context.services.authorizer
    Result = DeleteAclsResponse.FilterResult  # noqa: N806 - a class
    results, filters = [], []
    for asked in request.filters:
        result = Result(error_message=None)
        results.append(result)
        try:
            if authorizer is None:
                raise KafkaError(ErrorCode.SECURITY_DISABLED, NOT_CONFIGURED)
            wanted = _filter(asked, context.api_version)
            if _has_unknown(wanted):
                raise KafkaError(ErrorCode.INVALID_REQUEST, "The filter contains UNKNOWN elements.")
            filters.append((wanted, result))
        except KafkaError as error:
            result.error_code, result.error_message = error.code, error.message
    if authorizer is not None and filters:
        try:
            gone = await authorizer.delete([one for one, _ in filters])
            for (_, result), acls in zip(filters, gone, strict=True):
                result.matching_acls = [_matching(acl) for acl in sorted(acls)]
        except (KafkaError, StoreError) as error:
            code = error.code if isinstance(error, KafkaError) else ErrorCode.UNKNOWN_SERVER_ERROR
            for _, result in filters:
                result.error_code, result.error_message = code, str(error)
    return DeleteAclsResponse(filter_results=results)


def _matching(acl: Acl) -> DeleteAclsResponse.FilterResult.MatchingAcl:
    (kind, pattern, name), (principal, host, operation, permission) = acl
    return DeleteAclsResponse.FilterResult.MatchingAcl(
        error_message=None,
        resource_type=kind,
        resource_name=name,
        pattern_type=pattern,
        principal=principal,
        host=host,
        operation=operation,
        permission_type=permission,
    )


def _enum(enum: Any, value: int) -> Any:
    """A known member; UNKNOWN for what this release doesn't know."""
    return enum(value) if value in enum.__members__.values() else enum(0)


def _filter(asked: Any, version: int) -> Filter:
    """What is asked for; a number that isn't known is UNKNOWN, which nothing is."""
    _check(version, asked.pattern_type_filter, asked.resource_type_filter, asked.operation, asked.permission_type)
    pattern = PatternType.LITERAL if version < FIRST_WITH_PATTERNS else _enum(PatternType, asked.pattern_type_filter)
    return Filter(
        _enum(ResourceType, asked.resource_type_filter),
        pattern,
        asked.resource_name_filter,
        asked.principal_filter,
        asked.host_filter,
        _enum(Operation, asked.operation),
        _enum(Permission, asked.permission_type),
    )


def _has_unknown(wanted: Filter) -> bool:
    return 0 in (wanted.resource_type, wanted.pattern, wanted.operation, wanted.permission)


def _check(version: int, pattern: int, *kinds: int) -> None:
    """Raises CloseConnection for the number that stands for the unknown: Kafka takes a request with one for spoilt."""
    if 0 in kinds or (version >= FIRST_WITH_PATTERNS and pattern == 0):
        raise CloseConnection("an ACL of type, pattern, operation or permission 0")


def _acl(creation: CreateAclsRequest.Creation, version: int) -> Acl:
    """The ACL to make; raises KafkaError for one that can't be."""
    kinds = creation.resource_type, creation.operation, creation.permission_type
    _check(version, creation.resource_pattern_type, *kinds)
    pattern = (
        PatternType.LITERAL if version < FIRST_WITH_PATTERNS else _enum(PatternType, creation.resource_pattern_type)
    )
    resource = Resource(_enum(ResourceType, creation.resource_type), pattern, creation.resource_name)
    entry = Entry(
        creation.principal,
        creation.host,
        _enum(Operation, creation.operation),
        _enum(Permission, creation.permission_type),
    )
    wrong = _wrong(resource, entry)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_REQUEST, wrong)
    return Acl(resource, entry)


def _wrong(resource: Resource, entry: Entry) -> str | None:
    """Why there can't be such an ACL, in Kafka's words."""
    if resource.type is ResourceType.CLUSTER and resource.name != CLUSTER_NAME:
        return f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
    if not resource.name:
        return "Invalid empty resource name"
    if resource.type in (ResourceType.UNKNOWN, ResourceType.ANY):
        return f"Invalid resourceType {resource.type.name}"
    if resource.pattern not in (PatternType.LITERAL, PatternType.PREFIXED):
        return f"Invalid patternType {resource.pattern.name}"
    if entry.operation in (Operation.UNKNOWN, Operation.ANY):
        return f"Invalid operation {entry.operation.name}"
    if entry.permission not in (Permission.ALLOW, Permission.DENY):
        return f"Invalid permissionType {entry.permission.name}"
    if ":" not in entry.principal:
        return (
            f"Could not parse principal from `{entry.principal}` (no colon is present separating the principal type "
            "from the principal name)"
        )
    return None
