"""Producers and consumers that write down what they were told: librdkafka, as applications use it."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from tests.history.faults import TOPIC

PARTITIONS = 4
REFUSALS = ("encountered error", "ERRSEQ", "ERRPID", "UNKPID", "DRAIN", "NEWPID", "GETPID", "IDEMPSTATE", "RESETSEQ")
"""What of librdkafka's debug log is worth keeping."""


class History:
    """What was acknowledged and what was read; `wrong` has a sentence for each thing that must not be."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent: dict[int, int] = defaultdict(int)
        self.acknowledged: dict[bytes, tuple[int, int | None]] = {}
        """value → partition and offset, which the client doesn't always know."""
        self.read: dict[tuple[int, int], bytes] = {}
        self.committed: dict[int, int] = {}
        self.failed = 0
        """Records of which the producer doesn't know what became of them."""
        self.ends = 0
        """How often a partition's end was asked for and answered."""
        self.again = 0
        """Records that librdkafka itself has sent twice, under two epochs: see `check.given_up`."""
        self.wrong: list[str] = []

    def blame(self, what: str) -> None:
        with self.lock:
            if len(self.wrong) < 20:
                self.wrong.append(what)


class Worker(threading.Thread):
    """A client in a thread, until it is told to stop."""

    def __init__(self, history: History, bootstrap_servers: str) -> None:
        super().__init__(daemon=True)
        self.history = history
        self.settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "reconnect.backoff.max.ms": 500,
            "log_level": 2,
            "error_cb": lambda error: None,
        }
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.history.blame(f"{type(self).__name__} ended: {error!r}")

    def work(self) -> None:
        raise NotImplementedError


class Writer(Worker):
    """An idempotent producer with acks=all: `number:sequence`, in turn to every partition.

    Every second one has a single request under way, so that nothing can be out of sequence.
    """

    def __init__(self, number: int, history: History, bootstrap_servers: str, rate: float, folder: Path) -> None:
        super().__init__(history, bootstrap_servers)
        self.number = number
        self._pause = 1 / rate
        self._log = folder / f"writer-{number}.log"

    def work(self) -> None:
        producer = Producer(
            {
                **self.settings,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "max.in.flight": 1 if self.number % 2 else 5,
                "message.timeout.ms": 180_000,
                "request.timeout.ms": 5_000,
                "debug": "eos,msg",
                "log_level": 7,
            },
            logger=refusals(self._log),
        )
        sequence = 0
        while not self.stopping.is_set():
            value = b"%d:%d" % (self.number, sequence)
            producer.produce(TOPIC, value, partition=sequence % PARTITIONS, on_delivery=self.delivered)
            sequence += 1
            producer.poll(self._pause)
        left = producer.flush(180)
        if left:
            self.history.blame(f"writer {self.number}: {left} records have no outcome")
        self.history.sent[self.number] = sequence

    def delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            with self.history.lock:
                self.history.acknowledged[message.value()] = message.partition(), message.offset()
        else:
            with self.history.lock:
                self.history.failed += 1


def refusals(path: Path) -> logging.Logger:
    """A logger that keeps what librdkafka says of refused batches, and of what it does about its sequences."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handler.addFilter(lambda line: any(word in line.getMessage() for word in REFUSALS))
    logger = logging.Logger(path.name, logging.DEBUG)
    logger.addHandler(handler)
    return logger


class Reader(Worker):
    """Reads every partition from the start and never again: an offset has one content for ever."""

    def work(self) -> None:
        consumer = Consumer(
            {
                **self.settings,
                "group.id": "reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
            }
        )
        consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
        last = dict.fromkeys(range(PARTITIONS), -1)
        while not self.stopping.is_set():
            for message in consumer.consume(500, 0.2):
                error = message.error()
                if error is not None:
                    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                        self.history.blame(f"a reader was sent back: {error}")
                    continue
                partition, offset = message.partition(), message.offset()
                if offset <= last[partition]:
                    self.history.blame(f"a reader of {partition} went from {last[partition]} back to {offset}")
                last[partition] = offset
                self.history.read[partition, offset] = message.value()
        consumer.close()


class Watcher(Worker):
    """Asks for every partition's end, over and over: what was committed stays so, whoever leads."""

    def work(self) -> None:
        consumer = Consumer({**self.settings, "group.id": "watcher", "enable.auto.commit": False})
        last = dict.fromkeys(range(PARTITIONS), 0)
        while not self.stopping.wait(0.05):
            for partition in last:
                try:
                    _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), 2, cached=False)
                except KafkaException:
                    continue  # Nobody leads it, or a new leader doesn't know it yet.
                self.history.ends += 1
                if end < last[partition]:
                    self.history.blame(f"the end of {partition} went from {last[partition]} back to {end}")
                last[partition] = end
        consumer.close()


class Committer(Worker):
    """A group's member that commits what it has read; what is committed never goes back."""

    def work(self) -> None:
        while not self.stopping.is_set():
            consumer = Consumer(
                {
                    **self.settings,
                    "group.id": "committer",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "session.timeout.ms": 6000,
                }
            )
            consumer.subscribe([TOPIC])
            try:
                self.life(consumer)
            finally:
                consumer.close()

    def life(self, consumer: Consumer) -> None:
        """Some polls and commits, then another member takes over."""
        checked = False
        for _ in range(40):
            if self.stopping.is_set():
                return
            messages = [message for message in consumer.consume(200, 0.3) if message.error() is None]
            if not messages:
                continue
            if not checked:
                checked = self.check(consumer)
            offsets: dict[int, int] = {}
            for message in messages:
                offsets[message.partition()] = max(offsets.get(message.partition(), 0), message.offset() + 1)
            wanted = [TopicPartition(TOPIC, partition, offset) for partition, offset in offsets.items()]
            try:
                answers = consumer.commit(offsets=wanted, asynchronous=False)
            except KafkaException:
                continue  # It may have been stored or not.
            for one in answers:
                if one.error is None:
                    known = self.history.committed.get(one.partition, 0)
                    self.history.committed[one.partition] = max(known, one.offset)

    def check(self, consumer: Consumer) -> bool:
        """Whether what was committed before is there still."""
        try:
            found = consumer.committed([TopicPartition(TOPIC, one) for one in range(PARTITIONS)], timeout=5)
        except KafkaException:
            return False
        for one in found:
            known = self.history.committed.get(one.partition)
            if one.error is None and known is not None and one.offset < known:
                self.history.blame(f"the committed offset of {one.partition} went from {known} back to {one.offset}")
        return True
