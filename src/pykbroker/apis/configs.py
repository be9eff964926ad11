"""DescribeConfigs: the config of topics, brokers, groups, broker loggers and client metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable

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
from pykbroker.controller.topics import invalid_name
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from pykbroker.server.request import RequestContext, handles

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32

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
