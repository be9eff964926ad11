"""Transactions over several brokers: markers and questions between them, and a coordinator that is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.testing import KafkaCluster
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow

PARTITIONS = 6
COORDINATOR_PARTITIONS = 5


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    config = {
        "replica.lag.time.max.ms": 400,
        "transaction.state.log.num.partitions": COORDINATOR_PARTITIONS,
        "offsets.topic.num.partitions": COORDINATOR_PARTITIONS,
    }
    with KafkaCluster(config=config) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(cluster: KafkaCluster) -> Iterator[None]:
    yield
    for broker in {1, 2, 3} - set(cluster.brokers):
        cluster.restart(broker)


def create(cluster: KafkaCluster, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 3)])[topic].result()


def coordinator(cluster: KafkaCluster, name: str) -> int:
    """The broker that a transactional id belongs to."""
    host, _, port = cluster.bootstrap_servers.split(",")[0].rpartition(":")
    with WireClient(host, int(port)) as client:
        found: int = client.request(FindCoordinatorRequest(key_type=1, key=name), 3).node_id
    return found


def producer_for(cluster: KafkaCluster, name: str) -> Producer:
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": name, "linger.ms": 0})
    producer.init_transactions(30)
    return producer


def send(producer: Producer, topic: str, value: str) -> None:
    """One record to each partition."""
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic, f"{value}-{partition}", partition=partition)


def again(call: object, *arguments: object) -> None:
    """As librdkafka asks: what may be tried again is."""
    assert callable(call)
    while True:
        try:
            call(*arguments)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        else:
            return


def committed(cluster: KafkaCluster, topic: str, count: int) -> list[str]:
    """What a reader of committed records finds, and nothing behind it."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": "none",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: list[str] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        found += [one.value().decode() for one in consumer.consume(100, 0.2) if one.error() is None]
    found += [one.value().decode() for one in consumer.consume(100, 0.5) if one.error() is None]
    consumer.close()
    return sorted(found)


def all_of(*values: str) -> list[str]:
    return sorted(f"{value}-{partition}" for value in values for partition in range(PARTITIONS))


def test_a_transaction_over_all_brokers(cluster: KafkaCluster) -> None:
    create(cluster, "over-all")
    producer = producer_for(cluster, "over-all")
    send(producer, "over-all", "one")
    producer.commit_transaction(30)
    send(producer, "over-all", "never")
    producer.flush(30)
    producer.abort_transaction(30)
    send(producer, "over-all", "two")
    producer.commit_transaction(30)
    assert committed(cluster, "over-all", 2 * PARTITIONS) == all_of("one", "two")


def test_the_coordinator_is_killed_within_a_transaction(cluster: KafkaCluster) -> None:
    create(cluster, "killed")
    producer = producer_for(cluster, "killed")
    send(producer, "killed", "one")
    producer.flush(30)
    cluster.kill(coordinator(cluster, "killed"))
    again(producer.commit_transaction, 60)
    send(producer, "killed", "two")
    again(producer.commit_transaction, 60)
    assert committed(cluster, "killed", 2 * PARTITIONS) == all_of("one", "two")


def test_another_producer_takes_over_when_its_coordinator_is_killed(cluster: KafkaCluster) -> None:
    create(cluster, "taken-over")
    first = producer_for(cluster, "taken-over")
    send(first, "taken-over", "never")
    first.flush(30)
    cluster.kill(coordinator(cluster, "taken-over"))
    second = producer_for(cluster, "taken-over")
    send(second, "taken-over", "kept")
    again(second.commit_transaction, 60)
    with pytest.raises(KafkaException):
        first.commit_transaction(30)
    assert committed(cluster, "taken-over", PARTITIONS) == all_of("kept")
