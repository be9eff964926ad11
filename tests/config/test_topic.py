"""A topic's config: its overrides over the broker's values."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.topic import LogConfig, validate_overrides


def test_defaults_are_kafkas() -> None:
    config = LogConfig()
    assert (config.segment_bytes, config.cleanup_policy, config.retention_ms) == (1 << 30, ("delete",), 604_800_000)
    assert not config.compact
    assert LogConfig.resolve(BrokerConfig(), {}) == config


def test_a_topic_takes_the_brokers_values() -> None:
    broker = BrokerConfig.from_properties({"log.retention.minutes": "5", "message.max.bytes": "99"})
    config = LogConfig.resolve(broker, {})
    assert (config.retention_ms, config.max_message_bytes) == (300_000, 99)


def test_its_own_overrides_win() -> None:
    broker = BrokerConfig.from_properties({"log.retention.minutes": "5"})
    config = LogConfig.resolve(broker, {"retention.ms": "-1", "cleanup.policy": "compact,delete"})
    assert (config.retention_ms, config.cleanup_policy, config.compact) == (-1, ("compact", "delete"), True)


def test_a_config_does_not_change() -> None:
    config = LogConfig(segment_bytes=100)
    with pytest.raises(AttributeError):
        config.segment_bytes = 5
    assert config.replace(segment_bytes=200) == LogConfig(segment_bytes=200)
    assert repr(config) == "LogConfig(segment_bytes=100)"
    with pytest.raises(TypeError, match="segment_byte"):
        LogConfig(segment_byte=1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"retention.ms": "x"}, "Not a number of type LONG"),
        ({"cleanup.policy": "shred"}, "String must be one of: compact, delete"),
        ({"no.such": "1"}, "Unknown topic config name: no.such"),
        ({"retention.ms": None}, "Null value not supported for topic configs: retention.ms"),
        (
            {"max.compaction.lag.ms": "1", "min.compaction.lag.ms": "2"},
            "conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)",
        ),
    ],
)
def test_bad_overrides_are_refused(overrides: dict[str, str | None], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_overrides(BrokerConfig(), overrides)
    assert said in caught.value.allowed


def test_good_overrides_are_kept_as_texts() -> None:
    assert validate_overrides(BrokerConfig(), {"retention.ms": "5"}) == {"retention.ms": "5"}


def test_kafkas_sentence_for_a_bad_value() -> None:
    with pytest.raises(ConfigError) as caught:
        validate_overrides(BrokerConfig(), {"retention.ms": "x"})
    assert caught.value.kafka_message == "Invalid value x for configuration retention.ms: Not a number of type LONG"
