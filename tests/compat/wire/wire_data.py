"""Conversations about records: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, InitProducerId."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from wire_talk import Talk, conversation

from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch

UNKNOWN_ID = UUID(int=7 << 64 | 7)
HOURS_MS = 3_600_000
FIRST_UNCONVERTED = 4
"""Version of Fetch."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def batch(count: int = 1, **options: Any) -> bytes:
    pairs = [(b"k", b"v")] * count
    return build_batch(pairs, **({"timestamp": now_ms(), "leader_epoch": -1} | options))


def produce(
    talk: Talk, records: bytes | None, *, topic_id: UUID, partition: int = 0, acks: int = 1, suffix: str = ""
) -> ProduceRequest:
    data = ProduceRequest.TopicData.PartitionData(index=partition, records=records)
    topic = ProduceRequest.TopicData(name=talk.name + suffix, topic_id=topic_id, partition_data=[data])
    return ProduceRequest(acks=acks, timeout_ms=5000, topic_data=[topic])


@conversation(3, 13, older=0)
def produce_errors(talk: Talk) -> None:
    topic_id = talk.topic(max_message_bytes="1000")
    broken = bytearray(batch())
    broken[-1] ^= 1
    old_magic = bytearray(batch())
    old_magic[16] = 5
    tries: dict[str, tuple[bytes | None, dict[str, Any]]] = {
        "fine": (batch(2), {}),
        "acks=all": (batch(), {"acks": -1}),
        "acks=2": (batch(), {"acks": 2}),
        "unknown partition": (batch(), {"partition": 7}),
        "negative partition": (batch(), {"partition": -1}),
        "unknown topic": (batch(), {"suffix": "-unknown", "topic_id": UNKNOWN_ID}),
        "wrong checksum": (bytes(broken), {}),
        "unknown magic": (bytes(old_magic), {}),
        "two batches": (batch() + batch(), {}),
        "no batch": (b"", {}),
        "cut short": (batch(3)[:-4], {}),
        "too large": (build_batch([(None, bytes(2000))], timestamp=now_ms()), {}),
        "control batch": (batch(control=True), {}),
        "far past": (batch(timestamp=1), {}),
        "no timestamp": (batch(timestamp=-1), {}),
        "base offset isn't 0": (batch(base_offset=5), {}),
    }
    for label, (records, options) in tries.items():
        talk.say(label, produce(talk, records, **({"topic_id": topic_id} | options)))
    request = produce(talk, batch(), topic_id=topic_id)
    request.topic_data[0].partition_data *= 2
    talk.say("a partition twice", request)
    talk.say("no partition", ProduceRequest(acks=1, timeout_ms=5000, topic_data=[]))
    talk.say("far future", produce(talk, batch(timestamp=now_ms() + 48 * HOURS_MS), topic_id=topic_id))


@conversation(3, 13, older=0)
def produce_to_compacted(talk: Talk) -> None:
    topic_id = talk.topic(cleanup_policy="compact")
    talk.say("no key", produce(talk, build_batch([(None, b"v")], timestamp=now_ms()), topic_id=topic_id))
    talk.say("with key", produce(talk, batch(), topic_id=topic_id))


