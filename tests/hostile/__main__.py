"""Peers that mean no good, against a broker process: `python -m tests.hostile --half-open 5000 --deaf 100`.

Connections that never finish what they begin, frames that promise more than they bring, readers that never read. The
broker's memory stays bounded, a bystander is served as before, and whoever only holds a connection is cut.
"""

import argparse
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.frames import bearable, login_frames, p99_ms

from pykbroker.protocol.connection import encode_request
from pykbroker.protocol.message import Message, as_bytes
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

USER, PASSWORD = "alice", "alice-secret"
LOGIN = login_frames(USER, PASSWORD)
TOPIC = "loud"
IDLE_SECONDS = 20
KB_PER_HALF_OPEN = 24
MB_PER_KIND = 64
"""What the other kinds may take together, whatever they promise or ask for."""
REQUESTS = 300
"""So many make a p99."""


class Scene:
    """A broker, a bystander, and those who come to disturb it; and a broker beside that nobody disturbs."""

    def __init__(self, broker: BrokerProcess, elsewhere: BrokerProcess) -> None:
        self.broker = broker
        self.bystander = self.known()
        self.other = WireClient(elsewhere.host, elsewhere.port)
        self.quiet = p99_ms([ask(self.bystander) for _ in range(REQUESTS)])
        self.failed = False

    def known(self) -> WireClient:
        """A connection whose user is proved."""
        client = WireClient(self.broker.host, self.broker.port)
        client.socket.sendall(LOGIN)
        for _ in range(2):
            client.receive_frame()
        return client

    def memory(self) -> float:
        """The broker's resident memory in MB."""
        pages = int(Path(f"/proc/{self.broker.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def act(self, what: str, count: int, room_mb: float, come: Callable[[int], socket.socket]) -> list[socket.socket]:
        """Has `count` peers come, and says what that did to the broker."""
        before = most = self.memory()
        peers, took = [], []
        for number in range(max(count, REQUESTS)):
            if number < count:
                peers.append(come(number))
            if number >= count or number % (count // REQUESTS + 1) == 0:
                took.append((ask(self.bystander), ask(self.other)))
                most = max(most, self.memory())
        took += [(ask(self.bystander), ask(self.other)) for _ in range(REQUESTS)]
        p99, elsewhere = (p99_ms(times) for times in zip(*took, strict=True))
        grown = most - before
        self.failed |= grown > room_mb or not bearable(p99, self.quiet, elsewhere)
        print(
            f"{what}: {count}, {grown:+.1f} MB, p99 of others {p99:.1f} ms (before: {self.quiet:.1f} ms, meanwhile at "
            f"another broker: {elsewhere:.1f} ms)",
            flush=True,
        )
        return peers


def ask(client: WireClient) -> float:
    """A bystander's request; how many seconds its answer took."""
    time.sleep(0.002)
    began = time.monotonic()
    client.request(MetadataRequest(topics=[]), 12)
    return time.monotonic() - began


def frame(message: Message, version: int) -> bytes:
    """A request's bytes."""
    return b"".join(as_bytes(piece) for piece in encode_request(message, version, 1, "hostile"))


def half_open(scene: Scene, number: int) -> socket.socket:
    """Says nothing, or half a size, or begins to log in and stops in the middle of the token."""
    sock = socket.create_connection((scene.broker.host, scene.broker.port))
    sock.sendall((b"", b"\0\0", LOGIN[:-5])[number % 3])
    return sock


def promising(scene: Scene, number: int) -> socket.socket:
    """A user who announces 100 MB and brings a kilobyte."""
    sock = scene.known().socket
    sock.sendall((100 << 20).to_bytes(4, "big") + bytes(1024))
    return sock


def deaf(scene: Scene, number: int) -> socket.socket:
    """A user who asks for everything again and again, and never reads."""
    sock = scene.known().socket
    fetch = FetchRequest.Topic(topic=TOPIC, partitions=[FetchRequest.Topic.Partition(partition_max_bytes=1 << 30)])
    asked = FetchRequest(max_wait_ms=100, min_bytes=1, max_bytes=1 << 30, topics=[fetch])
    sock.sendall(frame(asked, 11) * 50 + frame(MetadataRequest(topics=None), 12) * 50)
    return sock


def fill(client: WireClient) -> None:
    """A topic of 32 MB."""
    topic = CreateTopicsRequest.Topic(name=TOPIC, num_partitions=1, replication_factor=1)
    assert client.request(CreateTopicsRequest(topics=[topic], timeout_ms=30_000), 7).topics[0].error_code == 0
    batch = build_batch([(None, bytes(900_000))], timestamp=time.time_ns() // 1_000_000)
    data = ProduceRequest.TopicData
    for _ in range(36):
        partition = data.PartitionData(index=0, records=batch)
        asked = ProduceRequest(acks=-1, timeout_ms=9000, topic_data=[data(name=TOPIC, partition_data=[partition])])
        client.request(asked, 9)


def await_end(peers: list[socket.socket], scene: Scene) -> int:
    """How many connections the broker has ended after the idle time, and some more where the machine is busy."""
    deadline = time.monotonic() + 3 * IDLE_SECONDS
    left = list(peers)
    while left and time.monotonic() < deadline:
        for _ in range(50):
            ask(scene.bystander)
            ask(scene.other)
        left = [peer for peer in left if not ended(peer)]
    return len(peers) - len(left)


def ended(peer: socket.socket) -> bool:
    """Whether the broker has closed it, without reading what it said before."""
    poll = select.poll()
    poll.register(peer, select.POLLRDHUP)
    return bool(poll.poll(0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.hostile", description=__doc__)
    parser.add_argument("--half-open", type=int, default=5000)
    parser.add_argument("--deaf", type=int, default=100)
    options = parser.parse_args()
    broker, elsewhere = (BrokerProcess(config={"connections.max.idle.ms": str(IDLE_SECONDS * 1000)}) for _ in range(2))
    broker.start(["--user", f"{USER}:{PASSWORD}"])
    elsewhere.start()
    try:
        scene = Scene(broker, elsewhere)
        fill(scene.bystander)
        room = options.half_open * KB_PER_HALF_OPEN / 1000
        peers = scene.act("half-open", options.half_open, room, lambda number: half_open(scene, number))
        promised = scene.act("promise 100 MB", options.deaf, MB_PER_KIND, lambda number: promising(scene, number))
        unread = scene.act("never read", options.deaf, MB_PER_KIND, lambda number: deaf(scene, number))
        everybody = [*peers, *promised, *unread]
        cut = await_end(everybody, scene)
        scene.failed |= cut < len(everybody)
        print(f"cut after {IDLE_SECONDS} s: {cut} of {len(everybody)}")
    finally:
        elsewhere.stop()
        status = broker.stop()
    return int(scene.failed) | status


if __name__ == "__main__":
    sys.exit(main())
