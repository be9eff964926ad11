"""A share group in a cluster: leaders and the states' coordinators are on different brokers, and both move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import AcknowledgeType, Message, Producer, ShareConsumer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pykbroker.testing import KafkaCluster

pytestmark = pytest.mark.slow

PARTITIONS = 6
EACH = 5
SECONDS = 40
CONFIG = {
    "group.share.min.heartbeat.interval.ms": 300,
    "group.share.heartbeat.interval.ms": 300,
    "share.coordinator.state.topic.num.partitions": 12,
    "offsets.topic.num.partitions": 12,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(config=CONFIG) as made:
        yield made


def prepare(cluster: KafkaCluster, name: str) -> None:
    """A topic whose share group begins at its first record."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(name, PARTITIONS, 3)])[name].result()
    earliest = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, name, incremental_configs=[earliest])
    admin.incremental_alter_configs([resource])[resource].result()
    produce(cluster, name, 0)


def produce(cluster: KafkaCluster, topic: str, first: int) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all", "linger.ms": 5})
    for index in range(PARTITIONS):
        for number in range(first, first + EACH):
            producer.produce(topic, str(number), partition=index)
    assert producer.flush(SECONDS) == 0


class Sharer:
    """A share consumer that keeps account of what it was handed and what it accepted."""

    def __init__(self, cluster: KafkaCluster, group: str) -> None:
        self.accepted: list[tuple[int, int]] = []
        self.deliveries: dict[tuple[int, int], list[int]] = {}
        config = {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": group,
            "share.acknowledgement.mode": "explicit",
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 200,
            "log_level": 2,
        }
        self._consumer = ShareConsumer(config)
        self._consumer.subscribe([group])

    def take(self, count: int, kind: Callable[[Message], AcknowledgeType]) -> None:
        """Answers records until so many are accepted in all."""
        deadline = time.monotonic() + SECONDS
        while len(self.accepted) < count:
            assert time.monotonic() < deadline, f"only {len(self.accepted)} of {count} records: {self.deliveries}"
            answers = {}
            for message in self._consumer.poll(0.2):
                if message.error() is not None:
                    continue
                place = message.partition(), message.offset()
                self.deliveries.setdefault(place, []).append(message.delivery_count())
                answers[place] = kind(message)
                self._consumer.acknowledge(message, answers[place])
            failed = {tp.partition for tp, error in self._consumer.commit_sync(10).items() if error is not None}
            self.accepted += [
                place
                for place, answer in answers.items()
                if answer == AcknowledgeType.ACCEPT and place[0] not in failed
            ]

    def close(self) -> None:
        self._consumer.close()


def accept(message: Message) -> AcknowledgeType:
    return AcknowledgeType.ACCEPT


def release_once(message: Message) -> AcknowledgeType:
    return AcknowledgeType.RELEASE if message.delivery_count() == 1 else AcknowledgeType.ACCEPT


def test_leaders_have_states_stored_on_other_brokers(cluster: KafkaCluster) -> None:
    prepare(cluster, "apart")
    sharer = Sharer(cluster, "apart")
    sharer.take(PARTITIONS * EACH, release_once)
    sharer.close()
    assert {cluster.leader("apart", index) for index in range(PARTITIONS)} == {1, 2, 3}
    assert {cluster.leader("__share_group_state", index) for index in range(12)} == {1, 2, 3}
    assert all(counts == [1, 2] for counts in sharer.deliveries.values()), sharer.deliveries


def test_what_is_accepted_stays_so_when_leaders_and_coordinators_move(cluster: KafkaCluster) -> None:
    prepare(cluster, "moving")
    sharer = Sharer(cluster, "moving")
    sharer.take(PARTITIONS * EACH, release_once)
    for broker in (1, 2, 3):
        cluster.restart(broker)
    produce(cluster, "moving", EACH)
    sharer.take(2 * PARTITIONS * EACH, accept)
    sharer.close()
    assert len(set(sharer.accepted)) == len(sharer.accepted), "what is accepted is never handed out again"


def test_a_killed_leader_s_records_go_on(cluster: KafkaCluster) -> None:
    prepare(cluster, "killed")
    sharer = Sharer(cluster, "killed")
    sharer.take(PARTITIONS * EACH, accept)
    cluster.kill(cluster.leader("killed", 0))
    produce(cluster, "killed", EACH)
    sharer.take(2 * PARTITIONS * EACH, accept)
    sharer.close()
    assert len(set(sharer.accepted)) == 2 * PARTITIONS * EACH
