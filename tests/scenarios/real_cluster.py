"""Brokers as processes of their own on a real ZooKeeper: started, killed, stopped, looked at over the wire."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

SESSION_SECONDS = 2.0
PATIENCE = 30.0


def eventually(what: str, ready: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """What `ready` answers once that is true; fails the test where it isn't in time."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = ready()
            if last:
                return last
        except (OSError, AssertionError) as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout:g} s, the last was {last!r}")


class RealCluster:
    """Brokers 1 to N on one chroot."""

    def __init__(self, folder: Path, zookeeper: str, brokers: int = 3, **config: str) -> None:
        self.folder = folder
        self.zookeeper = zookeeper
        self.config = {
            "zookeeper.connect": zookeeper,
            "zookeeper.session.timeout.ms": str(int(SESSION_SECONDS * 1000)),
            "default.replication.factor": "3",
            "controlled.shutdown.retry.backoff.ms": "200",
            **{key.replace("_", "."): value for key, value in config.items()},
        }
        self.brokers: dict[int, BrokerProcess] = {}
        self.ports: dict[int, int] = {}
        self.errors: Any = None
        for number in range(1, brokers + 1):
            self.start(number)

    def start(self, number: int) -> BrokerProcess:
        """Starts a broker, at the port that it had before."""
        if self.errors is None:
            self.errors = (self.folder / "brokers.log").open("w")
        config = {**self.config, "node.id": str(number), "listeners": f"PLAINTEXT://{self.host(number)}:9092"}
        port = self.ports.get(number, 0)
        data = self.folder / f"broker-{number}"
        made = BrokerProcess(data_dir=data, port=port, config=config, stderr=self.errors)
        with self.at(f"broker-{number}"):
            self.brokers[number] = made.start()
        self.ports[number] = made.port
        return self.brokers[number]

    def host(self, number: int) -> str:
        """Where a broker listens."""
        return "127.0.0.1"

    def at(self, machine: str) -> AbstractContextManager[None]:
        """What is done meanwhile is done on that machine; here there is but one."""
        return nullcontext()

    def pause(self, number: int) -> None:
        """SIGSTOP."""
        os.kill(self.brokers[number].pid, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT."""
        os.kill(self.brokers[number].pid, signal.SIGCONT)

    def kill(self, number: int) -> None:
        """kill -9."""
        self.brokers.pop(number).kill()

    def stop(self, number: int) -> None:
        """SIGTERM; it must end well."""
        assert self.brokers.pop(number).stop() == 0

    def close(self) -> None:
        """Ends what is left."""
        for broker in self.brokers.values():
            broker.kill()
        if self.errors is not None:
            self.errors.close()

    def ask(self, number: int, request: Message, version: int) -> Any:
        """One request on a connection of its own."""
        with self.at("client"), WireClient(self.host(number), self.ports[number], timeout=10) as client:
            return client.request(request, version)

    def metadata(self, number: int) -> Any:
        """Everything, as one broker sees it."""
        return self.ask(number, MetadataRequest(topics=None), 12)

    def controller(self, number: int) -> int:
        """The controller, as one broker sees it."""
        answer = self.metadata(number)
        live = {broker.node_id for broker in answer.brokers}
        return answer.controller_id if answer.controller_id in live else -1

    def partition(self, number: int, topic: str, index: int = 0) -> Any:
        """A partition, as one broker sees it."""
        for one in self.metadata(number).topics:
            if one.name == topic:
                return next(partition for partition in one.partitions if partition.partition_index == index)
        raise AssertionError(f"broker {number} knows no topic {topic}")

    def create(self, name: str, assignment: list[int], **config: str) -> None:
        """A topic of one partition on given brokers."""
        configs = [
            CreateTopicsRequest.Topic.Config(name=key.replace("_", "."), value=value) for key, value in config.items()
        ]
        one = CreateTopicsRequest.Topic.Assignment(partition_index=0, broker_ids=assignment)
        topic = CreateTopicsRequest.Topic(
            name=name, num_partitions=-1, replication_factor=-1, assignments=[one], configs=configs
        )

        def created() -> bool:
            controller = self.controller(next(iter(self.brokers)))
            request = CreateTopicsRequest(topics=[topic], timeout_ms=5000)
            (answer,) = self.ask(controller, request, 5).topics
            return answer.error_code in (0, 36)

        eventually(f"topic {name} is made", created)

    def produce(self, topic: str, value: bytes, *, acks: int = -1) -> int:
        """Appends a record at whoever leads, as often as it takes; its offset."""

        def done() -> tuple[int]:
            partition = self.append(self.leader(topic), topic, value, acks=acks, timeout_ms=8000)
            assert partition.error_code == 0, partition.error_code
            return (partition.base_offset,)

        return eventually(f"a record in {topic} is acknowledged", done)[0]

    def append(self, number: int, topic: str, value: bytes, *, acks: int = -1, timeout_ms: int = 3000) -> Any:
        """Appends a record at a broker, once; the partition's part of the answer."""
        batch = build_batch([(None, value)], timestamp=1)
        data = ProduceRequest.TopicData.PartitionData(index=0, records=batch)
        topics = [ProduceRequest.TopicData(name=topic, partition_data=[data])]
        (one,) = self.ask(number, ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=topics), 9).responses
        (partition,) = one.partition_responses
        return partition

    def leader(self, topic: str) -> int:
        """Who leads a topic's only partition, as some broker that runs knows."""
        for number in self.brokers:
            try:
                leader = self.partition(number, topic).leader_id
            except OSError:
                continue
            if leader in self.brokers:
                return leader
        raise AssertionError("nobody leads")

    def segment(self, number: int, topic: str) -> Path:
        """The file of a topic's only partition's records."""
        return self.folder / f"broker-{number}" / f"{topic}-0" / f"{0:020}.log"

    def values(self, topic: str) -> bytes:
        """The records of a topic's partition, as they come."""
        one = FetchRequest.Topic.Partition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
        topics = [FetchRequest.Topic(topic=topic, partitions=[one])]
        request = FetchRequest(max_wait_ms=0, min_bytes=0, max_bytes=1 << 20, topics=topics)
        ((answer,),) = (found.partitions for found in self.ask(self.leader(topic), request, 11).responses)
        assert answer.error_code == 0
        return bytes(answer.records or b"")


@contextmanager
def real_cluster(folder: Path, zookeeper: str, brokers: int = 3, **config: str) -> Iterator[RealCluster]:
    """A cluster that is gone afterwards."""
    cluster = RealCluster(folder, zookeeper, 0, **config)
    try:
        for number in range(1, brokers + 1):
            cluster.start(number)
        yield cluster
    finally:
        cluster.close()
