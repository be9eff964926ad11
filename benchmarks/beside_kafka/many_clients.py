"""Many clients with a bare socket each, in one epoll loop: each sends a small Produce at its own fixed rate.

A request goes out when its time has come, whether or not the answer to the one before is there.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque

from benchmarks.beside_kafka.brokers import PRODUCE_VERSION, first_produce, produce_request
from benchmarks.beside_kafka.latency import percentiles
from benchmarks.measurements import LostRecordsError
from benchmarks.records import text_values
from benchmarks.targets import Target
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.produce import ProduceRequest, ProduceResponse

CLIENTS = 1_000
SIZE = 100
GIVE_UP = 30.0
RECEIVED = 65_536


class Client:
    """A connection, when its unanswered requests were sent, and how many bytes of an answer have come."""

    def __init__(self, address: tuple[str, int], frame: bytes) -> None:
        self.socket = socket.create_connection(address, GIVE_UP)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frame = frame
        self.sent: deque[float] = deque()
        self.pending = 0

    def first(self) -> int:
        """Sends a request and waits for its answer, whose size all others will have. Raises LostRecordsError."""
        self.socket.sendall(self.frame)
        with self.socket.makefile("rb", buffering=0) as answer:
            size = int.from_bytes(answer.read(4) or b"", "big")
            _, response = decode_response(answer.read(size) or b"", ProduceRequest.key, PRODUCE_VERSION)
        assert isinstance(response, ProduceResponse)
        if code := response.responses[0].partition_responses[0].error_code:
            raise LostRecordsError(f"error {code}")
        self.socket.setblocking(False)
        return 4 + size

    def received(self, answer: int, samples: list[float]) -> None:
        """Takes what has come."""
        data = self.socket.recv(RECEIVED)
        if not data:
            raise ConnectionError("closed by the broker")
        now = time.perf_counter()
        self.pending += len(data)
        while self.pending >= answer:
            self.pending -= answer
            samples.append((now - self.sent.popleft()) * 1000)


def frames(topic: str, partitions: int) -> list[bytes]:
    """A request for each partition."""
    value = text_values(SIZE)[0]
    requests = [produce_request(topic, partition, value) for partition in range(partitions)]
    encoded = [encode_request(request, PRODUCE_VERSION, 1, "bench") for request in requests]
    return [b"".join(map(as_bytes, pieces)) for pieces in encoded]


def many_clients(target: Target, topic: str, partitions: int, rate: int, seconds: float) -> dict[str, float]:
    """`rate` requests a second of each client: answers/s, percentiles in ms, the broker's CPU seconds per second."""
    host, _, port = target.bootstrap.rpartition(":")
    made = frames(topic, partitions)
    for partition in range(partitions):  # Metadata name a leader a moment before it leads.
        first_produce(target.bootstrap, topic, partition)
    clients: list[Client] = []
    sizes = set()
    try:
        for number in range(CLIENTS):  # One at a time: a full backlog has SYNs sent again a second later.
            clients.append(Client((host, int(port)), made[number % partitions]))
            sizes.add(clients[-1].first())
        if len(sizes) > 1:
            raise LostRecordsError("answers differ in size")
        cpu, begun = target.cpu_seconds(), time.perf_counter()
        samples = _drive(clients, sizes.pop(), 1 / (CLIENTS * rate), int(CLIENTS * rate * seconds))
        took = time.perf_counter() - begun
        used = target.cpu_seconds() - cpu
    finally:
        for client in clients:
            client.socket.close()
    return {"per_s": len(samples) / took, "cpu": used / took} | percentiles(samples)


def _drive(clients: list[Client], answer: int, interval: float, count: int) -> list[float]:
    """Sends `count` requests, one client after the other, and waits for the last answer."""
    samples: list[float] = []
    by_number = {client.socket.fileno(): client for client in clients}
    with select.epoll() as poll:
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        begun, sent = time.perf_counter(), 0
        while len(samples) < count:
            now = time.perf_counter()
            while sent < count and begun + sent * interval <= now:
                client = clients[sent % len(clients)]
                client.sent.append(time.perf_counter())
                client.socket.send(client.frame)
                sent += 1
            if now - begun > count * interval + GIVE_UP:
                raise LostRecordsError(f"{count - len(samples)} answers were still away {GIVE_UP} s later")
            for number, _ in poll.poll(0.001 if sent < count else 1.0):
                by_number[number].received(answer, samples)
    return samples
