"""Milliseconds of single records at a fixed rate, through librdkafka: to the acknowledgement, or to the consumer.

A record goes out when its time has come, whether or not those before it are back, so a pause of the broker counts for
every record that falls into it.
"""

from __future__ import annotations

import struct
import time
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message, Producer, TopicPartition

from benchmarks.measurements import QUIET, LostRecordsError
from benchmarks.records import text_values
from benchmarks.targets import Target

PER_SECOND = 500
WARM_UP = 250
SIZE = 100
SHORTEST_WAIT = 0.001  # librdkafka counts in milliseconds.
GIVE_UP = 30.0
_SENT = struct.Struct(">d")


def percentiles(samples: list[float]) -> dict[str, float]:
    """p50, p99 and p99.9 of at least one sample; each is a sample (nearest rank)."""
    ordered = sorted(samples)
    ranks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * rank))] for name, rank in ranks.items()}


def _producer(target: Target, acks: str) -> Producer:
    config: dict[str, Any] = {"acks": acks, "linger.ms": 0, "socket.nagle.disable": True}
    return Producer(QUIET | config | {"bootstrap.servers": target.bootstrap})


def to_acknowledgement(target: Target, topic: str, acks: str, count: int) -> dict[str, float]:
    """From produce() to the delivery report."""
    producer = _producer(target, acks)
    producer.list_topics(topic, timeout=10)
    value = text_values(SIZE)[0]
    samples: list[float] = []
    failed: list[KafkaError] = []

    def send() -> None:
        sent = time.perf_counter()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)
            samples.append((time.perf_counter() - sent) * 1000)

        producer.produce(topic, value, partition=0, on_delivery=delivered)

    def wait(seconds: float) -> None:
        producer.poll(seconds)

    _at_a_fixed_rate(send, wait, WARM_UP + count)
    _until(lambda: len(samples) == WARM_UP + count, wait)
    if failed:
        raise LostRecordsError(str(failed[0]))
    return percentiles(samples[WARM_UP:])


def end_to_end(target: Target, topic: str, count: int) -> dict[str, float]:
    """From produce() with acks=1 to the record's arrival from poll() of a consumer with librdkafka's defaults."""
    producer = _producer(target, "1")
    consumer = Consumer(QUIET | {"bootstrap.servers": target.bootstrap, "group.id": "bench"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    consumer.poll(1)  # It is at the end, and waits there.
    filling = text_values(SIZE)[0][_SENT.size :]
    samples: list[float] = []

    def send() -> None:
        producer.produce(topic, _SENT.pack(time.perf_counter()) + filling, partition=0)

    def wait(seconds: float) -> None:
        producer.poll(0)
        message = consumer.poll(seconds)
        if message is None:
            return
        arrived, value = time.perf_counter(), message.value()
        if message.error() or value is None:
            raise LostRecordsError(str(message.error()))
        samples.append((arrived - _SENT.unpack_from(value)[0]) * 1000)

    try:
        _at_a_fixed_rate(send, wait, WARM_UP + count)
        _until(lambda: len(samples) == WARM_UP + count, wait)
    finally:
        consumer.close()
    return percentiles(samples[WARM_UP:])


def _at_a_fixed_rate(send: Any, wait: Any, count: int) -> None:
    begun = time.perf_counter()
    for number in range(count):
        due = begun + number / PER_SECOND
        while (left := due - time.perf_counter()) > 0:
            wait(max(left, SHORTEST_WAIT))
        send()


def _until(done: Any, wait: Any) -> None:
    deadline = time.perf_counter() + GIVE_UP
    while not done():
        if time.perf_counter() > deadline:
            raise LostRecordsError(f"records were still away {GIVE_UP} s later")
        wait(0.1)
