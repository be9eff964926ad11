"""The image, effective configs, and the addresses that clients are told."""

from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.image import BrokerImage, ClusterImage, Endpoint, PartitionState, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.metadata_cache import BrokerAddress, MetadataCache
from pykbroker.server.request import RequestContext

STATE = PartitionState(1, 0, (1,), (1,), 0, 1)
TOPIC = TopicImage("t", UUID(int=5), {0: STATE}, {"segment.bytes": "2000000"})


def context(listener: str = "PLAINTEXT", local: tuple[str, int] = ("127.0.0.1", 9092)) -> RequestContext:
    services: Any = None
    return RequestContext(
        services=services,
        api_key=3,
        api_version=13,
        correlation_id=1,
        client_id="c",
        client_host="/127.0.0.1",
        listener=listener,
        local_address=local,
    )


def cache(*others: BrokerImage, **texts: str) -> MetadataCache:
    made = MetadataCache(BrokerConfig.from_properties({name.replace("_", "."): text for name, text in texts.items()}))
    made.publish(ClusterImage("id").with_brokers(BrokerImage(1, {}, "r1"), *others))
    return made


def test_what_is_known_of_topics() -> None:
    known = cache()
    known.set_overrides("t", TOPIC.config)
    known.publish(known.image.with_topics(TOPIC))
    assert known.topic("t") == TOPIC
    assert known.topic_id("t") == UUID(int=5)
    assert known.topic_name(UUID(int=5)) == "t"
    assert known.partition(TopicPartition("t", 0)) == STATE
    assert known.partition(TopicPartition("t", 1)) is None
    assert known.log_config("t") == LogConfig(segment_bytes=2_000_000)
    assert known.topic("u") is known.topic_id("u") is known.partition(TopicPartition("u", 0)) is None
    assert known.log_config("u") == LogConfig()
    assert known.is_internal("__consumer_offsets")


def test_a_deleted_topics_config_is_forgotten() -> None:
    known = cache()
    known.set_overrides("t", TOPIC.config)
    known.publish(known.image.with_topics(TOPIC))
    known.publish(known.image.without_topics("t"))
    assert known.log_config("t") == LogConfig()


def test_a_config_that_cannot_be_read_leaves_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    assert cache().set_overrides("t", {"segment.bytes": "many"}) == LogConfig()
    assert "topic t keeps the broker's defaults" in caplog.text


@pytest.mark.parametrize(
    ("local", "host"),
    [
        (("10.1.2.3", 32768), "10.1.2.3"),
        (("::1", 32768), "::1"),
        (("::ffff:10.1.2.3", 32768), "10.1.2.3"),
    ],
)
def test_by_default_the_address_at_which_the_client_came(local: tuple[str, int], host: str) -> None:
    assert cache().brokers_for(context(local=local)) == [BrokerAddress(1, host, 32768, "r1")]


def test_the_advertised_address_of_the_connections_listener() -> None:
    known = cache(
        listeners="A://:9092,B://:9093,C://:9094",
        listener_security_protocol_map="A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT",
        advertised_listeners="A://kafka.example.com:19092,B://:0",
    )
    assert known.broker_for(context("A"), 1) == BrokerAddress(1, "kafka.example.com", 19092, "r1")
    assert known.broker_for(context("B", ("10.0.0.1", 5)), 1) == BrokerAddress(1, "10.0.0.1", 5, "r1")
    assert known.broker_for(context("C", ("10.0.0.2", 6)), 1) == BrokerAddress(1, "10.0.0.2", 6, "r1")


def test_other_brokers_by_the_same_listener() -> None:
    other = BrokerImage(2, {"PLAINTEXT": Endpoint("h2", 9092, "PLAINTEXT")}, None)
    hidden = BrokerImage(3, {"INTERNAL": Endpoint("h3", 9092, "PLAINTEXT")}, None)
    known = cache(other, hidden)
    assert [broker.id for broker in known.brokers_for(context())] == [1, 2]
    assert known.broker_for(context(), 2) == BrokerAddress(2, "h2", 9092, None)
    assert known.broker_for(context(), 3) is None
    assert known.broker_for(context(), 9) is None


def test_a_groups_config() -> None:
    known = cache()
    assert known.group_values("g") == {}
    known.set_group_overrides("g", {"consumer.session.timeout.ms": "50000", "of.another.release": "1"})
    assert known.group_values("g") == {"consumer.session.timeout.ms": 50000}
    assert known.group_config("g").consumer_heartbeat_interval_ms == 5000
    known.set_group_overrides("g", {"share.isolation.level": "maybe"})
    assert known.group_config("g").share_isolation_level == "read_uncommitted", "what can't be read is left out"
    known.set_group_overrides("g", {})
    assert known.group_values("g") == {}
