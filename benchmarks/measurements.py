"""What is measured of a broker through librdkafka (confluent-kafka)."""

from __future__ import annotations

import ctypes
import time
import uuid
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.records import text_values
from benchmarks.targets import Target

PARTITIONS = 4  # what the mock cluster gives a topic
QUIET: dict[str, str | int | float | bool] = {"log_level": 0}
PRODUCER = QUIET | {
    "acks": 1,
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
}
CONSUMER = QUIET | {
    "enable.auto.commit": False,
    "fetch.message.max.bytes": 4_000_000,
    "fetch.max.bytes": 64_000_000,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,  # The default has whoever filled the queue wait for a second.
    "queued.max.messages.kbytes": 131_072,
    "queued.min.messages": 1_000_000,
    "check.crcs": False,
}
PER_CALL = 10_000
BYTES_PER_CALL = 1_000_000
"""So much goes to one partition before the next has its turn: each gets some, and batches fill as with one."""
TIMEOUT_SECONDS = 120.0
PARTITION_UA = -1  # librdkafka's word for a partition that its partitioner chooses


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


def keep_memory() -> None:
    """Has this process keep what its clients free.

    Memory that comes back from the system costs a page fault every 4 KB; on a virtual machine that has given it up,
    several times that. A consumer of 48 MB answers spends more time so than on all else, and whoever is measured first
    spends it for both.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class LostRecordsError(Exception):
    """A run whose figures mean nothing, because the broker did not do all of the work."""


@dataclass(frozen=True)
class Load:
    """`count` records of `size` bytes, zeros or text; `codec` as librdkafka's compression.type."""

    size: int
    count: int
    partitions: int = PARTITIONS
    codec: str = "none"
    text: bool = False

    def batch(self) -> list[dict[str, Any]]:
        """What one call hands over, at most."""
        values = text_values(self.size) if self.text else [bytes(self.size)]
        records = min(BYTES_PER_CALL // self.size, self.count)
        return [{"value": values[place % len(values)]} for place in range(records)]


def create_topic(target: Target, partitions: int = PARTITIONS) -> str:
    """A new topic, ready to be written."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(QUIET | {"bootstrap.servers": target.bootstrap})
    if target.topics_are_created:
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    deadline = time.monotonic() + 30
    while True:
        found = admin.list_topics(name, timeout=10).topics[name].partitions
        if len(found) == partitions and all(p.leader >= 0 for p in found.values()):
            return name
        if time.monotonic() > deadline:
            raise LostRecordsError(f"{target.name} made no topic within 30 s")
        time.sleep(0.02)


def delete_topic(target: Target, topic: str) -> None:
    if target.topics_are_created:
        admin = AdminClient(QUIET | {"bootstrap.servers": target.bootstrap})
        admin.delete_topics([topic])[topic].result(60)


def produce(target: Target, topic: str, load: Load) -> dict[str, float]:
    """Produce with acks=1; records/s, MB/s and the broker's CPU seconds per GB, of records as they are uncompressed."""
    producer = Producer(PRODUCER | {"bootstrap.servers": target.bootstrap, "compression.type": load.codec})
    producer.list_topics(topic, timeout=10)
    messages = load.batch()
    cpu, begun = target.cpu_seconds(), time.perf_counter()
    left, turns = load.count, cycle(range(load.partitions))
    while left:
        left -= queue(producer, topic, messages[:left], next(turns))
    unanswered = producer.flush(TIMEOUT_SECONDS)
    seconds = time.perf_counter() - begun
    cpu = target.cpu_seconds() - cpu
    if unanswered:
        raise LostRecordsError(f"{target.name} left {unanswered} records unanswered")
    if (stored := end_offsets(target, topic, load.partitions)) != load.count:
        raise LostRecordsError(f"{target.name} stored {stored} of {load.count} records")
    return rates(seconds, cpu, load.size, load.count)


def queue(producer: Producer, topic: str, batch: list[dict[str, Any]], partition: int = PARTITION_UA) -> int:
    """Hand over as much of a batch as fits into the producer's queue; how many records that were."""
    try:
        queued = producer.produce_batch(topic, batch, partition)
    except BufferError:
        queued = 0
    if queued < len(batch):
        producer.poll(0.01)
        for message in batch:
            message.pop("_error", None)
    return int(queued)


def rates(seconds: float, cpu: float, size: int, count: int) -> dict[str, float]:
    gigabytes = size * count / 1e9
    return {"records_per_s": count / seconds, "mb_per_s": gigabytes * 1e3 / seconds, "cpu_s_per_gb": cpu / gigabytes}


def end_offsets(target: Target, topic: str, partitions: int) -> int:
    consumer = Consumer(CONSUMER | {"bootstrap.servers": target.bootstrap, "group.id": "bench"})
    total = sum(end for _, end in watermarks(consumer, topic, partitions))
    consumer.close()
    return total


def watermarks(consumer: Consumer, topic: str, partitions: int) -> list[tuple[int, int]]:
    return [consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=10) for index in range(partitions)]


def consume(target: Target, topic: str, load: Load) -> dict[str, float]:
    """Read as many records, from the beginning again whenever all that is there was read.

    A mock cluster keeps 5 MB of a partition, so what it has is read many times over.
    """
    consumer = Consumer(CONSUMER | {"bootstrap.servers": target.bootstrap, "group.id": "bench"})
    stored = sum(end - beginning for beginning, end in watermarks(consumer, topic, load.partitions))
    assigned = [TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(load.partitions)]
    cpu, begun = target.cpu_seconds(), time.perf_counter()
    read = 0
    while read < load.count:
        consumer.assign(assigned)
        read += read_on(consumer, min(stored, load.count - read), begun + TIMEOUT_SECONDS)
    seconds = time.perf_counter() - begun
    cpu = target.cpu_seconds() - cpu
    consumer.close()
    return rates(seconds, cpu, load.size, read)


def read_on(consumer: Consumer, wanted: int, deadline: float) -> int:
    """Read at least `wanted` records of what is assigned."""
    read = 0
    while read < wanted:
        messages = consumer.consume(min(PER_CALL, wanted - read), 0.5)
        if messages and messages[-1].error():
            raise LostRecordsError(str(messages[-1].error()))
        read += len(messages)
        if time.perf_counter() > deadline:
            raise LostRecordsError(f"{read} of {wanted} records within {TIMEOUT_SECONDS} s")
    return read


def latency(target: Target, topic: str, count: int) -> dict[str, float]:
    """Milliseconds from produce() to the delivery report of one record of 100 bytes at a time with acks=1."""
    config = {"acks": 1, "linger.ms": 0, "socket.nagle.disable": True, "bootstrap.servers": target.bootstrap}
    producer = Producer(QUIET | config)
    answered: list[KafkaError | None] = []
    value, warm_up = bytes(100), count // 10
    samples = []
    for _ in range(warm_up + count):
        answered.clear()
        begun = time.perf_counter()
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: answered.append(error))
        while not answered:
            producer.poll(1)
        samples.append((time.perf_counter() - begun) * 1000)
        if answered[0] is not None:
            raise LostRecordsError(str(answered[0]))
    measured = sorted(samples[warm_up:])
    return {"p50_ms": measured[count // 2], "p99_ms": measured[count * 99 // 100]}
