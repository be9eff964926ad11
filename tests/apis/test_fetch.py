"""Fetch over the wire, field by field. The outcomes are Apache Kafka 4.3's; of versions 0 to 3, 3.9's."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.testing import KafkaBroker

VERSIONS = range(19)
BATCH_VERSIONS = range(4, 19)
SESSION_VERSIONS = range(7, 19)
UNKNOWN_ID = UUID(int=7 << 64 | 7)
LONG = 20_000
"""A wait (ms) that no test sits out."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def batch(count: int = 1, **options: Any) -> bytes:
    return build_batch([(b"k", b"v")] * count, **({"timestamp": now_ms()} | options))


def part(partition: int = 0, offset: int = 0, max_bytes: int = 1 << 20, **fields: Any) -> Any:
    return FetchRequest.Topic.Partition(
        partition=partition, fetch_offset=offset, partition_max_bytes=max_bytes, **fields
    )


def of(topic: Any, *parts: Any) -> Any:
    return FetchRequest.Topic(topic=topic.name, topic_id=topic.id, partitions=list(parts or [part()]))


def fetch(topic: Any, *parts: Any, more: tuple[Any, ...] = (), **fields: Any) -> FetchRequest:
    return FetchRequest(**({"max_wait_ms": 0, "min_bytes": 1} | fields), topics=[of(topic, *parts), *more])


def partitions(response: Any) -> list[Any]:
    return [one for topic in response.responses for one in topic.partitions]


def summary(response: Any) -> list[tuple[int, int, int]]:
    """Index, error code and size of what each partition answers."""
    return [(one.partition_index, E(one.error_code), len(one.records)) for one in partitions(response)]


def assert_refused(answer: Any, code: E, aborted: list[Any] | None = None) -> None:
    """An error, and beside it what Kafka sends with one."""
    assert answer.error_code == code
    assert (answer.high_watermark, answer.last_stable_offset, answer.log_start_offset) == (-1, -1, -1)
    assert (answer.preferred_read_replica, bytes(answer.records)) == (-1, b"")
    assert answer.aborted_transactions == aborted


@pytest.fixture
def filled(wire: Any) -> Any:
    """A topic of two partitions; the first holds batches at 0 and 3, of 5 records."""
    topic = wire.topic(2)
    for count in (3, 2):
        assert wire.produce(topic, batch(count)).error_code == 0
    return topic


@pytest.mark.parametrize("version", BATCH_VERSIONS)
def test_records_and_watermarks(wire: Any, filled: Any, version: int) -> None:
    response = wire.request(fetch(filled, part(0), part(1)), version)
    assert (response.throttle_time_ms, response.error_code, response.session_id) == (0, 0, 0)
    assert response.node_endpoints == []
    (topic,) = response.responses
    assert (topic.topic, topic.topic_id) == ((filled.name, ZERO_UUID) if version < 13 else ("", filled.id))
    full, empty = topic.partitions
    for answer, end in ((full, 5), (empty, 0)):
        assert (answer.error_code, answer.high_watermark, answer.last_stable_offset) == (0, end, end)
        assert answer.log_start_offset == (0 if version >= 5 else -1)
        assert answer.aborted_transactions is None
        assert answer.preferred_read_replica == -1
        assert (answer.current_leader.leader_id, answer.diverging_epoch.epoch) == (-1, -1)
    assert [one.base_offset for one in batches(full.records)] == [0, 3]
    assert bytes(empty.records) == b""


@pytest.mark.parametrize("version", [4, 11, 18])
def test_whole_batches_from_the_one_that_holds_the_offset(wire: Any, filled: Any, version: int) -> None:
    for offset, bases in {0: [0, 3], 1: [0, 3], 2: [0, 3], 3: [3], 4: [3], 5: []}.items():
        (answer,) = partitions(wire.request(fetch(filled, part(0, offset)), version))
        assert [one.base_offset for one in batches(answer.records)] == bases


