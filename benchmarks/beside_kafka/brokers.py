"""The two brokers that are compared: each a process with its defaults, and a data directory on the same disk."""

from __future__ import annotations

import os
import signal
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.verified.apache_kafka import ApacheKafka

from benchmarks.beside_kafka.results import OURS, THEIRS
from benchmarks.targets import Target, metadata_answer
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

BROKERS = (OURS, THEIRS)
FIRST_ANSWER_SECONDS = 60.0
AGAIN_SECONDS = 0.005
PRODUCE_VERSION, METADATA_VERSION = 9, 12
CONFIG = {"log.segment.delete.delay.ms": "100"}
"""All that isn't as shipped: a deleted topic's files go at once. After a minute they would be written to the disk, and
their memory given up, while something else is measured."""


class Process(Protocol):
    """A broker's process; it keeps its data when it is stopped and started again."""

    @property
    def pid(self) -> int: ...

    @property
    def bootstrap_servers(self) -> str: ...

    def start(self) -> object: ...

    def stop(self) -> object: ...


def made(name: str, folder: Path) -> Process:
    """A broker that was never started. Apache Kafka's directory is formatted; pykbroker needs no such step."""
    folder.mkdir(parents=True)
    if name == OURS:
        return BrokerProcess(data_dir=folder / "data", config=CONFIG, stderr=(folder / "out").open("a"))
    kafka = ApacheKafka(folder, config=CONFIG, as_shipped=True)
    kafka.prepare()
    return kafka


def target(name: str, process: Process) -> Target:
    return Target(name, process.bootstrap_servers, process.pid, topics_are_created=True)


@contextmanager
def new(name: str) -> Iterator[Process]:
    """A broker of its own for one measurement: not started yet, killed and forgotten afterwards."""
    with tempfile.TemporaryDirectory(prefix="pykbroker-bench-", ignore_cleanup_errors=True) as folder:
        process = made(name, Path(folder) / "broker")
        try:
            yield process
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.stop()


class Standing:
    """The brokers that stand for the whole run; one that has died is started again on its data."""

    def __init__(self, folder: Path) -> None:
        self._processes: dict[str, Process] = {}
        self._folder = folder

    def target(self, name: str) -> Target:
        process = self._processes.get(name)
        if process is None:
            process = self._processes[name] = made(name, self._folder / name.replace(" ", "-"))
            process.start()
        else:
            try:
                metadata_answer(process.bootstrap_servers)
            except (OSError, RuntimeError, struct.error):
                process.stop()
                process.start()
        first_produce(process.bootstrap_servers, "started")
        return target(name, process)

    def close(self) -> None:
        for process in self._processes.values():
            process.stop()


def first_produce(bootstrap: str, topic: str, partition: int = 0) -> None:
    """Returns once a record is acknowledged (acks=1); asks on while broker, topic or leader aren't there yet."""
    host, _, port = bootstrap.rpartition(":")
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    while True:
        try:
            with WireClient(host, int(port)) as client:
                while not is_written(client, topic, partition):
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"nothing was acknowledged within {FIRST_ANSWER_SECONDS} s")
                    time.sleep(AGAIN_SECONDS)
                return
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)


def is_written(client: WireClient, topic: str, partition: int) -> bool:
    """Whether the topic is there, made where it wasn't, and took a record."""
    asked = MetadataRequest(topics=[MetadataRequest.Topic(name=topic)], allow_auto_topic_creation=True)
    answer = client.request(asked, METADATA_VERSION)
    if answer.topics[0].error_code != ErrorCode.NONE:
        return False
    written = client.request(produce_request(topic, partition, b"first"), PRODUCE_VERSION)
    return bool(written.responses[0].partition_responses[0].error_code == ErrorCode.NONE)


def produce_request(topic: str, partition: int, value: bytes) -> ProduceRequest:
    """One record with acks=1."""
    data = ProduceRequest.TopicData.PartitionData(
        index=partition, records=build_batch([(None, value)], timestamp=int(time.time() * 1000))
    )
    topics = [ProduceRequest.TopicData(name=topic, partition_data=[data])]
    return ProduceRequest(acks=1, timeout_ms=30_000, topic_data=topics)
