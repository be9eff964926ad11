"""Exactly-once under fire: loops move records from topic to topic while the broker and they themselves are killed -9.

A watcher reads what is committed. In the end the output holds each input exactly once, and no transaction is open.
"""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.exactly_once.servers import OneBroker, Servers, ThreeBrokers
from tests.exactly_once.worker import CLIENTS, GROUP, INPUT, OUTPUT, transformed

from pykbroker.storage.verify import verify_directories

PARTITIONS = 3
PATIENCE_S = 120
"""Without a record in so long something hangs."""
CONFIG = {
    "num.partitions": str(PARTITIONS),
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.num.partitions": "5",
    "log.segment.bytes": "1048576",
}


class Workers:
    """One process a transactional id; whichever ends is started again."""

    def __init__(self, bootstrap: str, seed: random.Random) -> None:
        self._bootstrap = bootstrap
        self._random = seed
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._clients = {f"{client}-{number}": client for client in CLIENTS for number in range(2)}
        self.killed = self.gave_up = 0

    def tend(self) -> None:
        """Starts whatever isn't running."""
        for name, client in self._clients.items():
            process = self._running.get(name)
            if process is not None and process.poll() is None:
                continue
            self.gave_up += process is not None and process.returncode > 0
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.exactly_once.worker", client, self._bootstrap, name],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def kill_one(self) -> None:
        """kill -9 of a random one."""
        process = self._running[self._random.choice(list(self._running))]
        process.kill()
        process.wait()
        self.killed += 1

    def __enter__(self) -> Self:
        self.tend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


class Proof:
    """One run in a data directory of its own."""

    def __init__(self, folder: str | Path, *, records: int, kills: int, seed: int = 0, brokers: int = 1) -> None:
        self._folder = Path(folder)
        self._brokers = brokers
        self._records = records
        self._kills = kills
        self._random = random.Random(seed)
        self._seen: Counter[bytes] = Counter()
        self._count = 0

    def run(self) -> str:
        """Runs, checks, and says what was seen. Raises AssertionError."""
        started = time.monotonic()
        servers = self._start()
        try:
            self._fill(servers)
            with Workers(servers.bootstrap_servers, self._random) as workers:
                watcher = self._watcher(servers.bootstrap_servers)
                for number in range(self._kills):
                    self._watch(watcher, workers, self._records * (number + 1) // (self._kills + 1))
                    servers.kill()
                    if self._random.random() < 0.7:
                        workers.kill_one()
                    servers.revive()
                    if self._random.random() < 0.7:
                        workers.kill_one()
                self._watch(watcher, workers, self._records)
            self._check(watcher, servers.bootstrap_servers)
        finally:
            servers.stop()
        for directory in servers.directories:
            wrong = [str(finding) for finding in verify_directories([directory]) if not finding.mends]
            assert not wrong, "\n".join(wrong)
        killed = "the broker was" if self._brokers == 1 else f"of {self._brokers} brokers one was"
        return (
            f"{self._records} records moved exactly once through {PARTITIONS} partitions: {killed} killed "
            f"{self._kills} times, clients {workers.killed} times, {workers.gave_up} gave up and began again; "
            f"{time.monotonic() - started:.0f} s"
        )

    def _start(self) -> Servers:
        if self._brokers == 1:
            return OneBroker(self._folder, CONFIG)
        return ThreeBrokers(self._folder, CONFIG, self._random)

    def _fill(self, servers: Servers) -> None:
        bootstrap = servers.bootstrap_servers
        admin = AdminClient({"bootstrap.servers": bootstrap})
        topics = [NewTopic(name, PARTITIONS, servers.replication_factor) for name in (INPUT, OUTPUT)]
        for made in admin.create_topics(topics).values():
            made.result(30)
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
        for number in range(self._records):
            while True:
                try:
                    producer.produce(INPUT, b"%d" % number, partition=number % PARTITIONS)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        assert producer.flush(60) == 0

    def _watcher(self, bootstrap: str) -> Consumer:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "watcher",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "logger": _silent(),
            }
        )
        consumer.assign([TopicPartition(OUTPUT, index, 0) for index in range(PARTITIONS)])
        return consumer

    def _watch(self, watcher: Consumer, workers: Workers | None, wanted: int) -> None:
        """Reads until so many records are committed; kills a worker now and then."""
        last = time.monotonic()
        next_kill = last + self._random.uniform(1, 5)
        while self._count < wanted:
            for message in watcher.consume(1000, timeout=0.2):
                if message.error() is None:
                    self._seen[message.value() or b""] += 1
                    self._count += 1
                    last = time.monotonic()
            assert time.monotonic() < last + PATIENCE_S, f"nothing comes any more after {self._count} of {wanted}"
            if workers is not None:
                if time.monotonic() > next_kill:
                    workers.kill_one()
                    next_kill = time.monotonic() + self._random.uniform(1, 5)
                workers.tend()

    def _check(self, watcher: Consumer, bootstrap: str) -> None:
        for message in watcher.consume(1000, timeout=2):
            if message.error() is None:
                self._seen[message.value() or b""] += 1
        watcher.close()
        expected = {transformed(b"%d" % number) for number in range(self._records)}
        twice = [value for value, times in self._seen.items() if times > 1]
        assert not twice, f"{len(twice)} records came more than once, {twice[0]!r} among them"
        assert self._seen.keys() == expected, f"{len(expected - self._seen.keys())} records never came"
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "logger": _silent()})
        for partition in consumer.committed([TopicPartition(INPUT, index) for index in range(PARTITIONS)], 30):
            _, end = consumer.get_watermark_offsets(TopicPartition(INPUT, partition.partition), 30)
            assert partition.offset == end, f"the group stands at {partition.offset} of {end}"
        consumer.close()


def _silent() -> logging.Logger:
    logger = logging.getLogger("librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
