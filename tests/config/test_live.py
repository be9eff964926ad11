"""A broker's config that follows what is set dynamically."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.live import LiveConfig


def live(**properties: str) -> LiveConfig:
    texts = {name.replace("_", "."): text for name, text in properties.items()}
    return LiveConfig(BrokerConfig.from_properties(texts))


def test_a_brokers_own_value_stands_before_the_clusters_and_the_static_one() -> None:
    config = live(message_max_bytes="1")
    assert config.message_max_bytes == 1
    assert config.update(default={"message.max.bytes": "2"}) == {"message.max.bytes"}
    assert config.message_max_bytes == 2
    assert config.update(own={"message.max.bytes": "3"}) == {"message.max.bytes"}
    assert config.message_max_bytes == 3
    assert config.update(default={}) == frozenset()
    assert config.update(own={}) == {"message.max.bytes"}
    assert (config.message_max_bytes, config.static_config.message_max_bytes) == (1, 1)


def test_a_dynamic_synonym_stands_before_a_static_one() -> None:
    config = live(log_retention_hours="5")
    config.update(default={"log.retention.ms": "7"})
    assert config.retention_ms == 7
    assert config.topic_defaults()["retention_ms"] == 7
    assert config.is_set("log.retention.ms")


def test_subscribers_are_told_what_changed() -> None:
    config, told = live(), []
    config.subscribe(told.append)
    config.update(own={"max.connections": "5", "listener.name.a.ssl.keystore.location": "x"})
    config.update(own={"max.connections": "5", "listener.name.a.ssl.keystore.location": "y"})
    config.update(own={"max.connections": "5", "listener.name.a.ssl.keystore.location": "y"})
    assert told == [
        {"max.connections", "listener.name.a.ssl.keystore.location"},
        {"listener.name.a.ssl.keystore.location"},
    ]
    assert config.unknown["listener.name.a.ssl.keystore.location"] == "y"


def test_a_value_that_can_not_be_read_changes_nothing() -> None:
    config = live()
    with pytest.raises(ConfigError):
        config.update(own={"max.connections": "many"})
    assert config.dynamic == {}


def test_what_would_be_is_not_what_is() -> None:
    config = live()
    assert config.with_update(default={"max.connections": "5"}).max_connections == 5
    assert config.max_connections != 5


def test_a_static_config_has_nothing_dynamic() -> None:
    config = BrokerConfig()
    config.subscribe(lambda changed: pytest.fail("nothing changes"))
    assert (config.static_config, config.dynamic, config.dynamic_default) == (config, {}, {})


def test_subscribers_are_told_of_files_that_may_have_changed() -> None:
    config, told = live(), []
    config.subscribe(told.append)
    config.touch(frozenset(["listener.name.a.ssl.keystore.location"]))
    config.touch(frozenset())
    assert told == [{"listener.name.a.ssl.keystore.location"}]