@pytest.mark.parametrize("version", range(4))
@pytest.mark.parametrize("codec", [Compression.NONE, Compression.GZIP, Compression.SNAPPY])
def test_down_conversion(wire: Any, version: int, codec: Compression) -> None:
    topic = wire.topic()
    for _ in range(2):
        wire.produce(topic, batch(2, compression=codec, timestamp=1234))
    for offset in (0, 1, 2):
        (answer,) = partitions(wire.request(fetch(topic, part(0, offset)), version))
        assert (answer.error_code, answer.high_watermark) == (0, 4)
        found = list(batches(answer.records))
        assert {one.magic for one in found} == {0 if version < 2 else 1}
        assert {one.compression for one in found} == {codec}
        records = [record for one in found for record in one.records()]
        assert [record.offset for record in records if record.offset >= offset] == list(range(offset, 4))
        assert {record.timestamp for record in records} == {-1 if version < 2 else 1234}
        assert {(record.key, record.value) for record in records} == {(b"k", b"v")}


@pytest.mark.parametrize("version", [0, 3])
def test_what_cannot_be_converted_down(wire: Any, version: int) -> None:
    topic = wire.topic()
    wire.produce(topic, batch(compression=Compression.ZSTD))
    answer = partitions(wire.request(fetch(topic), version))[0]
    assert (answer.error_code, answer.high_watermark) == (E.UNSUPPORTED_COMPRESSION_TYPE, -1)
    forbidden = wire.topic(message_downconversion_enable="false")
    wire.produce(forbidden, batch())
    answer = partitions(wire.request(fetch(forbidden), version))[0]
    assert (answer.error_code, answer.high_watermark) == (E.UNSUPPORTED_VERSION, -1)
    assert partitions(wire.request(fetch(forbidden), 4))[0].error_code == 0


@pytest.mark.parametrize("version", [4, 9, 10])
def test_zstd_is_served_to_versions_that_read_batches(wire: Any, version: int) -> None:
    topic = wire.topic(compression_type="zstd")
    wire.produce(topic, batch())
    (found,) = batches(partitions(wire.request(fetch(topic), version))[0].records)
    assert found.compression == Compression.ZSTD


