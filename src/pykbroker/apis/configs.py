"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources: what topics, brokers, groups, broker
loggers and client metrics subscriptions are set to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pykbroker.config.describe import (
    DEFAULT,
    DYNAMIC_BROKER_LOGGER,
    UNKNOWN_TYPE,
    ConfigEntry,
    describe_broker,
    describe_client_metrics,
    describe_cluster_default,
    describe_group,
    describe_topic,
)
from pykbroker.controller.configs import (
    BROKER,
    BROKER_LOGGER,
    CLIENT_METRICS,
    GROUP,
    TOPIC,
    Alteration,
    Change,
)
from pykbroker.controller.topics import invalid_name
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from pykbroker.protocol.messages.incremental_alter_configs import (
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from pykbroker.protocol.messages.list_config_resources import (
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)
from pykbroker.server import loggers
from pykbroker.server.request import RequestContext, handles

Result = DescribeConfigsResponse.Result


@handles(DescribeConfigsRequest, "0-4")
async def describe_configs(request: DescribeConfigsRequest, context: RequestContext) -> DescribeConfigsResponse:
    """DescribeConfigs 0-4: every key of a resource, with source, type (KIP-569) and synonyms (KIP-226).

    No keys, like null, ask for all. Documentation is our own. The values of passwords and of unknown keys are hidden.
    """
    return DescribeConfigsResponse(results=[_describe(resource, request, context) for resource in request.resources])


def _describe(
    resource: DescribeConfigsRequest.Resource, request: DescribeConfigsRequest, context: RequestContext
) -> Result:
    result = Result(resource_type=resource.resource_type, resource_name=resource.resource_name, error_message="")
    describe = _DESCRIBERS.get(resource.resource_type)
    try:
        if describe is None:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unsupported resource type: {resource.resource_type}")
        entries = describe(resource.resource_name, context)
    except KafkaError as error:
        result.error_code, result.error_message = error.code, error.message or ""
        return result
    keys = resource.configuration_keys
    for entry in entries:
        if not keys or entry.name in keys:
            config = _config(entry, request.include_synonyms)
            if request.include_documentation:
                config.documentation = _documentation(entry.name)
            config.is_default = context.api_version == 0 and entry.source == DEFAULT
            result.configs.append(config)
    return result


def _config(entry: ConfigEntry, include_synonyms: bool) -> Result.Config:
    synonyms = [
        Result.Config.Synonym(name=synonym.name, value=synonym.value, source=synonym.source)
        for synonym in (entry.synonyms if include_synonyms else ())
    ]
    return Result.Config(
        name=entry.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        is_sensitive=entry.sensitive,
        synonyms=synonyms,
        config_type=entry.type,
        documentation=None,
    )


def _documentation(name: str) -> str | None:
    from pykbroker.config.documentation import documentation  # Four hundred texts that few ask for.

    return documentation(name)


def _topic(name: str, context: RequestContext) -> list[ConfigEntry]:
    wrong = invalid_name(name)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong)
    topic = context.services.metadata.topic(name)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return describe_topic(context.services.config, context.services.metadata.overrides(name))


def _broker(name: str, context: RequestContext) -> list[ConfigEntry]:
    """The empty name stands for what is set dynamically for all brokers."""
    if not name:
        return describe_cluster_default(context.services.config)
    _check_own_id(name, context, " or empty string,")
    return describe_broker(context.services.config)


def _check_own_id(name: str, context: RequestContext, alternative: str) -> None:
    own = context.services.config.node_id
    try:
        broker = int(name)
    except ValueError:
        message = f"Broker id must be an integer, but it is: {name}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message) from None
    if broker != own:
        message = f"Unexpected broker id, expected {own}{alternative} but received {name}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message)


def _loggers(name: str, context: RequestContext) -> list[ConfigEntry]:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
    _check_own_id(name, context, "")
    levels = loggers.levels()
    return [ConfigEntry(one, level, DYNAMIC_BROKER_LOGGER, UNKNOWN_TYPE) for one, level in levels.items()]


def _client_metrics(name: str, context: RequestContext) -> list[ConfigEntry]:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Client metrics subscription name must not be empty")
    return describe_client_metrics(context.services.configs.overrides(CLIENT_METRICS, name))


