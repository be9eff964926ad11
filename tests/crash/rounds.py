"""One round: start on the data of the last, produce and commit under load, kill -9, start, check every promise.

What is checked: each acknowledged record stands at its offset with its value, offsets have no gap, a consumer group's
acknowledged commit is there, and `pykbroker verify` has nothing to say. With damage the end of a partition's newest
segment is spoilt between the kill and the start: then the log ends at the first batch that was reached, no sooner.
"""

from __future__ import annotations

import logging
import random
import subprocess
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from tests.crash.damage import Damage, damage_tail

from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.storage.verify import verify_directories
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

TOPIC = "crash"
PARTITIONS = 3
GROUP = "crash-group"
CONFIG = {"num.partitions": str(PARTITIONS), "log.segment.bytes": "1048576"}


class Crash:
    """The promises that a broker made over its lives in one data directory."""

    def __init__(self, folder: str | Path, seed: int = 0) -> None:
        self._folder = Path(folder)
        self._random = random.Random(seed)
        self._sent = 0
        self._promised: dict[int, dict[int, bytes]] = {partition: {} for partition in range(PARTITIONS)}
        self._committed = -1
        self.acknowledged = 0

    def round(self, *, damage: bool = False) -> str:
        """One life under load, ended by kill -9, and the check in the next; says what it saw. Raises AssertionError."""
        before = self.acknowledged
        with BrokerProcess(data_dir=self._folder, config=CONFIG, stderr=subprocess.DEVNULL) as broker:
            killer = threading.Timer(self._random.uniform(0.05, 0.6), broker.kill)
            self._load(broker, killer)
        damaged = self._damage() if damage else None
        with BrokerProcess(data_dir=self._folder, config=CONFIG, stderr=subprocess.DEVNULL) as broker:
            seen = self._check(broker.bootstrap_servers, damaged)
            if self._random.random() < 0.5:
                broker.kill()
        wrong = [str(finding) for finding in verify_directories([str(self._folder)]) if not finding.mends]
        assert not wrong, "\n".join(wrong)
        said = f"{self.acknowledged - before} records acknowledged, {seen} there, commit at {self._committed}"
        return said if damaged is None else f"{said}, {damaged}"

    def _damage(self) -> Damage | None:
        """Spoils the end of one partition; its records from there on are no promise any more."""
        partition = self._random.randrange(PARTITIONS)
        damaged = damage_tail(self._folder / f"{TOPIC}-{partition}", self._random)
        if damaged is not None:
            promised = self._promised[partition]
            for offset in [offset for offset in promised if offset >= damaged.end_offset]:
                del promised[offset]
        return damaged

    def _load(self, broker: BrokerProcess, killer: threading.Timer) -> None:
        producer = Producer(
            {
                "bootstrap.servers": broker.bootstrap_servers,
                "acks": "all",
                "linger.ms": 1,
                "message.timeout.ms": 2000,
                "enable.idempotence": self._random.random() < 0.5,
                "logger": _silent(),
            }
        )
        producer.list_topics(TOPIC, timeout=10)
        killer.start()
        committing = threading.Thread(target=self._commit, args=(broker,))
        committing.start()
        payload = b"x" * self._random.choice((10, 100, 1000, 5000))
        while killer.is_alive():
            value = b"%d-%s" % (self._sent, payload)
            self._sent += 1
            try:
                producer.produce(TOPIC, value, on_delivery=self._delivered)
            except BufferError:
                producer.poll(0.01)
            producer.poll(0)
        killer.join()
        committing.join()
        producer.purge()
        producer.flush(5)

    def _commit(self, broker: BrokerProcess) -> None:
        """Commits one offset after the other until the broker is gone; what it acknowledged is a promise."""
        partition = OffsetCommitRequest.Topic.Partition
        with WireClient(broker.host, broker.port) as client:
            try:
                while client.request(FindCoordinatorRequest(key=GROUP), 2).error_code:
                    pass
                while True:
                    wanted = self._committed + 1
                    topic = OffsetCommitRequest.Topic(name=TOPIC, partitions=[partition(committed_offset=wanted)])
                    answer = client.request(OffsetCommitRequest(group_id=GROUP, topics=[topic]), 7)
                    if answer.topics[0].partitions[0].error_code == 0:
                        self._committed = wanted
            except ConnectionError:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert offset is not None
            assert value is not None
            self._promised[partition][offset] = value
            self.acknowledged += 1

    def _check(self, bootstrap: str, damaged: Damage | None) -> int:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 5,
                "logger": _silent(),
            }
        )
        seen = 0
        try:
            committed = consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)[0].offset
            # A commit that the kill overtook may have been written without its answer.
            assert committed in (self._committed, self._committed + 1) or self._committed < 0, (
                f"the commit of {self._committed} came back as {committed}"
            )
            self._committed = max(self._committed, committed)
            for partition in range(PARTITIONS):
                seen += self._check_partition(consumer, partition)
                if damaged is not None and damaged.path.parent.name == f"{TOPIC}-{partition}":
                    high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)[1]
                    assert high == damaged.end_offset, f"{damaged}, and not at {high}"
        finally:
            consumer.close()
        return seen

    def _check_partition(self, consumer: Consumer, partition: int) -> int:
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)
        promised = self._promised[partition]
        assert low == 0
        assert high > max(promised, default=-1), f"partition {partition} ends at {high}, acknowledged {max(promised)}"
        consumer.assign([TopicPartition(TOPIC, partition, low)])
        expected = low
        deadline = time.monotonic() + 60
        while expected < high:
            assert time.monotonic() < deadline, f"partition {partition} stops at {expected} of {high}"
            for message in consumer.consume(min(10_000, high - expected), timeout=1):
                assert message.error() is None, message.error()
                assert message.offset() == expected, f"partition {partition}: {expected}, then {message.offset()}"
                value = promised.get(expected)
                assert value in (None, message.value()), f"partition {partition} offset {expected} has another value"
                expected += 1
        return high - low


def _silent() -> logging.Logger:
    logger = logging.getLogger("librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