@pytest.mark.parametrize("version", range(1, 4))
def test_log_append_time_is_converted_down_too(wire: Any, version: int) -> None:
    topic = wire.topic(message_timestamp_type="LogAppendTime")
    appended = wire.produce(topic, batch(timestamp=5)).log_append_time_ms
    (found,) = batches(partitions(wire.request(fetch(topic), version))[0].records)
    (record,) = found.records()
    assert record.timestamp == (-1 if version < 2 else appended)
    assert found.is_log_append_time == (version >= 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_and_what_stands_beside_them(wire: Any, filled: Any, version: int) -> None:
    unknown = of(type(filled)("nobody-knows", UNKNOWN_ID))
    response = wire.request(fetch(filled, part(0, 6), part(1, -1), part(7), part(-1), more=(unknown,)), version)
    beyond, negative, *missing, nowhere = partitions(response)
    read_error: Any = None if version >= 4 else []
    assert_refused(beyond, E.OFFSET_OUT_OF_RANGE, read_error)
    assert_refused(negative, E.OFFSET_OUT_OF_RANGE, read_error)
    assert [one.partition_index for one in missing] == [7, -1]
    for one in missing:
        assert_refused(one, E.UNKNOWN_TOPIC_OR_PARTITION, [])
    assert_refused(nowhere, E.UNKNOWN_TOPIC_OR_PARTITION if version < 13 else E.UNKNOWN_TOPIC_ID, [])
    assert response.responses[1].topic_id == (ZERO_UUID if version < 13 else UNKNOWN_ID)
    assert response.error_code == 0


@pytest.mark.parametrize("version", [13, 18])
def test_no_topic_has_the_zero_id(wire: Any, version: int) -> None:
    response = wire.request(fetch(type(wire.topic())("")), version)
    assert_refused(partitions(response)[0], E.UNKNOWN_TOPIC_ID, [])


@pytest.mark.parametrize("version", range(9, 19))
def test_leader_epochs_fence(wire: Any, filled: Any, version: int) -> None:
    for epoch, code in {-2: E.NONE, -1: E.NONE, 0: E.NONE, 3: E.UNKNOWN_LEADER_EPOCH}.items():
        (answer,) = partitions(wire.request(fetch(filled, part(current_leader_epoch=epoch)), version))
        assert answer.error_code == code
        assert answer.current_leader.leader_id == -1


@pytest.mark.parametrize("version", [12, 18])
def test_another_history_is_not_continued(wire: Any, filled: Any, version: int) -> None:
    def ask(offset: int, epoch: int) -> Any:
        return partitions(wire.request(fetch(filled, part(0, offset, last_fetched_epoch=epoch)), version))[0]

    assert_refused(ask(5, 4), E.OFFSET_OUT_OF_RANGE)
    assert ask(3, 0).error_code == 0
    assert len(ask(3, 0).records)
    diverging = ask(9, 0)
    assert (diverging.error_code, diverging.high_watermark, bytes(diverging.records)) == (0, 5, b"")
    assert (diverging.diverging_epoch.epoch, diverging.diverging_epoch.end_offset) == (0, 5)


@pytest.mark.parametrize("version", [4, 9, 12, 15, 16, 18])
def test_followers_are_not_known(wire: Any, filled: Any, version: int) -> None:
    follower: dict[str, Any] = {"replica_id": 5}
    if version >= 15:
        follower = {"replica_state": FetchRequest.ReplicaState(replica_id=5, replica_epoch=1)}
    response = wire.request(fetch(filled, **follower), version)
    (answer,) = partitions(response)
    assert_refused(answer, E.NOT_LEADER_OR_FOLLOWER)
    if version >= 16:
        assert (answer.current_leader.leader_id, answer.current_leader.leader_epoch) == (1, 0)
        (node,) = response.node_endpoints
        assert (node.node_id, node.host, node.port) == (1, *wire.socket.getpeername())
    if version >= 9:
        (answer,) = partitions(wire.request(fetch(filled, part(current_leader_epoch=0), **follower), version))
        assert answer.error_code == E.UNKNOWN_LEADER_EPOCH


@pytest.mark.parametrize("version", [3, 4, 18])
def test_the_first_batch_is_whole_whatever_the_limits(wire: Any, filled: Any, version: int) -> None:
    wire.produce(filled, batch(), partition=1)
    for limits in ({"max_bytes": 0}, {"max_bytes": 1}):
        first, second = partitions(wire.request(fetch(filled, part(0), part(1), **limits), version))
        assert [one.base_offset for one in batches(first.records)][:1] == [0]
        assert (second.error_code, bytes(second.records)) == (0, b"")
    for limit in (0, 1):
        first, second = partitions(wire.request(fetch(filled, part(0, 0, limit), part(1, 0, limit)), version))
        assert len(first.records)
        assert bytes(second.records) == b""


def test_limits_cut_a_later_batch(wire: Any, filled: Any) -> None:
    whole = len(batch(3))
    (answer,) = partitions(wire.request(fetch(filled, part(0, 0, whole + 20)), 12))
    assert len(answer.records) == whole + 20
    assert [one.base_offset for one in batches(answer.records)] == [0]


@pytest.mark.parametrize("version", range(3))
def test_before_version_3_limits_hold_for_the_first_batch_too(wire: Any, filled: Any, version: int) -> None:
    (answer,) = partitions(wire.request(fetch(filled, part(0, 0, 10)), version))
    assert (answer.error_code, bytes(answer.records)) == (0, b"")


@pytest.mark.parametrize("version", [4, 12, 18])
def test_read_committed_names_aborted_transactions(wire: Any, filled: Any, version: int) -> None:
    for offset in (0, 5):
        (answer,) = partitions(wire.request(fetch(filled, part(0, offset), isolation_level=1), version))
        assert (answer.last_stable_offset, answer.aborted_transactions) == (5, [])


def test_a_partition_named_twice_is_read_once(wire: Any, filled: Any) -> None:
    (answer,) = partitions(wire.request(fetch(filled, part(0, 0), part(0, 4)), 12))
    assert [one.base_offset for one in batches(answer.records)] == [3]


@pytest.mark.parametrize("version", [4, 12])
def test_nothing_asked_is_answered_at_once(wire: Any, version: int) -> None:
    response = wire.request(FetchRequest(max_wait_ms=LONG, min_bytes=1), version)
    assert (response.error_code, response.responses) == (0, [])


# -- long polls --------------------------------------------------------------------------------------------------------


AT_ONCE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "data": ([part(0, 4), part(1)], {}),
    "no bytes wanted": ([part(1)], {"min_bytes": 0}),
    "fewer than none wanted": ([part(1)], {"min_bytes": -1}),
    "no time": ([part(1)], {"max_wait_ms": -1}),
    "more wanted than allowed": ([part(0)], {"min_bytes": 1000, "max_bytes": 1}),
    "out of range": ([part(1), part(0, 9)], {}),
    "unknown epoch": ([part(1, 0, current_leader_epoch=5)], {}),
    "nothing known": ([part(7)], {}),
}


