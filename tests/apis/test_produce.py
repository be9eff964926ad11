"""Produce over the wire, field by field. The outcomes are Apache Kafka 4.3's; of versions 0 to 2, 3.9's."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import build_message_set
from pykbroker.protocol.records.record import Record
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

BATCH_VERSIONS = range(3, 14)
OLD_VERSIONS = range(3)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def batch(count: int = 1, **options: Any) -> bytes:
    return build_batch([(b"k", b"v")] * count, **({"timestamp": now_ms()} | options))


def message_set(magic: int, count: int = 1, codec: int = 0) -> bytes:
    timestamp = now_ms() if magic else -1
    records = [Record(offset=i, timestamp=timestamp, key=b"k", value=b"v", headers=()) for i in range(count)]
    return build_message_set(records, magic, codec)


def stored(wire: Any, topic: Any) -> list[Any]:
    """The batches of a topic's partition 0."""
    partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    request = FetchRequest(topics=[FetchRequest.Topic(topic=topic.name, partitions=[partition])])
    return list(batches(wire.request(request, 11).responses[0].partitions[0].records))


@pytest.mark.parametrize("version", BATCH_VERSIONS)
@pytest.mark.parametrize("acks", [1, -1])
def test_records_get_offsets(wire: Any, version: int, acks: int) -> None:
    topic = wire.topic()
    for base_offset in (0, 3):
        answer = wire.produce(topic, batch(3), version, acks=acks)
        assert (answer.index, answer.error_code, answer.base_offset) == (0, 0, base_offset)
        assert answer.log_append_time_ms == -1
        assert answer.log_start_offset == (0 if version >= 5 else -1)
        assert answer.record_errors == []
        assert answer.error_message is None
        assert answer.current_leader.leader_id == -1


@pytest.mark.parametrize("version", range(14))
def test_a_topic_is_answered_as_it_was_asked(wire: Any, version: int) -> None:
    topic = wire.topic(2)
    records = batch() if version >= 3 else message_set(1)
    data = [ProduceRequest.TopicData.PartitionData(index=index, records=records) for index in (1, 0)]
    topic_data = ProduceRequest.TopicData(name=topic.name, topic_id=topic.id, partition_data=data)
    answer = wire.request(ProduceRequest(acks=1, timeout_ms=1000, topic_data=[topic_data]), version)
    (one,) = answer.responses
    assert (one.name, one.topic_id) == ((topic.name, ZERO_UUID) if version < 13 else ("", topic.id))
    assert [(part.index, part.error_code) for part in one.partition_responses] == [(1, 0), (0, 0)]
    assert answer.throttle_time_ms == 0
    assert answer.node_endpoints == []


