"""The few requests that every behaviour needs beside its client, written out by hand.

Topics are made here and not by the client under test, so that a fault in one client's admin calls fails the admin
rows alone; and what a broker stored is read back undecoded, to see the codec and the producer id of a batch.
All requests are of versions that any Kafka from 1.0 to 4.x takes, and none of a flexible version.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from typing import NamedTuple

FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, HEARTBEAT, CREATE_TOPICS = 1, 2, 3, 10, 12, 19
LOADING, NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Batch(NamedTuple):
    """What the header of a stored record batch (format v2) says."""

    magic: int
    codec: str
    producer_id: int
    records: int


def string(text: str | None) -> bytes:
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


class Reader:
    """Takes fields off the front of an answer."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, layout: str) -> int:
        (value,) = struct.unpack_from(">" + layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return int(value)

    def bytes(self, size: int) -> bytes:
        value = self.data[self.position : self.position + max(size, 0)]
        self.position += max(size, 0)
        return value

    def string(self) -> str:
        return self.bytes(self.take("h")).decode()


def call(bootstrap: str, key: int, version: int, body: bytes) -> Reader:
    """Send one request on a connection of its own; the answer's body."""
    host, _, port = bootstrap.rpartition(":")
    frame = struct.pack(">hhi", key, version, 1) + string("behaviours") + body
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            reader = Reader(answer.read(size))
    reader.take("i")
    return reader


def create_topic(bootstrap: str, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
    """Make a topic of one replica and wait until each partition has its leader; the name."""
    body = struct.pack(">i", 1) + string(name) + struct.pack(">ihi", partitions, 1, 0)
    body += struct.pack(">i", len(config or {})) + b"".join(string(k) + string(v) for k, v in (config or {}).items())
    answer = call(bootstrap, CREATE_TOPICS, 2, body + struct.pack(">i?", 15000, False))
    answer.take("i"), answer.take("i"), answer.string()
    if error := answer.take("h"):
        raise AssertionError(f"CreateTopics of {name} was answered with error {error}")
    deadline = time.monotonic() + 15
    while leaders(bootstrap, name) != partitions or not is_led(bootstrap, name, partitions):
        if time.monotonic() > deadline:
            raise AssertionError(f"{name} has no leader 15 s after its creation")
        time.sleep(0.02)
    return name


def leaders(bootstrap: str, name: str) -> int:
    """How many of a topic's partitions have a leader; 0 for an unknown topic, which isn't made by asking."""
    answer = call(bootstrap, METADATA, 4, struct.pack(">i", 1) + string(name) + b"\0")
    answer.take("i")
    for _ in range(answer.take("i")):
        answer.take("i"), answer.string(), answer.take("i"), answer.string()
    answer.string(), answer.take("i"), answer.take("i")
    if answer.take("h"):
        return 0
    answer.string(), answer.take("b")
    led = 0
    for _ in range(answer.take("i")):
        error, _index, leader = answer.take("h"), answer.take("i"), answer.take("i")
        for _ in range(2):
            answer.bytes(4 * answer.take("i"))
        led += error == 0 and leader >= 0
    return led


def is_led(bootstrap: str, name: str, partitions: int) -> bool:
    """Whether the leaders know it themselves: with KRaft they may learn of it after the metadata has told clients."""
    body = struct.pack(">ii", -1, 1) + string(name) + struct.pack(">i", partitions)
    answer = call(bootstrap, LIST_OFFSETS, 1, body + b"".join(struct.pack(">iq", n, -2) for n in range(partitions)))
    answer.take("i"), answer.string()
    errors = 0
    for _ in range(answer.take("i")):
        _index, error, _timestamp, _offset = answer.take("i"), answer.take("h"), answer.take("q"), answer.take("q")
        errors += error != 0
    return errors == 0


def first_batch(bootstrap: str, topic: str, partition: int = 0) -> Batch:
    """The header of the first batch that the broker returns for a partition."""
    body = struct.pack(">iiiib", -1, 5000, 1, 1 << 20, 0) + struct.pack(">i", 1) + string(topic)
    answer = call(bootstrap, FETCH, 4, body + struct.pack(">iiqi", 1, partition, 0, 1 << 20))
    answer.take("i"), answer.take("i"), answer.string(), answer.take("i"), answer.take("i")
    if error := answer.take("h"):
        raise AssertionError(f"Fetch of {topic} was answered with error {error}")
    answer.take("q"), answer.take("q")
    answer.bytes(16 * max(answer.take("i"), 0))
    records = answer.bytes(answer.take("i"))
    attributes, producer_id, count = struct.unpack_from(">h20xq6xi", records, 21)
    return Batch(records[16], CODECS[attributes & 7], producer_id, count)


def settle(bootstrap: str, groups: int = 200, seconds: float = 60) -> None:
    """Wait until the coordinators of so many groups serve, so that hardly any partition of offsets is still loading.

    A broker that was just started makes its offsets topic at the first question for a coordinator; clients differ in
    whether they wait for it.
    """
    deadline = time.monotonic() + seconds
    for number in range(groups):
        group = string(f"settle-{number}")
        while not coordinator_serves(bootstrap, group):
            if time.monotonic() > deadline:
                raise AssertionError(f"no coordinator within {seconds} s")
            time.sleep(0.1)


def coordinator_serves(bootstrap: str, group: bytes) -> bool:
    found = call(bootstrap, FIND_COORDINATOR, 1, group + b"\0")
    found.take("i")
    if found.take("h"):
        return False
    answer = call(bootstrap, HEARTBEAT, 1, group + struct.pack(">i", 1) + string("nobody"))
    answer.take("i")
    return answer.take("h") not in (LOADING, NOT_AVAILABLE, NOT_COORDINATOR)
