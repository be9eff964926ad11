"""A broker's config: synonyms, sources, warnings, and what is refused."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError


def test_defaults_are_kafkas_but_for_ours() -> None:
    config = BrokerConfig()
    assert config.socket_request_max_bytes == 104857600
    assert config.group_initial_rebalance_delay_ms == 0
    assert config.listeners == ("PLAINTEXT://127.0.0.1:9092",)
    assert config.node_id == 1
    assert not config.is_set("node.id")


def test_texts_are_parsed() -> None:
    config = BrokerConfig.from_properties({"num.partitions": "3", "auto.create.topics.enable": "False"})
    assert (config.num_partitions, config.auto_create_topics_enable) == (3, False)
    assert config.is_set("num.partitions")
    assert config.value("num.partitions") == 3


def test_values_can_be_set_by_attribute() -> None:
    config = BrokerConfig(num_partitions=3, log_dirs=("/a", "/b"))
    assert config.num_partitions == 3
    assert config.given == {"num.partitions": "3", "log.dirs": "/a,/b"}
    with pytest.raises(TypeError, match="num_partition"):
        BrokerConfig(num_partition=3)


def test_a_config_does_not_change() -> None:
    config = BrokerConfig()
    with pytest.raises(AttributeError):
        config.num_partitions = 3
    changed = config.with_properties({"num.partitions": "3"})
    assert (config.num_partitions, changed.num_partitions) == (1, 3)


@pytest.mark.parametrize(
    ("properties", "retention_ms"),
    [
        ({}, 168 * 3_600_000),
        ({"log.retention.hours": "1"}, 3_600_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "5"}, 300_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "5", "log.retention.ms": "7"}, 7),
        ({"log.retention.hours": "-1"}, -1),
    ],
)
def test_the_finer_retention_wins(properties: dict[str, str], retention_ms: int) -> None:
    assert BrokerConfig.from_properties(properties).retention_ms == retention_ms


def test_the_finer_roll_and_jitter_win() -> None:
    config = BrokerConfig.from_properties({"log.roll.hours": "2", "log.roll.jitter.hours": "1"})
    assert (config.roll_ms, config.roll_jitter_ms) == (7_200_000, 3_600_000)
    config = config.with_properties({"log.roll.ms": "5", "log.roll.jitter.ms": "6"})
    assert (config.roll_ms, config.roll_jitter_ms) == (5, 6)


def test_broker_id_stands_for_node_id() -> None:
    assert BrokerConfig.from_properties({"broker.id": "7"}).node_id == 7
    assert BrokerConfig.from_properties({"node.id": "7"}).broker_id == 7
    with pytest.raises(ConfigError, match=r"node\.id is 2"):
        BrokerConfig.from_properties({"node.id": "2", "broker.id": "1"})


def test_log_dirs_come_before_log_dir() -> None:
    assert BrokerConfig.from_properties({"log.dir": "/a"}).log_directories == ("/a",)
    assert BrokerConfig.from_properties({"log.dir": "/a", "log.dirs": "/b,/c"}).log_directories == ("/b", "/c")


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"num.partitions": "0"}, "num.partitions: '0': Value must be at least 1"),
        ({"log.retention.ms": "0"}, "log.retention.ms: '0'"),
        ({"group.min.session.timeout.ms": "10", "group.max.session.timeout.ms": "5"}, "group.min.session.timeout.ms"),
        ({"inter.broker.listener.name": "X"}, "inter.broker.listener.name: 'X': must be the name of a listener"),
        ({"listeners": "nonsense"}, "listeners: 'nonsense': expected NAME://HOST:PORT"),
    ],
)
def test_bad_values_are_refused(properties: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BrokerConfig.from_properties(properties)
    assert str(caught.value).startswith(said)


def test_unknown_names_are_warned_about_with_the_nearest_known_one() -> None:
    config = BrokerConfig.from_properties({"num.partition": "3", "qwertyuiop": "x"})
    assert config.warnings() == [
        "unknown config num.partition: did you mean num.partitions?",
        "unknown config qwertyuiop",
    ]


def test_names_that_belong_to_listeners_and_plugins_are_no_mistake() -> None:
    names = ("listener.name.internal.ssl.protocol", "listener.name.x.plain.sasl.jaas.config", "super.users")
    assert BrokerConfig.from_properties(dict.fromkeys(names, "x")).warnings() == []
