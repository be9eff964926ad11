"""Telemetry subscriptions in conversation: who is asked for what, and which pushes are taken."""

from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.client_telemetry import ClientTelemetry, Push, subscription_id
from pykbroker.protocol.errors import ErrorCode, KafkaError

ONE, TWO = UUID(int=0x1111 << 64 | 0x2222), UUID(int=3)
CLIENT = {"client_id": "app-1", "client_software_name": "librdkafka", "client_source_address": "127.0.0.1"}


@pytest.fixture
def rules() -> ClientTelemetry:
    made = ClientTelemetry()
    made.subscribe("all", {"metrics": "org.apache.kafka.producer.", "interval.ms": "1000"})
    return made


def ask(rules: ClientTelemetry, now: float, instance: UUID = ONE, connection: int = 1, **client: str) -> Any:
    return rules.asked(instance, {**CLIENT, **client}, connection, now)


def push(rules: ClientTelemetry, now: float, subscription: int, instance: UUID = ONE, **values: Any) -> Any:
    sent = Push(instance, subscription, values.get("terminating", False), values.get("compression", 0), 10)
    return rules.pushed(sent, CLIENT, 1, now, values.get("max_bytes", 10))


def refused(code: ErrorCode) -> Any:
    return pytest.raises(KafkaError, check=lambda error: error.code is code)


def test_what_matching_subscriptions_ask_for(rules: ClientTelemetry) -> None:
    rules.subscribe("some", {"metrics": "b,a", "interval.ms": "500", "match": "client_id=app-.*"})
    rules.subscribe("others", {"metrics": "*", "interval.ms": "100", "match": "client_software_name=other"})
    found = ask(rules, 0)
    assert (found.metrics, found.interval_ms) == (("a", "b", "org.apache.kafka.producer."), 500)
    found = ask(rules, 0, TWO, client_software_name="other")
    assert (found.metrics, found.interval_ms) == (("*",), 100)
    assert ask(ClientTelemetry(), 0).metrics == ()


def test_an_instance_id_can_be_matched(rules: ClientTelemetry) -> None:
    rules.subscribe("all", {})
    rules.subscribe("it", {"metrics": "a", "match": "client_instance_id=AAAAAAAAAAAAAAAAAAAAAw"})
    assert ask(rules, 0, TWO).metrics == ("a",)
    assert ask(rules, 0, ONE).metrics == ()


def test_subscription_ids() -> None:
    ids = {
        subscription_id(instance, metrics, interval)
        for instance in (ONE, TWO)
        for metrics in (("a",), ("b",))
        for interval in (1000, 2000)
    }
    assert len(ids) == 8
    assert all(-(1 << 31) <= one < 1 << 31 for one in ids)


def test_pushes_keep_the_interval(rules: ClientTelemetry) -> None:
    known = ask(rules, 0).subscription_id
    push(rules, 600, known)  # The first one after a question may be early.
    with refused(ErrorCode.THROTTLING_QUOTA_EXCEEDED):
        push(rules, 1000, known)
    with refused(ErrorCode.THROTTLING_QUOTA_EXCEEDED):
        ask(rules, 1200)
    push(rules, 1600, known)
    ask(rules, 2600)


def test_a_subscription_that_changes(rules: ClientTelemetry) -> None:
    known = ask(rules, 0).subscription_id
    rules.subscribe("all", {"metrics": "other", "interval.ms": "1000"})
    with refused(ErrorCode.UNKNOWN_SUBSCRIPTION_ID):
        push(rules, 1000, known)
    found = ask(rules, 1001)
    assert found.metrics == ("other",)
    push(rules, 2000, found.subscription_id)
    rules.subscribe("all", {})
    rules.subscribe("never there", {})
    assert ask(rules, 2001).metrics == ()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"compression": 5}, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        ({"max_bytes": 9}, ErrorCode.TELEMETRY_TOO_LARGE),
        ({"instance": UUID(int=0)}, ErrorCode.INVALID_REQUEST),
        ({"instance": UUID(int=1)}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_pushes_that_are_refused(rules: ClientTelemetry, values: dict[str, Any], code: ErrorCode) -> None:
    known = ask(rules, 0).subscription_id
    with refused(code):
        push(rules, 1, known, **values)
    if code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE:
        ask(rules, 2)


def test_a_terminating_push_is_the_last(rules: ClientTelemetry) -> None:
    known = ask(rules, 0).subscription_id
    push(rules, 1, known)
    push(rules, 2, known, terminating=True)
    with refused(ErrorCode.INVALID_REQUEST):
        push(rules, 1002, known)


def test_instances_are_forgotten(rules: ClientTelemetry) -> None:
    ask(rules, 0)
    ask(rules, 1, TWO, connection=2)
    rules.disconnected(2)
    rules.disconnected(2)
    assert len(rules) == 1
    with refused(ErrorCode.THROTTLING_QUOTA_EXCEEDED):
        ask(rules, 2)
    ask(rules, 60_003, TWO)
    assert len(rules) == 1


def test_there_are_only_so_many_instances() -> None:
    rules = ClientTelemetry(most_instances=10)
    for number in range(100):
        ask(rules, number, UUID(int=2 + number), connection=number)
    assert len(rules) == 10
    with refused(ErrorCode.THROTTLING_QUOTA_EXCEEDED):
        ask(rules, 100, UUID(int=101))
    ask(rules, 100, UUID(int=2))