@pytest.mark.parametrize("why", AT_ONCE)
def test_some_fetches_do_not_wait(wire: Any, filled: Any, why: str) -> None:
    parts, fields = AT_ONCE[why]
    started = time.monotonic()
    response = wire.request(fetch(filled, *parts, **({"max_wait_ms": LONG} | fields)), 12)
    assert time.monotonic() - started < 5
    assert len(partitions(response)) == len(parts)


@pytest.mark.parametrize("version", [0, 4, 12, 18])
def test_a_fetch_waits_for_records(wire: Any, shared_broker: KafkaBroker, version: int) -> None:
    topic = wire.topic(2)
    with type(wire)(shared_broker.host, shared_broker.port) as consumer:
        consumer.send(fetch(topic, part(0), part(1), max_wait_ms=LONG), version)
        assert wire.produce(topic, batch(), partition=1).error_code == 0
        quiet, full = partitions(consumer.receive(1, version)[1])
    assert len(quiet.records) == 0
    assert len(full.records) > 0
    assert full.high_watermark == 1


def test_a_fetch_waits_for_enough_bytes(wire: Any, shared_broker: KafkaBroker) -> None:
    topic = wire.topic(2)
    size = len(batch())
    with type(wire)(shared_broker.host, shared_broker.port) as consumer:
        consumer.send(fetch(topic, part(0), part(1), max_wait_ms=LONG, min_bytes=2 * size + 1), 12)
        for partition in (0, 1, 0):
            assert wire.produce(topic, batch(), partition=partition).error_code == 0
        found = partitions(consumer.receive(1, 12)[1])
    assert [len(one.records) for one in found] == [2 * size, size]


def test_waiting_adds_nothing_to_an_older_segment(wire: Any, shared_broker: KafkaBroker) -> None:
    large = build_batch([(None, bytes(400_000))], timestamp=now_ms())
    size = len(large)
    topic = wire.topic(segment_bytes=str(1 << 20))
    with type(wire)(shared_broker.host, shared_broker.port) as consumer:
        consumer.send(fetch(topic, part(0, 0, 1 << 30), max_wait_ms=LONG, min_bytes=100 * size), 12)
        for _ in range(3):
            assert wire.produce(topic, large).error_code == 0
        assert summary(consumer.receive(1, 12)[1]) == [(0, E.NONE, 2 * size)]


def test_time_ends_a_wait(wire: Any, filled: Any) -> None:
    started = time.monotonic()
    (answer,) = partitions(wire.request(fetch(filled, part(0, 0), max_wait_ms=50, min_bytes=100_000), 12))
    assert time.monotonic() - started >= 0.05
    assert [one.base_offset for one in batches(answer.records)] == [0, 3]


