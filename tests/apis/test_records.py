"""DeleteRecords as a client sees it."""

from typing import Any

import pytest

from pykbroker.apis.records import delete_records
from pykbroker.apis.topics import create_topics
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.topic_partition import TopicPartition

OK, OUT_OF_RANGE = ErrorCode.NONE, ErrorCode.OFFSET_OUT_OF_RANGE


async def made(broker: Any, name: str = "t", records: int = 5, **configs: str) -> Any:
    topic = CreateTopicsRequest.Topic(
        name=name,
        num_partitions=1,
        replication_factor=1,
        configs=[CreateTopicsRequest.Topic.Config(name=key, value=value) for key, value in configs.items()],
    )
    answer = await broker.ask(create_topics, CreateTopicsRequest(topics=[topic], timeout_ms=1000), 5)
    assert answer.topics[0].error_code == OK
    log = broker.services.replica_manager.log(TopicPartition(name, 0))
    for _ in range(records):
        batch = memoryview(bytearray(build_batch([(b"k", b"v")], timestamp=broker.services.clock.now_ms())))
        broker.services.replica_manager.append(TopicPartition(name, 0), batch, acks=1, request_version=9)
    return log


async def ask(broker: Any, offset: int, name: str = "t", partition: int = 0, version: int = 2) -> tuple[int, int]:
    asked = DeleteRecordsRequest.Topic(
        name=name, partitions=[DeleteRecordsRequest.Topic.Partition(partition_index=partition, offset=offset)]
    )
    answer = await broker.ask(delete_records, DeleteRecordsRequest(topics=[asked], timeout_ms=1000), version)
    found = answer.topics[0].partitions[0]
    assert found.partition_index == partition
    return found.error_code, found.low_watermark


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_the_low_watermark_rises_and_never_sinks(one_broker: Any, version: int) -> None:
    log = await made(one_broker)
    for offset, low_watermark in ((0, 0), (2, 2), (1, 2), (-1, 5), (5, 5)):
        assert await ask(one_broker, offset, version=version) == (OK, low_watermark)
        assert log.log_start_offset == low_watermark


@pytest.mark.parametrize("offset", [6, -2, 1 << 40])
async def test_offsets_out_of_range(one_broker: Any, offset: int) -> None:
    log = await made(one_broker)
    assert await ask(one_broker, offset) == (OUT_OF_RANGE, -1)
    assert log.log_start_offset == 0


async def test_what_has_no_records_to_delete(one_broker: Any) -> None:
    await made(one_broker)
    await made(one_broker, "compacted", **{"cleanup.policy": "compact"})
    await made(one_broker, "both", **{"cleanup.policy": "compact,delete"})
    await made(one_broker, "__consumer_offsets", records=0)
    assert await ask(one_broker, 1, "compacted") == (ErrorCode.POLICY_VIOLATION, -1)
    assert await ask(one_broker, 1, "both") == (OK, 1)
    assert await ask(one_broker, 0, "__consumer_offsets") == (ErrorCode.INVALID_TOPIC_EXCEPTION, -1)
    assert await ask(one_broker, 0, "nowhere") == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)
    assert await ask(one_broker, 0, partition=9) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)


async def test_segments_wholly_below_go_with_the_next_check(one_broker: Any) -> None:
    log = await made(one_broker, records=1, **{"file.delete.delay.ms": "0"})
    log.roll(0)
    await made(one_broker, "other")
    assert await ask(one_broker, -1) == (OK, 1)
    assert len(log.segments) == 2
    assert await one_broker.services.replica_manager.run_retention() == 1
    assert [segment.base_offset for segment in log.segments] == [1]
