"""A group's config: its own values within the broker's bounds."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.group import DynamicGroupConfig, validate_group_overrides
from pykbroker.config.keys import ConfigError

BROKER = BrokerConfig()


def test_values_that_are_not_set_are_the_brokers() -> None:
    broker = BrokerConfig.from_properties({"group.consumer.heartbeat.interval.ms": "6000"})
    config = DynamicGroupConfig.resolve(broker, {"share.auto.offset.reset": "earliest", "of.another.release": "1"})
    assert config.consumer_heartbeat_interval_ms == 6000
    assert config.share_auto_offset_reset == "earliest"
    assert config.share_isolation_level == "read_uncommitted"


def test_values_are_kept_within_the_brokers_bounds() -> None:
    stored = {"consumer.session.timeout.ms": "1", "share.delivery.count.limit": "99"}
    config = DynamicGroupConfig.resolve(BROKER, stored)
    assert (config.consumer_session_timeout_ms, config.share_delivery_count_limit) == (45000, 10)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"no.such": "1"}, "Unknown group config name: no.such"),
        (
            {"consumer.session.timeout.ms": "1"},
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            {"share.record.lock.duration.ms": "70000"},
            "share.record.lock.duration.ms must be less than or equal to group.share.max.record.lock.duration.ms",
        ),
        (
            {"streams.num.standby.replicas": "3"},
            "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas",
        ),
        ({"share.auto.offset.reset": "sometimes"}, "String must be one of: latest, earliest, by_duration:PnDTnHnMn.nS"),
    ],
)
def test_what_may_not_be_set(overrides: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_group_overrides(BROKER, overrides)
    assert caught.value.allowed == said


def test_a_session_outlasts_a_heartbeat() -> None:
    broker = BrokerConfig.from_properties({"group.consumer.min.session.timeout.ms": "5000"})
    validate_group_overrides(broker, {"consumer.session.timeout.ms": "6000"})
    with pytest.raises(ConfigError, match="must be greater than consumer"):
        validate_group_overrides(broker, {"consumer.session.timeout.ms": "5000"})