def _group(name: str, context: RequestContext) -> list[ConfigEntry]:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
    return describe_group(context.services.config, context.services.metadata.group_overrides(name))


_DESCRIBERS: dict[int, Callable[[str, RequestContext], list[ConfigEntry]]] = {
    TOPIC: _topic,
    BROKER: _broker,
    BROKER_LOGGER: _loggers,
    CLIENT_METRICS: _client_metrics,
    GROUP: _group,
}


@handles(AlterConfigsRequest, "0-2")
async def alter_configs(request: AlterConfigsRequest, context: RequestContext) -> AlterConfigsResponse:
    """AlterConfigs 0-2: what a resource is given replaces all that it had; in force when it is answered."""
    asked = [
        Alteration(
            one.resource_name,
            [Change(config.name, config.value) for config in one.configs],
            replaces=True,
            type=one.resource_type,
        )
        for one in request.resources
    ]
    responses = [
        AlterConfigsResponse.Response(
            error_code=ErrorCode.NONE if error is None else error.code,
            error_message=None if error is None else error.message,
            resource_type=one.type,
            resource_name=one.name,
        )
        for one, error in await _alter(asked, context, validate_only=request.validate_only)
    ]
    return AlterConfigsResponse(responses=responses)


@handles(IncrementalAlterConfigsRequest, "0-1")
async def incremental_alter_configs(
    request: IncrementalAlterConfigsRequest, context: RequestContext
) -> IncrementalAlterConfigsResponse:
    """IncrementalAlterConfigs 0-1 (KIP-339): single keys set, deleted, appended to; in force when it is answered."""
    asked = [
        Alteration(
            one.resource_name,
            [Change(config.name, config.value, config.config_operation) for config in one.configs],
            type=one.resource_type,
        )
        for one in request.resources
    ]
    responses = [
        IncrementalAlterConfigsResponse.Response(
            error_code=ErrorCode.NONE if error is None else error.code,
            error_message=None if error is None else error.message,
            resource_type=one.type,
            resource_name=one.name,
        )
        for one, error in await _alter(asked, context, validate_only=request.validate_only)
    ]
    return IncrementalAlterConfigsResponse(responses=responses)


async def _alter(
    asked: Sequence[Alteration], context: RequestContext, *, validate_only: bool
) -> Iterable[tuple[Alteration, KafkaError | None]]:
    """Changes what can be changed; None or an error for each resource, in their order."""
    counts = Counter((one.type, one.name) for one in asked)
    once = [one for one in asked if counts[one.type, one.name] == 1]
    made = iter(await context.services.configs.alter(once, validate_only=validate_only))
    twice = KafkaError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
    return [(one, next(made) if counts[one.type, one.name] == 1 else twice) for one in asked]


@handles(ListConfigResourcesRequest, "0-1")
async def list_config_resources(
    request: ListConfigResourcesRequest, context: RequestContext
) -> ListConfigResourcesResponse:
    """ListConfigResources 0-1 (KIP-1142): what has a config; version 0 lists client metrics subscriptions alone.

    No types ask for all of them. Topics and brokers are listed whether anything is set for them or not.
    """
    types = {CLIENT_METRICS} if context.api_version == 0 else set(request.resource_types)
    unknown = types - _LISTED.keys()
    if unknown:
        code = ErrorCode.UNSUPPORTED_VERSION
        return ListConfigResourcesResponse(error_code=code, config_resources=[])
    found = [
        ListConfigResourcesResponse.ConfigResource(resource_name=name, resource_type=kind)
        for kind, names in _LISTED.items()
        if not types or kind in types
        for name in names(context)
    ]
    return ListConfigResourcesResponse(config_resources=found)


def _broker_names(context: RequestContext) -> Iterable[str]:
    return [str(broker) for broker in context.services.metadata.image.brokers]


_LISTED: dict[int, Callable[[RequestContext], Iterable[str]]] = {
    GROUP: lambda context: context.services.configs.named(GROUP),
    CLIENT_METRICS: lambda context: context.services.configs.named(CLIENT_METRICS),
    BROKER_LOGGER: _broker_names,
    BROKER: _broker_names,
    TOPIC: lambda context: context.services.metadata.image.topics,
}