@pytest.mark.parametrize("version", [12, 13])
def test_an_unknown_partition_is_no_reason_to_hurry(wire: Any, filled: Any, version: int) -> None:
    unknown = of(type(filled)("nobody-knows", UNKNOWN_ID))
    started = time.monotonic()
    response = wire.request(fetch(filled, part(7), part(1), more=(unknown,), max_wait_ms=50), version)
    assert time.monotonic() - started >= 0.05
    assert [(one.partition_index, one.error_code > 0) for one in partitions(response)] == [
        (1, False),
        (7, True),
        (0, True),
    ]


def test_deletion_ends_a_wait(wire: Any, shared_broker: KafkaBroker) -> None:
    topic = wire.topic()
    with type(wire)(shared_broker.host, shared_broker.port) as consumer:
        consumer.send(fetch(topic, max_wait_ms=LONG), 12)
        wire.delete(topic)
        (answer,) = partitions(consumer.receive(1, 12)[1])
    assert answer.error_code in (E.UNKNOWN_TOPIC_OR_PARTITION, E.NOT_LEADER_OR_FOLLOWER)


# -- sessions ----------------------------------------------------------------------------------------------------------


class Session:
    """A client's fetch session."""

    def __init__(self, wire: Any, version: int, topic: Any, *parts: Any) -> None:
        self.wire, self.version = wire, version
        self.opened = wire.request(fetch(topic, *parts, session_epoch=0), version)
        self.id = self.opened.session_id
        self.epoch = 0

    def next(self, *topics: Any, **fields: Any) -> Any:
        """The next incremental answer."""
        self.epoch += 1
        fields = {"max_wait_ms": 0, "min_bytes": 1, "session_epoch": self.epoch} | fields
        return self.wire.request(FetchRequest(session_id=self.id, topics=list(topics), **fields), self.version)


@pytest.mark.parametrize("version", SESSION_VERSIONS)
def test_a_session_answers_what_is_new(wire: Any, filled: Any, version: int) -> None:
    session = Session(wire, version, filled, part(0, 5), part(1))
    assert session.id > 0
    assert summary(session.opened) == [(0, E.NONE, 0), (1, E.NONE, 0)]
    quiet = session.next()
    assert (quiet.error_code, quiet.session_id, quiet.responses) == (0, session.id, [])
    wire.produce(filled, batch(), partition=1)
    size = len(batch())
    assert summary(session.next()) == [(1, E.NONE, size)]
    assert summary(session.next()) == [(1, E.NONE, size)], "records come again until the client goes on"
    assert summary(session.next(of(filled, part(1, 1)))) == []
    assert summary(session.next(of(filled, part(0, 3)))) == [(0, E.NONE, len(batch(2)))]


@pytest.mark.parametrize("version", [7, 12, 13, 18])
def test_a_session_can_be_changed_and_ended(wire: Any, filled: Any, version: int) -> None:
    session = Session(wire, version, filled, part(0, 5))
    assert summary(session.next(of(filled, part(1)))) == [(1, E.NONE, 0)]
    forgotten = FetchRequest.ForgottenTopicData(topic=filled.name, topic_id=filled.id, partitions=[0])
    assert summary(session.next(forgotten_topics_data=[forgotten])) == []
    wire.produce(filled, batch())
    assert summary(session.next()) == []
    unknown = of(type(filled)("nobody-knows", UNKNOWN_ID))
    code = E.UNKNOWN_TOPIC_OR_PARTITION if version < 13 else E.UNKNOWN_TOPIC_ID
    assert summary(session.next(unknown)) == [(0, code, 0)]
    assert summary(session.next()) == [(0, code, 0)], "errors are told each time"
    ended = session.next(session_epoch=-1)
    assert (ended.error_code, ended.session_id) == (0, 0)
    assert session.next().error_code == E.FETCH_SESSION_ID_NOT_FOUND


