"""A broker process that is killed -9 while a replica moves between its directories: nothing acked is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

pytestmark = pytest.mark.slow

RECORD = bytes(2000)


def move(client: WireClient, path: Path) -> ErrorCode:
    topic = AlterReplicaLogDirsRequest.Dir.Topic(name="t", partitions=[0])
    request = AlterReplicaLogDirsRequest(dirs=[AlterReplicaLogDirsRequest.Dir(path=str(path), topics=[topic])])
    (result,) = client.request(request, 2).results
    return ErrorCode(result.partitions[0].error_code)


def produce(client: WireClient, count: int) -> Any:
    records = build_batch([(None, RECORD)] * count, timestamp=1)
    data = ProduceRequest.TopicData.PartitionData(index=0, records=records)
    topic = ProduceRequest.TopicData(name="t", partition_data=[data])
    answer = client.request(ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[topic]), 9)
    found = answer.responses[0].partition_responses[0]
    assert found.error_code == ErrorCode.NONE
    return found.base_offset


def homes(*directories: Path) -> list[Path]:
    return [path for path in directories if (path / "t-0").is_dir()]


def offsets(directory: Path) -> list[int]:
    found: list[int] = []
    for path in sorted(directory.glob("*.log")):
        found += [
            offset
            for batch in batches(memoryview(path.read_bytes()))
            for offset in range(batch.base_offset, batch.last_offset + 1)
        ]
    return found


def test_killed_while_it_moves(tmp_path: Path) -> None:
    directories = a, b = tmp_path / "a", tmp_path / "b"
    config = {
        "log.segment.bytes": "1048576",
        "replica.fetch.max.bytes": "100000",
        "log.flush.offset.checkpoint.interval.ms": "50",
    }
    broker = BrokerProcess(data_dir=f"{a},{b}", config=config)
    acked = 0
    for round_number in range(3):
        broker.start()
        with WireClient(broker.host, broker.port) as client:
            if not round_number:
                topic = CreateTopicsRequest.Topic(name="t", num_partitions=1, replication_factor=1)
                client.request(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 5)
                acked = 400 + produce(client, 400)
            (home,) = homes(*directories)
            assert move(client, b if home == a else a) is ErrorCode.NONE
            for _ in range(1 + 5 * round_number):
                acked = 20 + produce(client, 20)
        broker.kill()
        assert homes(*directories), os.listdir(tmp_path)
    with broker:
        (home,) = homes(*directories)
        with WireClient(broker.host, broker.port) as client:
            assert produce(client, 1) == acked
    assert offsets(home / "t-0") == list(range(acked + 1))
