"""A cluster inside a test: what a laptop shows of replication, failover and cut links, with a client off the shelf."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pykbroker.coordinator.partitioning import partition_of
from pykbroker.testing import KafkaCluster, open_kafka_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(config={"replica.lag.time.max.ms": 400}) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(cluster: KafkaCluster) -> Iterator[None]:
    """Every test finds all brokers running and all links up."""
    yield
    cluster.heal()
    for broker in {1, 2, 3} - set(cluster.brokers):
        cluster.restart(broker)


def create(cluster: KafkaCluster, topic: str, replicas: int = 3, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    new = NewTopic(topic, 1, replicas, config={key.replace("_", "."): value for key, value in config.items()})
    admin.create_topics([new])[topic].result()


def produce(cluster: KafkaCluster, topic: str, *values: str, **config: Any) -> list[KafkaError | None]:
    """Sends values one after the other; each one's error."""
    settings = {"bootstrap.servers": cluster.bootstrap_servers, "acks": "all", "linger.ms": 0} | config
    errors: list[KafkaError | None] = []
    producer = Producer(settings)
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, message: errors.append(error))
        producer.flush(30)
    return errors


def consume(cluster: KafkaCluster, topic: str, count: int) -> list[str]:
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([topic])
        return [message.value().decode() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


def until(cluster: KafkaCluster, topic: str, isr: set[int]) -> None:
    deadline = time.monotonic() + 30
    while cluster.isr(topic) != isr:
        assert time.monotonic() < deadline, f"the ISR is {cluster.isr(topic)}, not {isr}"
        time.sleep(0.02)


def test_a_leader_that_is_killed_is_replaced_and_nothing_is_lost(cluster: KafkaCluster) -> None:
    create(cluster, "failover")
    assert produce(cluster, "failover", "before") == [None]
    killed = cluster.leader("failover")
    cluster.kill(killed)
    assert produce(cluster, "failover", "after") == [None]
    assert cluster.leader("failover") != killed
    assert killed not in cluster.isr("failover")
    assert consume(cluster, "failover", 2) == ["before", "after"]
    cluster.restart(killed)
    until(cluster, "failover", {1, 2, 3})


def test_below_min_insync_replicas(cluster: KafkaCluster) -> None:
    create(cluster, "min-isr", min_insync_replicas="2")
    leader = cluster.leader("min-isr")
    for broker in {1, 2, 3} - {leader}:
        cluster.kill(broker)
    until(cluster, "min-isr", {leader})
    (error,) = produce(cluster, "min-isr", "v", retries=0)
    assert error is not None
    assert error.code() == KafkaError.NOT_ENOUGH_REPLICAS


def test_a_link_that_is_cut_costs_a_place_in_the_isr_until_it_heals(cluster: KafkaCluster) -> None:
    create(cluster, "cut")
    leader = cluster.leader("cut")
    follower = next(broker for broker in (1, 2, 3) if broker != leader)
    cluster.cut(leader, follower)
    assert produce(cluster, "cut", "v") == [None]
    assert follower not in cluster.isr("cut")
    cluster.heal()
    until(cluster, "cut", {1, 2, 3})


def test_a_rolling_restart_is_nothing_to_a_client(cluster: KafkaCluster) -> None:
    create(cluster, "rolling")
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap_servers, "enable.idempotence": True, "message.timeout.ms": 30_000}
    )
    errors: list[KafkaError] = []
    sent = 0
    for broker in (1, 2, 3):
        cluster.restart(broker)
        until(cluster, "rolling", {1, 2, 3})
        for _ in range(20):
            producer.produce("rolling", str(sent), on_delivery=lambda error, _: errors.append(error) if error else None)
            sent += 1
            producer.poll(0)
    assert producer.flush(30) == 0
    assert errors == []
    assert consume(cluster, "rolling", sent) == [str(number) for number in range(sent)]


def test_groups_move_with_their_partitions_leader(cluster: KafkaCluster) -> None:
    create(cluster, "moving")
    produce(cluster, "moving", "a", "b", "c")
    settings = {
        "bootstrap.servers": cluster.bootstrap_servers,
        "group.id": "moving",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.subscribe(["moving"])
    assert [message.value() for message in consumer.consume(2, 30)] == [b"a", b"b"]
    consumer.commit(asynchronous=False)
    consumer.close()
    coordinator = cluster.leader("__consumer_offsets", partition_of("moving", 5))
    cluster.kill(coordinator)
    consumer = Consumer(settings)
    consumer.subscribe(["moving"])
    assert [message.value() for message in consumer.consume(1, 30)] == [b"c"]
    consumer.close()


def test_the_controller_is_replaced(cluster: KafkaCluster) -> None:
    killed = cluster.controller
    cluster.kill(killed)
    deadline = time.monotonic() + 30
    while cluster.controller in (killed, -1):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    create(cluster, "by-the-next-controller", replicas=2)
    assert produce(cluster, "by-the-next-controller", "v") == [None]


def test_who_is_not_there(cluster: KafkaCluster) -> None:
    with pytest.raises(ValueError, match="there is no broker 9, only 1, 2, 3"):
        cluster.kill(9)
    with pytest.raises(KeyError):
        cluster.leader("no-such-topic")


def test_the_fixture(kafka_cluster: KafkaCluster) -> None:
    assert kafka_cluster.brokers == [1, 2, 3]
    assert produce(kafka_cluster, "made-by-itself", "v") == [None]
    assert len(kafka_cluster.isr("made-by-itself")) == 3


@pytest.fixture
def kafka_cluster_config() -> Mapping[str, Any]:
    return {"num.partitions": 2}


async def test_in_a_trio_programs_own_loop() -> None:
    async with open_kafka_cluster(brokers=2) as cluster:
        assert cluster.brokers == [1, 2]
        await cluster.kill(1)
        assert cluster.brokers == [2]
        with pytest.raises(ValueError, match="broker 1 isn't running"):
            await cluster.kill(1)
