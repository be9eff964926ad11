"""GetTelemetrySubscriptions and PushTelemetry over the wire: advertised where wanted, decompressed within bounds."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.get_telemetry_subscriptions import GetTelemetrySubscriptionsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.push_telemetry import PushTelemetryRequest
from pykbroker.protocol.records.compression import compress
from pykbroker.testing import KafkaBroker

CONFIGS = {"metrics": "org.apache.kafka.", "interval.ms": "100", "match": "client_software_name=tester"}


@pytest.fixture(scope="module")
def receiving() -> Iterator[KafkaBroker]:
    """A broker that takes metrics, at most 1,000 bytes at a time."""
    with KafkaBroker(telemetry=True, config={"telemetry.max.bytes": 1000}) as broker:
        yield broker


@pytest.fixture
def asked(receiving: KafkaBroker, wire_to: Callable[..., Any]) -> tuple[Any, Any]:
    """A client, and what it is asked for."""
    wire = wire_to(receiving)
    configs = [IncrementalAlterConfigsRequest.Resource.Config(name=name, value=text) for name, text in CONFIGS.items()]
    resource = IncrementalAlterConfigsRequest.Resource(resource_type=16, resource_name="mine", configs=configs)
    (altered,) = wire.request(IncrementalAlterConfigsRequest(resources=[resource]), 1).responses
    assert altered.error_code == ErrorCode.NONE
    wire.request(ApiVersionsRequest(client_software_name="tester", client_software_version="1"), 3)
    answer = wire.request(GetTelemetrySubscriptionsRequest(), 0)
    assert answer.error_code == ErrorCode.NONE
    return wire, answer


def push(asked: tuple[Any, Any], metrics: bytes, compression: int = 0, **values: Any) -> ErrorCode:
    wire, told = asked
    request = PushTelemetryRequest(
        client_instance_id=told.client_instance_id,
        subscription_id=values.get("subscription_id", told.subscription_id),
        terminating=values.get("terminating", False),
        compression_type=compression,
        metrics=metrics,
    )
    return ErrorCode(wire.request(request, 0).error_code)


def test_what_is_asked_for(asked: tuple[Any, Any]) -> None:
    _, told = asked
    assert told.client_instance_id != UUID(int=0)
    assert told.requested_metrics == ["org.apache.kafka."]
    assert (told.push_interval_ms, told.telemetry_max_bytes, told.delta_temporality) == (100, 1000, True)
    assert told.accepted_compression_types == [4, 3, 1, 2]


@pytest.mark.parametrize("compression", range(5))
def test_pushes_arrive(receiving: KafkaBroker, asked: tuple[Any, Any], compression: int) -> None:
    assert push(asked, compress(compression, b"some metrics"), compression) is ErrorCode.NONE
    pushed = receiving.telemetry[-1]
    assert pushed.client_instance_id == asked[1].client_instance_id
    assert (pushed.terminating, pushed.metrics) == (False, b"some metrics")


def test_a_last_push_with_nothing_to_tell(receiving: KafkaBroker, asked: tuple[Any, Any]) -> None:
    before = len(receiving.telemetry)
    assert push(asked, b"", terminating=True) is ErrorCode.NONE
    assert push(asked, b"", terminating=True) is ErrorCode.INVALID_REQUEST
    assert len(receiving.telemetry) == before


def test_pushes_that_are_refused(receiving: KafkaBroker, asked: tuple[Any, Any]) -> None:
    before = len(receiving.telemetry)
    assert push(asked, b"x", subscription_id=1, terminating=False) is ErrorCode.UNKNOWN_SUBSCRIPTION_ID
    assert push(asked, bytes(1001)) is ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert len(receiving.telemetry) == before


@pytest.mark.parametrize(
    ("metrics", "compression", "code"),
    [
        (bytes(1001), 0, ErrorCode.TELEMETRY_TOO_LARGE),
        (b"x", 9, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (b"no zstd", 4, ErrorCode.INVALID_RECORD),
        (compress(4, bytes(40_000)), 4, ErrorCode.INVALID_RECORD),
    ],
)
def test_what_is_not_taken(asked: tuple[Any, Any], metrics: bytes, compression: int, code: ErrorCode) -> None:
    assert push(asked, metrics, compression) is code


def test_advertised_only_where_wanted(
    receiving: KafkaBroker, shared_broker: KafkaBroker, wire_to: Callable[..., Any]
) -> None:
    telemetry = {ApiKey.GET_TELEMETRY_SUBSCRIPTIONS, ApiKey.PUSH_TELEMETRY}
    for broker, wanted in ((receiving, telemetry), (shared_broker, set())):
        request = ApiVersionsRequest(client_software_name="tester", client_software_version="1")
        keys = {one.api_key for one in wire_to(broker).request(request, 3).api_keys}
        assert keys & telemetry == wanted


def test_a_reporter_for_a_broker_of_its_own(wire_to: Callable[..., Any]) -> None:
    with KafkaBroker(config={"metric.reporters": "pykbroker.telemetry.Log"}) as broker:
        told = wire_to(broker).request(GetTelemetrySubscriptionsRequest(), 0)
        assert (told.error_code, told.requested_metrics, told.push_interval_ms) == (ErrorCode.NONE, [], 300_000)
