"""DescribeConfigs."""

from collections.abc import Callable
from typing import Any

import pytest

from pykbroker.apis.configs import BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC, describe_configs
from pykbroker.controller.topics import NewTopic
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest


def asking(kind: int, name: str, *keys: str, **fields: Any) -> DescribeConfigsRequest:
    resource = DescribeConfigsRequest.Resource(
        resource_type=kind, resource_name=name, configuration_keys=list(keys) or None
    )
    return DescribeConfigsRequest(resources=[resource], **fields)


async def described(broker: Any, request: DescribeConfigsRequest, version: int = 4) -> Any:
    (result,) = (await broker.ask(describe_configs, request, version)).results
    return result


@pytest.mark.parametrize("version", range(5))
async def test_a_topic_in_every_version(one_broker: Any, version: int) -> None:
    await one_broker.services.controller.create_topics([NewTopic("t", config={"retention.ms": "5"})])
    result = await described(one_broker, asking(TOPIC, "t", include_synonyms=version >= 1), version)
    assert (result.error_code, result.resource_type, result.resource_name) == (ErrorCode.NONE, TOPIC, "t")
    configs = {config.name: config for config in result.configs}
    assert len(configs) == 33
    assert (configs["retention.ms"].value, configs["retention.ms"].read_only) == ("5", False)
    if version == 0:
        assert (configs["retention.ms"].is_default, configs["segment.bytes"].is_default) == (False, True)
    else:
        assert (configs["retention.ms"].config_source, configs["segment.bytes"].config_source) == (1, 5)
        synonyms = [(one.name, one.value, one.source) for one in configs["retention.ms"].synonyms]
        assert synonyms == [("retention.ms", "5", 1)]
    if version >= 3:
        assert (configs["retention.ms"].config_type, configs["retention.ms"].documentation) == (5, None)


async def test_what_keys_are_for(one_broker: Any) -> None:
    result = await described(one_broker, asking(BROKER, "1", "num.partitions", include_documentation=True))
    assert result.configs[0].documentation == "How many partitions a topic has that is made without a number."


async def test_only_the_keys_asked_for(one_broker: Any) -> None:
    result = await described(one_broker, asking(BROKER, "1", "num.partitions", "no.such"))
    assert [(config.name, config.value) for config in result.configs] == [("num.partitions", "1")]
    assert result.configs[0].synonyms == []


async def test_a_broker(start_broker: Callable[..., Any]) -> None:
    broker = await start_broker(num_partitions=4)
    result = await described(broker, asking(BROKER, "1"))
    configs = {config.name: config for config in result.configs}
    assert (configs["num.partitions"].value, configs["num.partitions"].config_source) == ("4", 4)
    assert configs["num.partitions"].read_only
    assert configs["group.initial.rebalance.delay.ms"].value == "0"
    assert len(configs) == 341, "Kafka 4.3's 340, and inter.broker.protocol.version"


async def test_the_dynamic_defaults_of_all_brokers_are_none(one_broker: Any) -> None:
    result = await described(one_broker, asking(BROKER, ""))
    assert (result.error_code, result.configs) == (ErrorCode.NONE, [])


async def test_loggers_metrics_and_groups(one_broker: Any) -> None:
    loggers = await described(one_broker, asking(BROKER_LOGGER, "1"))
    assert "root" in [config.name for config in loggers.configs]
    metrics = await described(one_broker, asking(CLIENT_METRICS, "m"))
    assert [config.value for config in metrics.configs] == ["300000", "", ""]
    group = await described(one_broker, asking(GROUP, "g"))
    assert len(group.configs) == 17


@pytest.mark.parametrize(
    ("kind", "name", "code", "said"),
    [
        (TOPIC, "none", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ""),
        (TOPIC, "a b", ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid"),
        (BROKER, "2", ErrorCode.INVALID_REQUEST, "Unexpected broker id, expected 1 or empty string, but received 2"),
        (BROKER, "x", ErrorCode.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
        (BROKER_LOGGER, "2", ErrorCode.INVALID_REQUEST, "Unexpected broker id, expected 1 but received 2"),
        (BROKER_LOGGER, "", ErrorCode.INVALID_REQUEST, "Broker id must not be empty"),
        (CLIENT_METRICS, "", ErrorCode.INVALID_REQUEST, "must not be empty"),
        (GROUP, "", ErrorCode.INVALID_REQUEST, "Group name must not be empty"),
        (99, "x", ErrorCode.INVALID_REQUEST, "Unsupported resource type: 99"),
    ],
)
async def test_what_cannot_be_described(one_broker: Any, kind: int, name: str, code: ErrorCode, said: str) -> None:
    result = await described(one_broker, asking(kind, name))
    assert (result.error_code, result.configs) == (code, [])
    assert said in result.error_message