@pytest.mark.parametrize("version", OLD_VERSIONS)
@pytest.mark.parametrize(("magic", "codec"), [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
def test_old_formats_are_stored_converted(wire: Any, version: int, magic: int, codec: int) -> None:
    topic = wire.topic()
    for base_offset in (0, 2):
        answer = wire.produce(topic, message_set(magic, 2, codec), version, acks=1)
        assert (answer.error_code, answer.base_offset, answer.log_append_time_ms) == (0, base_offset, -1)
    found = stored(wire, topic)
    assert [one.magic for one in found] == [2, 2]
    assert [record.offset for one in found for record in one.records()] == [0, 1, 2, 3]
    assert {(record.key, record.value) for one in found for record in one.records()} == {(b"k", b"v")}
    if magic == 0:
        assert {one.max_timestamp for one in found} == {-1}


def broken(records: bytes, place: int, value: bytes) -> bytes:
    return records[:place] + value + records[place + len(value) :]


REFUSED: dict[str, tuple[bytes, E, int]] = {
    "no batch": (b"", E.INVALID_RECORD, -1),
    "a few bytes": (b"0" * 10, E.INVALID_RECORD, -1),
    "cut short": (batch(3)[:-4], E.INVALID_RECORD, -1),
    "two batches": (batch() + batch(), E.INVALID_RECORD, -1),
    "an old format": (message_set(1), E.INVALID_RECORD, -1),
    "unknown magic": (broken(batch(), 16, b"\x05"), E.CORRUPT_MESSAGE, -1),
    "negative magic": (broken(batch(), 16, b"\xff"), E.CORRUPT_MESSAGE, -1),
    "no length": (broken(batch(), 8, b"\0\0\0\5"), E.CORRUPT_MESSAGE, -1),
    "negative length": (broken(batch(), 8, b"\xff\xff\xff\xff"), E.CORRUPT_MESSAGE, -1),
    "wrong checksum": (broken(batch(), 17, b"\0\0\0\0"), E.CORRUPT_MESSAGE, -1),
    "too large": (build_batch([(None, bytes(2000))], timestamp=now_ms()), E.MESSAGE_TOO_LARGE, -1),
    "control batch": (batch(control=True), E.INVALID_RECORD, 0),
    "base offset": (batch(base_offset=5), E.INVALID_RECORD, 0),
    "far future": (batch(timestamp=now_ms() + 48 * 3_600_000), E.INVALID_TIMESTAMP, 0),
}


@pytest.mark.parametrize("version", [3, 5, 8, 10, 13])
def test_bad_records_are_refused(wire: Any, version: int) -> None:
    topic = wire.topic(max_message_bytes="1000")
    for what, (records, code, log_start_offset) in REFUSED.items():
        answer = wire.produce(topic, records, version)
        assert (answer.error_code, answer.base_offset, answer.log_append_time_ms) == (code, -1, -1), what
        assert answer.log_start_offset == (log_start_offset if version >= 5 else -1), what
    assert wire.produce(topic, batch(), version).base_offset == 0


def test_only_refused_records_are_explained(wire: Any) -> None:
    topic = wire.topic(cleanup_policy="compact")
    keyless = build_batch([(b"k", b"v"), (None, b"v")], timestamp=now_ms())
    answer = wire.produce(topic, keyless, 8)
    assert answer.error_code == E.INVALID_RECORD
    assert [error.batch_index for error in answer.record_errors] == [1]
    assert answer.record_errors[0].batch_index_error_message
    assert answer.error_message
    assert wire.produce(topic, broken(batch(), 17, b"\0\0\0\0"), 8).error_message is None


def test_an_incomplete_batch_behind_the_first_is_left_out(wire: Any) -> None:
    topic = wire.topic()
    assert wire.produce(topic, batch() + batch()[:40]).error_code == 0
    assert [one.count for one in stored(wire, topic)] == [1]


def test_null_records_are_refused(wire: Any) -> None:
    assert wire.produce(wire.topic(), None).error_code == E.INVALID_RECORD


@pytest.mark.parametrize("version", [3, 12, 13])
def test_unknown_topics_and_partitions(wire: Any, version: int) -> None:
    topic = wire.topic()
    unknown = type(topic)("nobody-knows", ZERO_UUID)
    by_id = version >= 13
    assert wire.produce(unknown, batch(), version).error_code == (
        E.UNKNOWN_TOPIC_ID if by_id else E.UNKNOWN_TOPIC_OR_PARTITION
    )
    for partition in (1, -1):
        answer = wire.produce(topic, batch(), version, partition=partition)
        assert (answer.index, answer.error_code, answer.base_offset) == (partition, E.UNKNOWN_TOPIC_OR_PARTITION, -1)
    assert wire.produce(unknown, batch(), version, acks=2).error_code != E.INVALID_REQUIRED_ACKS


@pytest.mark.parametrize("acks", [2, -2])
def test_other_acks_are_refused(wire: Any, acks: int) -> None:
    topic = wire.topic()
    answer = wire.produce(topic, batch(), 7, acks=acks)
    assert (answer.error_code, answer.base_offset, answer.log_start_offset) == (E.INVALID_REQUIRED_ACKS, -1, -1)
    assert wire.produce(topic, b"", 7, acks=acks).error_code == E.INVALID_RECORD


def test_nothing_asked_nothing_answered(wire: Any) -> None:
    assert wire.request(ProduceRequest(acks=1, timeout_ms=10), 7).responses == []
    topic = ProduceRequest.TopicData(name=wire.topic().name)
    assert wire.request(ProduceRequest(acks=1, timeout_ms=10, topic_data=[topic]), 7).responses == []


def test_internal_topics_are_the_admin_clients_alone(wire: Any, shared_broker: KafkaBroker) -> None:
    assert wire.request(FindCoordinatorRequest(key="g"), 0).error_code in (0, E.COORDINATOR_NOT_AVAILABLE)
    internal = type(wire.topic())("__consumer_offsets")
    answer = wire.produce(internal, batch(), 7, partition=0)
    assert (answer.error_code, answer.base_offset, answer.log_start_offset) == (E.INVALID_TOPIC_EXCEPTION, -1, -1)
    assert wire.produce(internal, batch(), 7, acks=2).error_code == E.INVALID_REQUIRED_ACKS
    with type(wire)(shared_broker.host, shared_broker.port, client_id="__admin_client") as admin:
        assert admin.produce(internal, batch(), 7).error_code == 0


def test_zstd_is_for_version_7_on(wire: Any) -> None:
    topic = wire.topic()
    answer = wire.produce(topic, batch(compression=Compression.ZSTD), 6)
    assert (answer.error_code, answer.base_offset) == (E.UNSUPPORTED_COMPRESSION_TYPE, -1)
    assert wire.produce(topic, batch(compression=Compression.ZSTD), 7).error_code == 0


@pytest.mark.parametrize("version", range(1, 14))
def test_log_append_time_is_told_and_stored(wire: Any, version: int) -> None:
    topic = wire.topic(message_timestamp_type="LogAppendTime")
    before = now_ms()
    answer = wire.produce(topic, batch(2, timestamp=5) if version >= 3 else message_set(1, 2), version)
    (one,) = stored(wire, topic)
    assert one.is_log_append_time
    assert before <= one.max_timestamp <= now_ms()
    assert answer.log_append_time_ms == (one.max_timestamp if version >= 2 else -1)


def test_sequences_of_an_idempotent_producer(wire: Any) -> None:
    topic = wire.topic()
    identity = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
    producer_id = wire.request(identity, 4).producer_id

    def say(sequence: int, count: int = 1, epoch: int = 0) -> tuple[int, int]:
        records = batch(count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
        answer = wire.produce(topic, records)
        return E(answer.error_code), answer.base_offset

    assert say(0, 3) == (E.NONE, 0)
    assert say(0, 3) == (E.NONE, 0), "a batch that comes again is acknowledged with its first offset"
    assert say(3, 2) == (E.NONE, 3)
    assert say(9) == (E.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert say(5, epoch=1) == (E.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert say(0, epoch=1) == (E.NONE, 5)
    assert say(5) == (E.INVALID_PRODUCER_EPOCH, -1)
    assert len(stored(wire, topic)) == 3


@pytest.mark.parametrize("version", [3, 11, 12, 13])
def test_transactional_records_need_a_transaction(wire: Any, version: int) -> None:
    topic = wire.topic(2)
    transactional = batch(producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    data = [
        ProduceRequest.TopicData.PartitionData(index=0, records=transactional),
        ProduceRequest.TopicData.PartitionData(index=1, records=batch()),
    ]
    topic_data = [ProduceRequest.TopicData(name=topic.name, topic_id=topic.id, partition_data=data)]
    codes = {}
    for name in (None, "t"):
        request = ProduceRequest(transactional_id=name, acks=1, timeout_ms=1000, topic_data=topic_data)
        (answer,) = wire.request(request, version).responses
        codes[name] = [one.error_code for one in answer.partition_responses]
    assert codes[None] == [E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED] * 2
    assert codes["t"] == [E.NOT_ENOUGH_REPLICAS, E.NONE]


def test_acks_0_is_not_answered(wire: Any) -> None:
    topic = wire.topic()
    data = ProduceRequest.TopicData.PartitionData(index=0, records=batch())
    request = ProduceRequest(
        acks=0, timeout_ms=1000, topic_data=[ProduceRequest.TopicData(name=topic.name, partition_data=[data])]
    )
    wire.send(request, 7)
    wire.send(request, 7)
    assert wire.produce(topic, batch(), 7).base_offset == 2


@pytest.mark.parametrize("version", [7, 13])
def test_acks_0_gone_wrong_ends_the_connection(wire: Any, shared_broker: KafkaBroker, version: int) -> None:
    topic = wire.topic()
    data = ProduceRequest.TopicData.PartitionData(index=3, records=batch())
    topic_data = ProduceRequest.TopicData(name=topic.name, topic_id=topic.id, partition_data=[data])
    with WireClient(shared_broker.host, shared_broker.port) as client:
        client.send(ProduceRequest(acks=0, timeout_ms=1000, topic_data=[topic_data]), version)
        with pytest.raises(ConnectionError):
            client.receive_frame()
