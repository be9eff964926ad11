"""The group coordinator's settings follow the broker's config."""

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.coordinator.group.config import GroupConfig
from pykbroker.server.group_coordinator import follow


def test_settings_are_the_brokers() -> None:
    live, settings = LiveConfig(BrokerConfig(group_max_size=7)), GroupConfig()
    follow(settings, live)
    assert (settings.group_max_size, settings.group_consumer_assignment_interval_ms) == (7, 1000)
    live.subscribe(lambda changed: follow(settings, live))
    live.update(default={"group.consumer.assignment.interval.ms": "5"})
    assert (settings.group_max_size, settings.group_consumer_assignment_interval_ms) == (7, 5)
    assert settings.group_consumer_regex_refresh_interval_ms == 600_000
