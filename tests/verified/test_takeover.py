"""Apache Kafka 3.9.1 takes over what a broker on a ZooKeeper leaves, znodes and data directory, and gives it back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.scenarios.real_cluster import eventually
from tests.verified.apache_kafka import KafkaOnZooKeeper, Unavailable, jars

from pykbroker.cli import main
from pykbroker.cluster.features import FEATURES
from pykbroker.testing.process import BrokerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PYKBROKER_MATRIX" not in os.environ, reason="make matrix runs it"),
]
VERSION = "3.9.1"


def write(servers: str, *values: str) -> None:
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce("t", value, partition=0, on_delivery=lambda error, message: errors.append(error))
    assert producer.flush(60) == 0
    assert errors == [None] * len(values)


def read(servers: str, count: int) -> list[str]:
    """The next records of the group, which commits what it has read."""
    settings = {"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition("t", 0)])
        (committed,) = consumer.committed([TopicPartition("t", 0)], 60)
        consumer.assign([TopicPartition("t", 0, max(committed.offset, 0))])
        messages = consumer.consume(count, 60)
        consumer.commit(message=messages[-1], asynchronous=False)
        return [message.value().decode() for message in messages]
    finally:
        consumer.close()


def described(servers: str) -> tuple[str, list[int], dict[str, str]]:
    """The topic: its id, its partitions, and what is configured for it."""
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import ConfigResource, ConfigSource, ResourceType

    admin = AdminClient({"bootstrap.servers": servers})
    eventually("the broker has heard of its topics", lambda: "t" in admin.list_topics(timeout=10).topics)
    topic = admin.describe_topics(TopicCollection(["t"]))["t"].result(60)
    resource = ConfigResource(ResourceType.TOPIC, "t")
    configs = admin.describe_configs([resource])[resource].result(60)
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    overrides = {name: entry.value for name, entry in configs.items() if entry.source == own}
    return str(topic.topic_id), [one.id for one in topic.partitions], overrides


def test_apache_kafka_takes_over_and_gives_back(tmp_path: Path, zookeeper_chroot: str) -> None:
    try:
        jars(VERSION)
    except Unavailable as error:
        pytest.skip(str(error))
    data = tmp_path / "data"
    config = {
        "zookeeper.connect": zookeeper_chroot,
        "zookeeper.session.timeout.ms": "6000",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "3",
    }
    ours = BrokerProcess(data_dir=data, config=config)
    with ours as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        new = NewTopic("t", 2, 1, config={"retention.ms": "777777777"})
        admin.create_topics([new])["t"].result(60)
        write(broker.bootstrap_servers, "one", "two", "three")
        assert read(broker.bootstrap_servers, 2) == ["one", "two"]
        before = described(broker.bootstrap_servers)
        assert before[1:] == ([0, 1], {"retention.ms": "777777777"})
        # Its brokers on a ZooKeeper refuse a cluster with features, since they know none.
        off = [f"{name}=0" for name in FEATURES]
        assert main(["features", "downgrade", *off, "--bootstrap", broker.bootstrap_servers]) == 0
    with KafkaOnZooKeeper(tmp_path, data, config, VERSION) as theirs:
        assert described(theirs.bootstrap_servers) == before
        assert read(theirs.bootstrap_servers, 1) == ["three"], "the group goes on where it was"
        write(theirs.bootstrap_servers, "four", "five")
    with BrokerProcess(data_dir=data, config=config) as broker:
        assert described(broker.bootstrap_servers) == before
        assert read(broker.bootstrap_servers, 2) == ["four", "five"]
        write(broker.bootstrap_servers, "six")
        assert read(broker.bootstrap_servers, 1) == ["six"]
