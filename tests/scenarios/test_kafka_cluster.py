"""A cluster inside a test: what a laptop shows of replication, failover and cut links, with a client off the shelf."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pykbroker.broker import StartupError
from pykbroker.coordinator.partitioning import partition_of
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaCluster, open_kafka_cluster
from pykbroker.testing.client import WireClient

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


def test_all_die_and_return(cluster: KafkaCluster) -> None:
    create(cluster, "all-die")
    assert produce(cluster, "all-die", "before") == [None]
    for broker in (1, 2, 3):
        cluster.kill(broker)
    for broker in (1, 2, 3):
        cluster.restart(broker)
    until(cluster, "all-die", {1, 2, 3})
    assert produce(cluster, "all-die", "after") == [None]
    assert consume(cluster, "all-die", 2) == ["before", "after"]


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
    with pytest.raises(StartupError, match="the cluster has not been started"):
        KafkaCluster().kill(1)
    with KafkaCluster(brokers=1) as another:
        pass
    with pytest.raises(StartupError, match="the cluster has been closed"):
        another.kill(1)


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


class Batches:
    """An idempotent producer with several requests under way, over the wire: what it is answered, as it came."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        self.cluster, self.topic = cluster, topic

    def send(self, broker: int, *sequences: int, epoch: int = 0) -> list[tuple[int, int]]:
        """Batches of one record, sent before the first is answered: error code and offset of each."""
        host, _, port = self.cluster.address(broker).rpartition(":")
        with WireClient(host, int(port)) as client:
            for sequence in sequences:
                client.send(self.request(sequence, epoch), 9)
            answers = [client.receive(ProduceRequest.key, 9)[1] for _ in sequences]
        found = [answer.responses[0].partition_responses[0] for answer in answers]
        return [(one.error_code, one.base_offset) for one in found]

    def request(self, sequence: int, epoch: int) -> ProduceRequest:
        records = build_batch(
            [(None, b"%d" % sequence)], producer_id=7, producer_epoch=epoch, base_sequence=sequence, timestamp=1
        )
        data = [ProduceRequest.TopicData.PartitionData(index=0, records=records)]
        return ProduceRequest(
            acks=-1, timeout_ms=20_000, topic_data=[ProduceRequest.TopicData(name=self.topic, partition_data=data)]
        )

    def until_led(self, not_by: int) -> int:
        """The new leader, once it has taken over."""
        deadline = time.monotonic() + 30
        while (leader := self.cluster.leader(self.topic)) in (-1, not_by):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while self.send(leader, 0, epoch=-1)[0][0] == ErrorCode.NOT_LEADER_OR_FOLLOWER:
            time.sleep(0.02)  # The store knows it before the broker is told, who then refuses this as an older epoch.
        return leader


def test_a_new_leader_knows_what_a_producer_sent_to_the_one_before(cluster: KafkaCluster) -> None:
    create(cluster, "sequences", min_insync_replicas="2")
    batches, first = Batches(cluster, "sequences"), cluster.leader("sequences")
    stored = [(ErrorCode.NONE, offset) for offset in range(5)]
    assert batches.send(first, *range(5)) == stored
    follower = next(broker for broker in (1, 2, 3) if broker != first)
    refused = ErrorCode.NOT_LEADER_OR_FOLLOWER, -1
    assert batches.send(follower, 5, 6) == [refused, refused]
    cluster.kill(first)
    second = batches.until_led(not_by=first)
    assert batches.send(second, *range(5)) == stored
    assert batches.send(second, 6, 7) == [(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)] * 2
    assert batches.send(second, 5, 6, 7) == [(ErrorCode.NONE, offset) for offset in (5, 6, 7)]
    cluster.restart(first)
    until(cluster, "sequences", {1, 2, 3})
    cluster.kill(second)
    third = batches.until_led(not_by=second)
    assert batches.send(third, *range(3, 8)) == [(ErrorCode.NONE, offset) for offset in range(3, 8)]
    assert batches.send(third, 0, epoch=1) == [(ErrorCode.NONE, 8)]  # Sent again under a new epoch it is a new record.
    assert batches.send(third, 8) == [(ErrorCode.INVALID_PRODUCER_EPOCH, -1)]
