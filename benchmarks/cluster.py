"""`python -m benchmarks.cluster`: three brokers as processes on a ZooKeeper; acks=all, and what a failover takes."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.measurements import PER_CALL, PRODUCER, QUIET, TIMEOUT_SECONDS, LostRecordsError, queue
from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server
from pykbroker.testing.process import BrokerProcess

SESSION_SECONDS = 2.0
BROKERS = (1, 2, 3)


class Cluster:
    """Brokers 1 to 3."""

    def __init__(self, folder: Path, zookeeper: str) -> None:
        self._folder = folder
        self._config = {
            "zookeeper.connect": zookeeper,
            "zookeeper.session.timeout.ms": str(int(SESSION_SECONDS * 1000)),
        }
        self.brokers: dict[int, BrokerProcess] = {}
        self._ports: dict[int, int] = {}
        for number in BROKERS:
            self.start(number)

    def start(self, number: int) -> None:
        made = BrokerProcess(
            data_dir=self._folder / str(number),
            port=self._ports.get(number, 0),
            config={**self._config, "node.id": str(number)},
            stderr=(self._folder / f"{number}.log").open("a"),
        )
        self.brokers[number] = made.start()
        self._ports[number] = made.port

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def admin(self) -> AdminClient:
        return AdminClient(QUIET | {"bootstrap.servers": self.bootstrap})

    def topic(self, partitions: int) -> str:
        """A new topic on all three, with `min.insync.replicas` 2."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        new = NewTopic(name, partitions, 3, config={"min.insync.replicas": "2"})
        admin = self.admin()
        admin.create_topics([new])[name].result(30)
        self.whole(name)
        return name

    def partitions(self, name: str) -> Any:
        return self.admin().list_topics(name, timeout=10).topics[name].partitions

    def whole(self, name: str) -> None:
        """Waits until every replica is in sync."""
        deadline = time.monotonic() + 60
        while not all(len(one.isrs) == 3 and one.leader > 0 for one in self.partitions(name).values()):
            if time.monotonic() > deadline:
                raise LostRecordsError("the replicas don't get in sync")
            time.sleep(0.05)

    def close(self) -> None:
        for broker in self.brokers.values():
            broker.kill()


class Beat(threading.Thread):
    """Produces with acks=all, one record after the other, and knows the longest time without an acknowledgement."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._settings = QUIET | {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 0,
            "retry.backoff.ms": 10,
            "retry.backoff.max.ms": 20,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 50,
            "topic.metadata.refresh.fast.interval.ms": 20,
            "request.timeout.ms": 2000,
            "log_level": 0,
        }
        self._topic = topic
        self._stopping = threading.Event()
        self.times: list[float] = []

    def run(self) -> None:
        producer = Producer(self._settings)
        while not self._stopping.is_set():
            producer.produce(self._topic, b"beat", partition=0, on_delivery=self._delivered)
            while producer.flush(0.02):
                self._look(producer)

    def _look(self, producer: Producer) -> None:
        """Asks who leads: by itself librdkafka does so once a second where the leader that it knows is dead."""
        try:
            producer.list_topics(self._topic, timeout=1)
        except KafkaException:
            pass

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.times.append(time.perf_counter())

    def stop(self) -> float:
        """Ends it; the longest gap, in seconds."""
        self._stopping.set()
        self.join()
        return max(after - before for before, after in zip(self.times, self.times[1:], strict=False))


def failover(cluster: Cluster, *, clean: bool) -> float:
    """From the last acknowledgement of a leader that goes to the first of the next one, in seconds."""
    topic = cluster.topic(1)
    leader = cluster.partitions(topic)[0].leader
    beat = Beat(cluster.bootstrap, topic)
    beat.start()
    time.sleep(0.5)
    gone = cluster.brokers.pop(leader)
    gone.stop() if clean else gone.kill()
    known = len(beat.times)
    while len(beat.times) < known + 5:
        time.sleep(0.01)
    gap = beat.stop()
    cluster.start(leader)
    cluster.whole(topic)
    return gap


def throughput(cluster: Cluster, size: int, count: int) -> float:
    """Records a second with acks=all, four partitions."""
    topic = cluster.topic(4)
    producer = Producer(PRODUCER | {"acks": "all", "bootstrap.servers": cluster.bootstrap})
    producer.list_topics(topic, timeout=10)
    messages = [{"value": bytes(size)} for _ in range(PER_CALL)]
    begun, left = time.perf_counter(), count
    while left:
        left -= queue(producer, topic, messages if left >= PER_CALL else messages[:left])
    if unanswered := producer.flush(TIMEOUT_SECONDS):
        raise LostRecordsError(f"{unanswered} records are unanswered")
    return count / (time.perf_counter() - begun)


def latencies(cluster: Cluster, count: int) -> tuple[float, float]:
    """p50 and p99 of single records with acks=all, in milliseconds."""
    topic = cluster.topic(1)
    settings = PRODUCER | {"acks": "all", "linger.ms": 0, "bootstrap.servers": cluster.bootstrap}
    producer = Producer(settings)
    taken = []
    for _ in range(count + 50):
        begun = time.perf_counter()
        producer.produce(topic, bytes(100), partition=0)
        producer.flush(TIMEOUT_SECONDS)
        taken.append(1000 * (time.perf_counter() - begun))
    cuts = statistics.quantiles(taken[50:], n=100)
    return cuts[49], cuts[98]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once, and short")
    options = parser.parse_args()
    if find_server() is None:
        print("no ZooKeeper is installed here: the cluster is not measured")
        return 0
    rounds, scale = (1, 1) if options.quick else (5, 4)
    with tempfile.TemporaryDirectory(prefix="pykbroker-bench-") as name:
        folder = Path(name)
        with ZooKeeperServer(folder / "zookeeper") as server:
            cluster = Cluster(folder, server.address)
            try:
                print("| three brokers, three replicas | |\n|---|---:|")
                for size, count in ((100, 100_000 * scale), (1000, 40_000 * scale)):
                    rates = [throughput(cluster, size, count) for _ in range(rounds)]
                    print(f"| acks=all, {size} B, records/s | {statistics.median(rates):,.0f} |", flush=True)
                middle, high = latencies(cluster, 500 * scale)
                print(f"| acks=all, one at a time, p50 / p99, ms | {middle:.2f} / {high:.2f} |", flush=True)
                for clean, what in ((False, f"kill -9 (session {SESSION_SECONDS:g} s)"), (True, "a clean stop")):
                    gaps = [failover(cluster, clean=clean) for _ in range(rounds)]
                    words = f"{statistics.median(gaps):.2f} ({min(gaps):.2f} to {max(gaps):.2f})"
                    print(f"| without a leader after {what}, s | {words} |", flush=True)
            finally:
                cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