@pytest.mark.parametrize("version", SESSION_VERSIONS)
def test_session_errors(wire: Any, filled: Any, version: int) -> None:
    session = Session(wire, version, filled)
    wrong = session.next(session_epoch=9)
    assert (wrong.error_code, wrong.session_id, wrong.responses) == (E.INVALID_FETCH_SESSION_EPOCH, 0, [])
    for session_id, epoch in ((0, 5), (0, -2), (-5, 5), (session.id ^ 1, 1)):
        request = fetch(filled, session_id=session_id, session_epoch=epoch)
        response = wire.request(request, version)
        assert (response.error_code, response.responses) == (E.FETCH_SESSION_ID_NOT_FOUND, [])
    session.epoch = 0
    session.version = 12 if version >= 13 else 13
    assert session.next().error_code == E.FETCH_SESSION_TOPIC_ID_ERROR
    session.version, session.epoch = version, 0
    assert session.next().error_code == 0, "an error moves no epoch"


def test_a_full_fetch_replaces_the_session_it_names(wire: Any, filled: Any) -> None:
    session = Session(wire, 12, filled)
    again = wire.request(fetch(filled, session_id=session.id, session_epoch=0), 12)
    assert again.session_id not in (0, session.id)
    assert session.next().error_code == E.FETCH_SESSION_ID_NOT_FOUND


def test_an_empty_session_is_one(wire: Any, filled: Any) -> None:
    opened = wire.request(FetchRequest(max_wait_ms=LONG, min_bytes=1, session_epoch=0), 12)
    assert opened.session_id > 0
    request = fetch(filled, part(0, 3), session_id=opened.session_id, session_epoch=1)
    assert summary(wire.request(request, 12)) == [(0, E.NONE, len(batch(2)))]


def test_a_session_waits_too(wire: Any, shared_broker: KafkaBroker, filled: Any) -> None:
    session = Session(wire, 13, filled, part(0, 5), part(1))
    request = FetchRequest(max_wait_ms=LONG, min_bytes=1, session_id=session.id, session_epoch=1)
    wire.send(request, 13)
    with type(wire)(shared_broker.host, shared_broker.port) as producer:
        producer.produce(filled, batch(), partition=1)
    assert summary(wire.receive(1, 13)[1]) == [(1, E.NONE, len(batch()))]


def test_a_session_overtaken_while_it_waits(wire: Any, shared_broker: KafkaBroker, filled: Any) -> None:
    session = Session(wire, 13, filled, part(1))
    with type(wire)(shared_broker.host, shared_broker.port) as other:
        first = FetchRequest(max_wait_ms=LONG, min_bytes=1, session_id=session.id, session_epoch=1)
        wire.send(first, 13)
        second = FetchRequest(max_wait_ms=0, min_bytes=1, session_id=session.id, session_epoch=2)
        while (response := other.request(second, 13)).error_code == E.INVALID_FETCH_SESSION_EPOCH:
            pass  # The first is still on its way.
        assert response.error_code == 0
        other.produce(filled, batch(), partition=1)
    overtaken = wire.receive(1, 13)[1]
    assert (overtaken.error_code, overtaken.responses) == (E.INVALID_FETCH_SESSION_EPOCH, [])
    assert overtaken.session_id == session.id


def test_partitions_take_turns_where_not_all_fit(wire: Any) -> None:
    topic = wire.topic(3)
    for partition in range(3):
        wire.produce(topic, batch(), partition=partition)
    session = Session(wire, 12, topic)
    limit = {"max_bytes": len(batch())}
    served = []
    for added in ([of(topic, part(1), part(2))], [], [], []):
        response = session.next(*added, **limit)
        served += [index for index, _, size in summary(response) if size]
    assert served == [0, 1, 2, 0]


@pytest.mark.parametrize("version", [12, 13])
def test_a_topic_made_again_is_another_to_a_session_of_ids(wire: Any, version: int) -> None:
    topic = wire.topic()
    session = Session(wire, version, topic)
    wire.delete(topic)
    assert summary(session.next()) == [(0, E.UNKNOWN_TOPIC_OR_PARTITION, 0)]
    again = wire.topic(name=topic.name)
    assert again.id != topic.id
    assert summary(session.next()) == [(0, E.NONE if version < 13 else E.INCONSISTENT_TOPIC_ID, 0)]
