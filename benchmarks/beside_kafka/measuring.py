"""What is measured, cell by cell: a cell is one visit to one broker, and costs nothing but itself when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import trio
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import measurements
from benchmarks.beside_kafka import brokers, java_tools, latency, lines
from benchmarks.beside_kafka.many_clients import many_clients
from benchmarks.beside_kafka.results import Figures
from benchmarks.groups import joining
from benchmarks.measurements import QUIET, Load
from benchmarks.targets import Target

IDLE_SECONDS = 2.0
SETTLE_SECONDS = 0.5
"""After a topic was deleted, until its files are."""
CREATED_SECONDS = 240.0
MEMBERS = 100
PARTITIONS = 12
PARTITIONS_OF_EACH = 1_000


@dataclass(frozen=True)
class Effort:
    """How much of each thing a round does."""

    bytes_of: dict[int, int]
    """Size of a record → bytes in all."""
    java_records: int
    latencies: int
    seconds_of_many: float
    rounds: int
    last_partitions: tuple[int, ...]
    """So many partitions are made in the last round alone."""


FULL = Effort({100: 100_000_000, 1_000: 500_000_000, 10_000: 800_000_000}, 400_000, 1500, 3.0, 7, (10_000,))
QUICK = Effort({100: 10_000_000, 1_000: 20_000_000, 10_000: 20_000_000}, 50_000, 250, 1.0, 1, ())


class Cell(NamedTuple):
    """A measurement of one broker: of the standing one, or (`alone`) with one of its own, by its name."""

    name: str
    measure: Callable[[Target], Figures] | None = None
    alone: Callable[[str], Figures] | None = None


def cells(effort: Effort, *, is_last: bool) -> Iterator[Cell]:
    """All cells of a round."""
    yield Cell("start", alone=_start)
    for size in lines.SIZES:
        for partitions in lines.PARTITIONS:
            for codec in lines.CODECS:
                load = Load(size, effort.bytes_of[size] // size, partitions, codec, text=True)
                name = lines.throughput_name(size, partitions, codec)
                yield Cell(f"throughput {name}", partial(_throughput, name=name, load=load))
    yield Cell("memory after throughput", _loaded)
    yield Cell("java", partial(_java, count=effort.java_records))
    for acks in ("1", "all"):
        yield Cell(f"acks={acks}", partial(_acknowledged, acks=acks, count=effort.latencies))
    yield Cell("end to end", partial(_end_to_end, count=effort.latencies))
    for rate in lines.RATES:
        yield Cell(f"many clients, {rate}/s", partial(_many, rate=rate, seconds=effort.seconds_of_many))
    for protocol in lines.PROTOCOLS:
        yield Cell(f"{protocol} group", partial(_group, protocol=protocol))
    for count in lines.MANY_PARTITIONS:
        if count == lines.MANY_PARTITIONS[0] or (is_last and count in effort.last_partitions):
            yield Cell(f"{count:,} partitions", alone=partial(_partitions, count=count))


@contextmanager
def _topic(target: Target, partitions: int) -> Iterator[str]:
    name = measurements.create_topic(target, partitions)
    try:
        yield name
    finally:
        measurements.delete_topic(target, name)
        time.sleep(SETTLE_SECONDS)


def _start(name: str) -> Figures:
    """Seconds from the process's creation, and memory when nothing happens after that."""
    with brokers.new(name) as process:
        begun = time.perf_counter()
        process.start()
        brokers.first_produce(process.bootstrap_servers, "first")
        seconds = time.perf_counter() - begun
        time.sleep(IDLE_SECONDS)
        return {"start": {"seconds": seconds, "idle_rss": brokers.target(name, process).memory()["Rss"]}}


def _throughput(target: Target, name: str, load: Load) -> Figures:
    with _topic(target, load.partitions) as topic:
        produced = measurements.produce(target, topic, load)
        return {f"produce {name}": produced, f"consume {name}": measurements.consume(target, topic, load)}


def _loaded(target: Target) -> Figures:
    return {"loaded": {"rss": target.memory()["Rss"]}}


def _java(target: Target, count: int) -> Figures:
    with _topic(target, PARTITIONS) as topic:
        produced = java_tools.produce(target, topic, count)
        return {"java produce": produced, "java consume": java_tools.consume(target, topic, count)}


def _acknowledged(target: Target, acks: str, count: int) -> Figures:
    with _topic(target, 1) as topic:
        return {f"acks={acks}": latency.to_acknowledgement(target, topic, acks, count)}


def _end_to_end(target: Target, count: int) -> Figures:
    with _topic(target, 1) as topic:
        return {"end to end": latency.end_to_end(target, topic, count)}


def _many(target: Target, rate: int, seconds: float) -> Figures:
    with _topic(target, PARTITIONS) as topic:
        return {lines.many_name(rate): many_clients(target, topic, PARTITIONS, rate, seconds)}


def _group(target: Target, protocol: str) -> Figures:
    host, _, port = target.bootstrap.rpartition(":")
    return {f"{protocol} group": {"seconds": trio.run(joining, (host, int(port)), protocol, MEMBERS)}}


def _partitions(name: str, count: int) -> Figures:
    """Topics of a thousand in a new broker; then a clean stop, and a start with all that."""
    topics = [f"many-{number}" for number in range(count // PARTITIONS_OF_EACH)]
    with brokers.new(name) as process:
        process.start()
        brokers.first_produce(process.bootstrap_servers, "first")
        begun = time.perf_counter()
        _create(process.bootstrap_servers, topics)
        create = time.perf_counter() - begun
        process.stop()
        begun = time.perf_counter()
        process.start()
        brokers.first_produce(process.bootstrap_servers, topics[-1], PARTITIONS_OF_EACH - 1)
        start = time.perf_counter() - begun
        time.sleep(IDLE_SECONDS)
        rss = brokers.target(name, process).memory()["Rss"]
    return {f"{count:,} partitions": {"create": create, "start": start, "rss": rss}}


def _create(bootstrap: str, topics: list[str]) -> None:
    """A request for each: Apache Kafka takes no 10,000 partitions in one. Returns once the last one takes a record."""
    admin = AdminClient(QUIET | {"bootstrap.servers": bootstrap, "socket.timeout.ms": int(CREATED_SECONDS * 1000)})
    for topic in topics:
        made = admin.create_topics([NewTopic(topic, PARTITIONS_OF_EACH, 1)], operation_timeout=CREATED_SECONDS)
        made[topic].result(CREATED_SECONDS)
    deadline = time.monotonic() + CREATED_SECONDS
    for topic in topics:
        while not _is_led(admin, topic):
            if time.monotonic() > deadline:
                raise measurements.LostRecordsError(f"{topic} took longer than {CREATED_SECONDS} s")
            time.sleep(0.05)
    brokers.first_produce(bootstrap, topics[-1], PARTITIONS_OF_EACH - 1)


def _is_led(admin: AdminClient, topic: str) -> bool:
    found = admin.list_topics(topic, timeout=30).topics[topic].partitions
    return len(found) == PARTITIONS_OF_EACH and all(partition.leader >= 0 for partition in found.values())
