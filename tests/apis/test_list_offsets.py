"""ListOffsets and OffsetForLeaderEpoch over the wire. The outcomes are Apache Kafka 4.3's; of ListOffsets 0, 3.9's."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.records.record import Record

START = 1_700_000_000_000
VERSIONS = range(1, 12)
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD = range(-1, -7, -1)
UNKNOWN = (-1, -1)


def timed(*timestamps: int) -> bytes:
    records = [
        Record(offset=place, timestamp=START + timestamp, key=None, value=b"v", headers=())
        for place, timestamp in enumerate(timestamps)
    ]
    return build_batch(records)


@pytest.fixture
def timeline(wire: Any) -> Any:
    """A topic whose records' timestamps are START + 0, 10, 5 and, in a second batch, 20, 30, 30."""
    topic = wire.topic(2)
    for records in (timed(0, 10, 5), timed(20, 30, 30)):
        assert wire.produce(topic, records).error_code == 0
    return topic


def asked(partition: int, timestamp: int, **fields: Any) -> Any:
    return ListOffsetsRequest.Topic.Partition(partition_index=partition, timestamp=timestamp, **fields)


def ask(wire: Any, topic: Any, version: int, *parts: Any, replica_id: int = -1, **fields: Any) -> list[Any]:
    """What the partitions of one topic answer."""
    topics = [ListOffsetsRequest.Topic(name=topic.name, partitions=list(parts))]
    response = wire.request(ListOffsetsRequest(replica_id=replica_id, topics=topics, **fields), version)
    assert response.throttle_time_ms == 0
    (answered,) = response.topics
    assert answered.name == topic.name
    partitions: list[Any] = answered.partitions
    return partitions


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ends_of_the_log(wire: Any, timeline: Any, version: int) -> None:
    for timestamp, ends in {LATEST: (6, 0), EARLIEST: (0, 0)}.items():
        answers = ask(wire, timeline, version, asked(0, timestamp), asked(1, timestamp))
        for answer, partition, end in zip(answers, (0, 1), ends, strict=True):
            assert (answer.partition_index, answer.error_code) == (partition, 0)
            assert (answer.offset, answer.timestamp) == (end, -1)
            assert answer.leader_epoch == (0 if version >= 4 else -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_record_at_or_after_a_time(wire: Any, timeline: Any, version: int) -> None:
    found = {0: (0, 0), 1: (1, 10), 10: (1, 10), 11: (3, 20), 25: (4, 30), 30: (4, 30)}
    for timestamp, (offset, at) in found.items():
        (answer,) = ask(wire, timeline, version, asked(0, START + timestamp))
        assert (answer.error_code, answer.offset, answer.timestamp) == (0, offset, START + at)
        assert answer.leader_epoch == (0 if version >= 4 else -1)
    for partition, timestamp in ((0, START + 31), (1, START)):
        (answer,) = ask(wire, timeline, version, asked(partition, timestamp))
        assert (answer.error_code, answer.offset, answer.timestamp, answer.leader_epoch) == (0, -1, -1, -1)


SPECIAL: dict[int, tuple[int, tuple[int, int]]] = {
    MAX_TIMESTAMP: (7, (4, START + 30)),
    EARLIEST_LOCAL: (8, (0, -1)),
    LATEST_TIERED: (9, UNKNOWN),
    EARLIEST_PENDING_UPLOAD: (11, UNKNOWN),
    -7: (100, UNKNOWN),
}
"""Negative timestamps with a meaning: since which version, and the offset and timestamp found."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("timestamp", SPECIAL)
def test_special_timestamps_by_version(wire: Any, timeline: Any, version: int, timestamp: int) -> None:
    since, found = SPECIAL[timestamp]
    (answer,) = ask(wire, timeline, version, asked(0, timestamp))
    known = version >= since
    assert answer.error_code == (E.NONE if known else E.UNSUPPORTED_VERSION)
    assert (answer.offset, answer.timestamp) == (found if known else UNKNOWN)


def test_no_record_has_the_largest_timestamp_of_an_empty_log(wire: Any, timeline: Any) -> None:
    (answer,) = ask(wire, timeline, 11, asked(1, MAX_TIMESTAMP))
    assert (answer.error_code, answer.offset, answer.timestamp, answer.leader_epoch) == (0, -1, -1, -1)


@pytest.mark.parametrize("version", range(12))
def test_unknown_topics_and_partitions(wire: Any, timeline: Any, version: int) -> None:
    answers = ask(wire, timeline, version, asked(7, LATEST), asked(-1, LATEST))
    answers += ask(wire, type(timeline)("nobody-knows"), version, asked(0, LATEST))
    for answer in answers:
        assert answer.error_code == E.UNKNOWN_TOPIC_OR_PARTITION
        assert (answer.offset, answer.timestamp, answer.leader_epoch) == (-1, -1, -1)
        assert answer.old_style_offsets == []


@pytest.mark.parametrize("version", range(4, 12))
def test_leader_epochs_fence(wire: Any, timeline: Any, version: int) -> None:
    for epoch, code in {-1: E.NONE, 0: E.NONE, 5: E.UNKNOWN_LEADER_EPOCH}.items():
        (answer,) = ask(wire, timeline, version, asked(0, LATEST, current_leader_epoch=epoch))
        assert (answer.error_code, answer.offset) == (code, -1 if code else 6)


@pytest.mark.parametrize("version", [1, 5, 11])
def test_a_partition_named_twice_is_refused_once(wire: Any, timeline: Any, version: int) -> None:
    twice, once = ask(wire, timeline, version, asked(0, LATEST), asked(0, EARLIEST), asked(1, LATEST))
    assert (twice.partition_index, twice.error_code, twice.offset) == (0, E.INVALID_REQUEST, -1)
    assert (once.partition_index, once.error_code, once.offset) == (1, E.NONE, 0)


@pytest.mark.parametrize("replica_id", [-1, -2, -3, 1, 5])
@pytest.mark.parametrize("isolation_level", [0, 1])
def test_any_replica_may_ask(wire: Any, timeline: Any, replica_id: int, isolation_level: int) -> None:
    fields = {"replica_id": replica_id, "isolation_level": isolation_level}
    (answer,) = ask(wire, timeline, 5, asked(0, LATEST), **fields)
    assert (answer.error_code, answer.offset) == (0, 6)


def test_version_0_lists_segments(wire: Any, timeline: Any) -> None:
    later = time.time_ns() // 1_000_000 + 100_000
    for timestamp, limit, offsets in (
        (LATEST, 5, [6, 0]),
        (LATEST, 1, [6]),
        (LATEST, 0, []),
        (EARLIEST, 5, [0]),
        (later, 5, [6, 0]),
        (0, 5, []),
    ):
        (answer,) = ask(wire, timeline, 0, asked(0, timestamp, max_num_offsets=limit))
        assert (answer.error_code, answer.old_style_offsets) == (0, offsets), timestamp
    (answer,) = ask(wire, timeline, 0, asked(0, MAX_TIMESTAMP))
    assert (answer.error_code, answer.old_style_offsets) == (E.UNSUPPORTED_VERSION, [])


@pytest.mark.parametrize("version", range(12))
def test_nothing_asked_nothing_answered(wire: Any, version: int) -> None:
    assert wire.request(ListOffsetsRequest(replica_id=-1), version).topics == []


@pytest.mark.parametrize("version", range(5))
def test_where_a_leader_epoch_ends(wire: Any, timeline: Any, version: int) -> None:
    def ask(partition: int, epoch: int, current: int = -1) -> tuple[int, int, int]:
        part = OffsetForLeaderEpochRequest.Topic.Partition(
            partition=partition, leader_epoch=epoch, current_leader_epoch=current
        )
        topic = OffsetForLeaderEpochRequest.Topic(topic=timeline.name, partitions=[part])
        ((answer,),) = (
            one.partitions for one in wire.request(OffsetForLeaderEpochRequest(topics=[topic]), version).topics
        )
        assert answer.partition == partition
        return E(answer.error_code), answer.leader_epoch, answer.end_offset

    epoch = 0 if version >= 1 else -1
    assert ask(0, 0) == (E.NONE, epoch, 6)
    assert ask(0, 3) == (E.NONE, -1, -1)
    assert ask(0, -1) == (E.NONE, -1, -1)
    assert ask(7, 0) == (E.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)
    assert ask(-1, 0) == (E.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)
    if version >= 2:
        assert ask(0, 0, current=5) == (E.UNKNOWN_LEADER_EPOCH, -1, -1)
