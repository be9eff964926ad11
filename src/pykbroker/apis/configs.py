"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: the config of topics, brokers, groups, loggers, metrics.

Topics' alone can be changed; the controller does it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pykbroker.config.describe import (
    DEFAULT,
    DYNAMIC_BROKER_LOGGER,
    UNKNOWN_TYPE,
    ConfigEntry,
    describe_broker,
    describe_client_metrics,
    describe_group,
    describe_topic,
)
from pykbroker.controller.configs import Alteration, Change
from pykbroker.controller.topics import invalid_name
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from pykbroker.protocol.messages.incremental_alter_configs import (
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from pykbroker.server.request import RequestContext, handles

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32

_UNCHANGEABLE = {
    BROKER: "brokers",
    BROKER_LOGGER: "broker loggers",
    CLIENT_METRICS: "client metrics",
    GROUP: "groups",
}

Result = DescribeConfigsResponse.Result

_LEVELS = {"CRITICAL": "FATAL", "WARNING": "WARN", "NOTSET": "TRACE"}


@handles(DescribeConfigsRequest, "0-4")
async def describe_configs(request: DescribeConfigsRequest, context: RequestContext) -> DescribeConfigsResponse:
    """DescribeConfigs 0-4: every key of a resource, with source, type (KIP-569) and synonyms (KIP-226).

    No keys, like null, ask for all. Documentation stays null. The values of passwords and of unknown keys are hidden.
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


def _topic(name: str, context: RequestContext) -> list[ConfigEntry]:
    wrong = invalid_name(name)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong)
    topic = context.services.metadata.topic(name)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return describe_topic(context.services.config, topic.config)


def _broker(name: str, context: RequestContext) -> list[ConfigEntry]:
    """The empty name stands for the defaults of all brokers that were set dynamically: there are none."""
    if not name:
        return []
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
    """The loggers of this process that belong to the broker, with Kafka's names of levels."""
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
    _check_own_id(name, context, "")
    known = [one for one in list(logging.Logger.manager.loggerDict) if one.startswith("pykbroker")]
    levels = {one: logging.getLevelName(logging.getLogger(one).getEffectiveLevel()) for one in sorted(known)}
    levels["root"] = logging.getLevelName(logging.getLogger().level)
    return [
        ConfigEntry(one, _LEVELS.get(level, level), DYNAMIC_BROKER_LOGGER, UNKNOWN_TYPE)
        for one, level in levels.items()
    ]


def _client_metrics(name: str, context: RequestContext) -> list[ConfigEntry]:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Client metrics subscription name must not be empty")
    return describe_client_metrics()


def _group(name: str, context: RequestContext) -> list[ConfigEntry]:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
    return describe_group(context.services.config, {})


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
        _Asked(one.resource_type, one.resource_name, [Change(config.name, config.value) for config in one.configs])
        for one in request.resources
    ]
    errors = await _alter(asked, context, replaces=True, validate_only=request.validate_only)
    responses = [
        AlterConfigsResponse.Response(
            error_code=ErrorCode.NONE if error is None else error.code,
            error_message=None if error is None else error.message,
            resource_type=one.resource_type,
            resource_name=one.resource_name,
        )
        for one, error in zip(request.resources, errors, strict=True)
    ]
    return AlterConfigsResponse(responses=responses)


@handles(IncrementalAlterConfigsRequest, "0-1")
async def incremental_alter_configs(
    request: IncrementalAlterConfigsRequest, context: RequestContext
) -> IncrementalAlterConfigsResponse:
    """IncrementalAlterConfigs 0-1 (KIP-339): single keys set, deleted, appended to; in force when it is answered."""
    asked = [
        _Asked(
            one.resource_type,
            one.resource_name,
            [Change(config.name, config.value, config.config_operation) for config in one.configs],
        )
        for one in request.resources
    ]
    errors = await _alter(asked, context, replaces=False, validate_only=request.validate_only)
    responses = [
        IncrementalAlterConfigsResponse.Response(
            error_code=ErrorCode.NONE if error is None else error.code,
            error_message=None if error is None else error.message,
            resource_type=one.resource_type,
            resource_name=one.resource_name,
        )
        for one, error in zip(request.resources, errors, strict=True)
    ]
    return IncrementalAlterConfigsResponse(responses=responses)


class _Asked(NamedTuple):
    """One resource of a request."""

    type: int
    name: str
    changes: Sequence[Change]


async def _alter(
    asked: Sequence[_Asked], context: RequestContext, *, replaces: bool, validate_only: bool
) -> list[KafkaError | None]:
    """Has the controller change what can be changed; None or an error for each resource, in their order."""
    counts = Counter((one.type, one.name) for one in asked)
    answers = [_refusal(one, counts[one.type, one.name]) for one in asked]
    alterations = [
        Alteration(one.name, one.changes, replaces)
        for one, refused in zip(asked, answers, strict=True)
        if refused is None
    ]
    made = iter(await context.services.controller.alter_configs(alterations, validate_only=validate_only))
    return [next(made) if refused is None else refused for refused in answers]


def _refusal(asked: _Asked, count: int) -> KafkaError | None:
    message = None
    if count > 1:
        message = "Each resource must appear at most once."
    elif asked.type in _UNCHANGEABLE:
        message = f"The config of {_UNCHANGEABLE[asked.type]} can't be changed while this broker runs; topics' can."
    elif asked.type != TOPIC:
        message = f"Unknown resource type {asked.type}"
    return None if message is None else KafkaError(ErrorCode.INVALID_REQUEST, message)
