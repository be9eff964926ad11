"""What a topic's overrides come to after a change, with Kafka's codes and messages."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.configs import APPEND, DELETE, SET, SUBTRACT, Alteration, Change, check_form, plan_topic
from pykbroker.protocol.errors import ErrorCode, KafkaError

CONFIG = BrokerConfig()


def planned(current: dict[str, str], *changes: Change, topic: str = "t", replaces: bool = False) -> dict[str, str]:
    alteration = Alteration(topic, changes, replaces)
    check_form(alteration)
    return plan_topic(CONFIG, alteration, current if topic == "t" else None)


def refusal(*changes: Change, topic: str = "t") -> tuple[ErrorCode, str | None]:
    with pytest.raises(KafkaError) as caught:
        planned({}, *changes, topic=topic)
    return caught.value.code, caught.value.message


def policy(operation: int, value: str) -> Change:
    return Change("cleanup.policy", value, operation)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({}, Change("retention.ms", "5"), {"retention.ms": "5"}),
        ({"retention.ms": "5"}, Change("retention.ms", "6"), {"retention.ms": "6"}),
        ({"retention.ms": "5"}, Change("retention.ms", None, DELETE), {}),
        ({}, Change("retention.ms", None, DELETE), {}),
        ({}, Change("no.such", None, DELETE), {}),
        ({}, policy(APPEND, "compact"), {"cleanup.policy": "delete,compact"}),
        ({"cleanup.policy": "compact"}, policy(APPEND, "compact"), {"cleanup.policy": "compact"}),
        ({"cleanup.policy": ""}, policy(APPEND, "compact,delete,compact"), {"cleanup.policy": "compact,delete"}),
        ({}, policy(SUBTRACT, "delete"), {"cleanup.policy": ""}),
        ({"cleanup.policy": "delete, compact"}, policy(SUBTRACT, "delete"), {"cleanup.policy": "compact"}),
        ({"cleanup.policy": "compact"}, policy(SUBTRACT, "delete"), {"cleanup.policy": "compact"}),
    ],
)
def test_one_key(before: dict[str, str], change: Change, after: dict[str, str]) -> None:
    assert planned(before, change) == after
    assert planned(before | {"flush.ms": "9"}, change) == after | {"flush.ms": "9"}


def test_a_list_that_is_not_overridden_starts_as_the_broker_has_it() -> None:
    broker = BrokerConfig.from_properties({"log.cleanup.policy": "compact"})
    alteration = Alteration("t", [policy(APPEND, "delete")])
    assert plan_topic(broker, alteration, {}) == {"cleanup.policy": "compact,delete"}


def test_all_overrides_are_replaced() -> None:
    before = {"retention.ms": "5", "flush.ms": "9"}
    assert planned(before, Change("retention.ms", "6"), replaces=True) == {"retention.ms": "6"}
    assert planned(before, replaces=True) == {}


def test_overrides_of_another_release_are_kept_until_they_are_touched() -> None:
    before = {"of.another.release": "1"}
    assert planned(before, Change("flush.ms", "9")) == before | {"flush.ms": "9"}
    assert planned(before, Change("of.another.release", None, DELETE)) == {}


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (
            Change("retention.ms", "x"),
            ErrorCode.INVALID_CONFIG,
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            Change("segment.bytes", "1"),
            ErrorCode.INVALID_CONFIG,
            "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (Change("no.such", "1"), ErrorCode.INVALID_CONFIG, "Unknown topic config name: no.such"),
        (
            policy(APPEND, "shred"),
            ErrorCode.INVALID_CONFIG,
            "Invalid value delete,shred for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            Change("retention.ms", "1", APPEND),
            ErrorCode.INVALID_CONFIG,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            Change("no.such", "1", SUBTRACT),
            ErrorCode.INVALID_CONFIG,
            "Can't SUBTRACT to key no.such because its type is not LIST.",
        ),
        (Change("retention.ms", None), ErrorCode.INVALID_REQUEST, "Null value not supported for : retention.ms"),
        (Change("retention.ms", "1", 9), ErrorCode.UNKNOWN_SERVER_ERROR, None),
        (
            Change("follower.replication.throttled.replicas", "x" * 32768),
            ErrorCode.INVALID_CONFIG,
            "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.",
        ),
    ],
)
def test_what_is_refused(change: Change, code: ErrorCode, said: str | None) -> None:
    assert refusal(change) == (code, said)


def test_conflicts_between_keys_are_refused() -> None:
    twice = refusal(Change("retention.ms", "1"), Change("retention.ms", None, DELETE))
    assert twice == (ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    code, said = refusal(Change("min.compaction.lag.ms", "10"), Change("max.compaction.lag.ms", "5"))
    assert code is ErrorCode.INVALID_CONFIG
    assert said == "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"


def test_topics_that_are_not_there() -> None:
    change = Change("retention.ms", "1", SET)
    unknown = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'none' does not exist.")
    assert refusal(change, topic="none") == unknown
    assert refusal(topic="none") == unknown
    assert refusal(Change("no.such", "1"), topic="none")[0] is ErrorCode.INVALID_CONFIG
    assert refusal(change, topic="a b")[0] is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert refusal(change, topic="") == (ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