@conversation(3, 13, older=0)
def produce_idempotently(talk: Talk) -> None:
    topic_id = talk.topic()
    talk.await_transactions()
    producer = talk.ask(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000), 1).producer_id

    def say(label: str, count: int, sequence: int, epoch: int = 0, producer_id: int = producer) -> None:
        records = batch(count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
        talk.say(label, produce(talk, records, topic_id=topic_id, acks=-1))

    say("first", 3, 0)
    say("first again", 3, 0)
    say("next", 2, 3)
    say("first again after next", 3, 0)
    say("same start, other count", 1, 0)
    say("gap", 1, 9)
    say("new epoch not at 0", 1, 5, epoch=1)
    say("new epoch", 1, 0, epoch=1)
    say("old epoch", 1, 5, epoch=0)
    say("unknown producer not at 0", 1, 17, producer_id=producer + 100_000)
    say("its next", 1, 18, producer_id=producer + 100_000)
    say("sequence wraps", 3, 2**31 - 2, producer_id=producer + 100_001)
    say("after the wrap", 1, 1, producer_id=producer + 100_001)
    for sequence in range(1, 7):
        say(f"one of many {sequence}", 1, sequence, epoch=1)
    say("the newest again", 1, 6, epoch=1)
    say("the fifth last again", 1, 2, epoch=1)
    say("older than the last five", 1, 1, epoch=1)


def fetch(talk: Talk, topic_id: UUID, offset: int, suffix: str = "", **options: Any) -> FetchRequest:
    part = FetchRequest.Topic.Partition(
        partition=options.pop("partition", 0),
        fetch_offset=offset,
        partition_max_bytes=options.pop("partition_max_bytes", 1 << 20),
        current_leader_epoch=options.pop("epoch", -1),
        last_fetched_epoch=options.pop("last_fetched_epoch", -1),
    )
    topic = FetchRequest.Topic(topic=talk.name + suffix, topic_id=topic_id, partitions=[part])
    return FetchRequest(max_wait_ms=0, min_bytes=0, topics=[topic], **options)


def say_fetch(talk: Talk, label: str, request: FetchRequest, version: int | None = None) -> None:
    """Ask for records and note them; of those in old formats the first: Apache Kafka cuts or pads what it converts to
    the size that it had."""
    answer = talk.ask(request, version)
    if (talk.version if version is None else version) < FIRST_UNCONVERTED:
        for part in (part for topic in answer.responses for part in topic.partitions):
            if part.records:
                first = next(batches(part.records))
                part.records = f"from {first.base_offset} in format {first.magic}"
    talk.note(label, answer)


@conversation(4, 17, older=0)
def fetch_errors(talk: Talk) -> None:
    topic_id = talk.topic()
    talk.ask(produce(talk, batch(3), topic_id=topic_id, acks=-1), 7)
    talk.ask(produce(talk, batch(2), topic_id=topic_id, acks=-1), 7)
    say_fetch(talk, "from the beginning", fetch(talk, topic_id, 0))
    say_fetch(talk, "inside the first batch", fetch(talk, topic_id, 1))
    say_fetch(talk, "the second batch", fetch(talk, topic_id, 3))
    say_fetch(talk, "at the end", fetch(talk, topic_id, 5))
    say_fetch(talk, "read committed", fetch(talk, topic_id, 0, isolation_level=1))
    say_fetch(talk, "one byte at most", fetch(talk, topic_id, 0, max_bytes=1))
    say_fetch(talk, "one byte of the partition at most", fetch(talk, topic_id, 0, partition_max_bytes=1))
    say_fetch(talk, "beyond the end", fetch(talk, topic_id, 6))
    say_fetch(talk, "negative offset", fetch(talk, topic_id, -1))
    say_fetch(talk, "unknown partition", fetch(talk, topic_id, 0, partition=7))
    say_fetch(talk, "unknown topic", fetch(talk, UNKNOWN_ID, 0, suffix="-unknown"))
    say_fetch(talk, "no topic id", fetch(talk, ZERO_UUID, 0, suffix="-unknown"))
    if talk.version >= 9:
        say_fetch(talk, "current epoch", fetch(talk, topic_id, 0, epoch=0))
        say_fetch(talk, "epoch to come", fetch(talk, topic_id, 0, epoch=3))
    if talk.version >= 12:
        say_fetch(talk, "diverging epoch", fetch(talk, topic_id, 5, last_fetched_epoch=4))
    say_fetch(talk, "no topics", FetchRequest(max_wait_ms=0, min_bytes=0))


@conversation(7, 17)
def fetch_sessions(talk: Talk) -> None:
    topic_id = talk.topic(partitions=2)
    talk.ask(produce(talk, batch(3), topic_id=topic_id, acks=-1), 7)
    opened = talk.say("opens one", fetch(talk, topic_id, 0, session_epoch=0))
    session = opened.session_id
    talk.said["has an id"] = str(session > 0)

    def incremental(epoch: int, **options: Any) -> FetchRequest:
        return FetchRequest(max_wait_ms=0, min_bytes=0, session_id=session, session_epoch=epoch, **options)

    talk.say("the records again", incremental(1))
    talk.say("goes on at 3", fetch(talk, topic_id, 3, session_id=session, session_epoch=2))
    talk.say("nothing new", incremental(3))
    talk.ask(produce(talk, batch(1), topic_id=topic_id, acks=-1), 7)
    talk.say("something new", incremental(4))
    talk.say("wrong epoch", incremental(9))
    talk.say("adds a partition", fetch(talk, topic_id, 0, partition=1, session_id=session, session_epoch=5))
    forgotten = FetchRequest.ForgottenTopicData(topic=talk.name, topic_id=topic_id, partitions=[0])
    talk.say("forgets a partition", incremental(6, forgotten_topics_data=[forgotten]))
    talk.say("an unknown topic", fetch(talk, UNKNOWN_ID, 0, "-unknown", session_id=session, session_epoch=7))
    talk.say("still unknown", incremental(8))
    talk.say("closes it", incremental(-1))
    talk.say("closed", incremental(9))
    unknown = FetchRequest(max_wait_ms=0, min_bytes=0, session_id=session + 12345, session_epoch=1)
    talk.say("unknown session", unknown)


@conversation(1, 11, older=0)
def list_offsets(talk: Talk) -> None:
    topic_id = talk.topic()
    start = now_ms() - 10_000
    for first in (0, 3):
        records = build_batch([(None, b"v")] * 3, timestamp=start + first * 1000)
        talk.ask(produce(talk, records, topic_id=topic_id, acks=-1), 7)
    talk.mask(str(start), "<start>")
    talk.mask(str(start + 3000), "<start+3000>")

    def say(label: str, timestamp: int, partition: int = 0, suffix: str = "", epoch: int = -1) -> None:
        part = ListOffsetsRequest.Topic.Partition(
            partition_index=partition, timestamp=timestamp, current_leader_epoch=epoch
        )
        topic = ListOffsetsRequest.Topic(name=talk.name + suffix, partitions=[part])
        talk.say(label, ListOffsetsRequest(replica_id=-1, topics=[topic], timeout_ms=5000))

    for label, timestamp in {
        "latest": -1,
        "earliest": -2,
        "max timestamp": -3,
        "earliest local": -4,
        "latest tiered": -5,
        "earliest pending upload": -6,
        "no such": -7,
        "before all": start - 1,
        "first batch": start,
        "second batch": start + 1,
        "after all": start + 3001,
    }.items():
        say(label, timestamp)
    say("unknown partition", -1, partition=7)
    say("unknown topic", -1, suffix="-unknown")
    say("current epoch", -1, epoch=0)
    say("epoch to come", -1, epoch=5)


@conversation(2, 4, older=0)
def offset_for_leader_epoch(talk: Talk) -> None:
    topic_id = talk.topic()
    talk.ask(produce(talk, batch(3), topic_id=topic_id, acks=-1), 7)

    def say(label: str, epoch: int, current: int = -1, partition: int = 0, suffix: str = "") -> None:
        part = OffsetForLeaderEpochRequest.Topic.Partition(
            partition=partition, current_leader_epoch=current, leader_epoch=epoch
        )
        topic = OffsetForLeaderEpochRequest.Topic(topic=talk.name + suffix, partitions=[part])
        talk.say(label, OffsetForLeaderEpochRequest(replica_id=-1, topics=[topic]))

    say("current", 0)
    say("to come", 3)
    say("undefined", -1)
    say("current epoch to come", 0, current=3)
    say("unknown partition", 0, partition=7)
    say("unknown topic", 0, suffix="-unknown")


@conversation(0, 5)
def init_producer_id(talk: Talk) -> None:
    talk.await_transactions()
    talk.say("idempotent", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000))
    talk.say("idempotent, timeout 0", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0))
    if talk.version >= 3:
        talk.say(
            "idempotent, with an id",
            InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000, producer_id=5, producer_epoch=1),
        )
    talk.say("empty transactional id", InitProducerIdRequest(transactional_id="", transaction_timeout_ms=1000))
