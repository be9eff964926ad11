"""A rolling restart of three brokers under the clients of others: none of them sees an error that it doesn't mend."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest
from tests.scenarios.real_cluster import RealCluster, eventually, real_cluster

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It reads its resources in a way that Python 3.11 advises against.
    import kafka

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:kafka"),
    pytest.mark.skipif("PYKBROKER_MATRIX" not in os.environ, reason="make matrix runs it"),
]
PAUSE_S = 0.01


class Told:
    """What a client was told: values sent and acknowledged, values read, errors."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.read: list[str] = []
        self.errors: list[object] = []


def with_librdkafka(servers: str, told: Told, done: threading.Event) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})

    def delivered(error: object, message: confluent_kafka.Message) -> None:
        if error is None:
            told.acknowledged.append(message.value().decode())
        else:
            told.errors.append(error)

    for value in values(done):
        producer.produce("t", value, on_delivery=delivered)
        producer.poll(PAUSE_S)
    if producer.flush(60):
        told.errors.append("not all was sent")


def read_with_librdkafka(servers: str, told: Told, done: threading.Event) -> None:
    settings = {"bootstrap.servers": servers, "group.id": "librdkafka", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer(settings)
    consumer.subscribe(["t"])
    while not done.is_set():
        message = consumer.poll(0.1)
        if message is not None and message.error() is not None:
            told.errors.append(message.error())
        elif message is not None:
            told.read.append(message.value().decode())
    consumer.close()


def with_kafka_python(servers: str, told: Told, done: threading.Event) -> None:
    producer = kafka.KafkaProducer(bootstrap_servers=servers.split(","), acks="all")
    for value in values(done):
        future = producer.send("t", value.encode())
        future.add_callback(lambda _, value=value: told.acknowledged.append(value))
        future.add_errback(told.errors.append)
        time.sleep(PAUSE_S)
    producer.flush(60)
    producer.close()


def read_with_kafka_python(servers: str, told: Told, done: threading.Event) -> None:
    consumer = kafka.KafkaConsumer(
        "t", bootstrap_servers=servers.split(","), group_id="kafka-python", auto_offset_reset="earliest"
    )
    while not done.is_set():
        for records in consumer.poll(100).values():
            told.read.extend(record.value.decode() for record in records)
    consumer.close()


def values(done: threading.Event) -> Iterator[str]:
    number = 0
    while not done.is_set():
        yield f"{threading.get_ident()}-{number}"
        number += 1


@contextmanager
def running(work: Callable[[str, Told, threading.Event], None], servers: str, told: Told) -> Iterator[threading.Event]:
    done = threading.Event()

    def run() -> None:
        try:
            work(servers, told, done)
        except Exception as error:
            told.errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        done.set()
        thread.join(90)
        assert not thread.is_alive()


def close_sockets() -> None:
    """kafka-python leaves some of its sockets open when it is closed."""
    for one in gc.get_objects():
        if isinstance(one, socket.socket) and one.fileno() >= 0 and one.type == socket.SOCK_STREAM:
            one.close()


def restart_all(cluster: RealCluster) -> None:
    for number in (1, 2, 3):
        cluster.stop(number)
        cluster.start(number)
        eventually("all are in sync", lambda number=number: set(cluster.partition(number, "t").isr_nodes) == {1, 2, 3})


@pytest.mark.parametrize(
    ("write", "read"),
    [(with_librdkafka, read_with_librdkafka), (with_kafka_python, read_with_kafka_python)],
    ids=["librdkafka", "kafka-python"],
)
def test_a_rolling_restart_is_nothing_to_a_client(
    write: Callable[[str, Told, threading.Event], None],
    read: Callable[[str, Told, threading.Event], None],
    tmp_path: Path,
    zookeeper_chroot: str,
) -> None:
    told = Told()
    internal = {"offsets_topic_num_partitions": "3"}
    with real_cluster(tmp_path, zookeeper_chroot, **internal) as cluster:
        cluster.create("t", [1, 2, 3], min_insync_replicas="2")
        servers = ",".join(broker.bootstrap_servers for broker in cluster.brokers.values())
        with running(read, servers, told):
            with running(write, servers, told):
                eventually("records come", lambda: len(told.read) > 20)
                restart_all(cluster)
                sent = len(told.acknowledged)
                eventually("records come still", lambda: len(told.acknowledged) > sent + 20)
            eventually("all that was sent is read", lambda: set(told.read) >= set(told.acknowledged))
    close_sockets()
    assert told.errors == []
    assert len(set(told.acknowledged)) == len(told.acknowledged) > 40
    in_order = list(dict.fromkeys(told.read))
    assert in_order == sorted(in_order, key=lambda value: int(value.rpartition("-")[2])), "one writer's order"
