"""DescribeLogDirs and AlterReplicaLogDirs: directories, sizes, those that are offline, replicas that move."""

from pathlib import Path
from typing import Any

import pytest

from pykbroker.apis.log_dirs import describe_log_dirs
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest
from pykbroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker


def described(wire: Any, version: int, topics: dict[str, list[int]] | None = None) -> Any:
    asked = None
    if topics is not None:
        asked = [DescribeLogDirsRequest.Topic(topic=name, partitions=indexes) for name, indexes in topics.items()]
    answer = wire.request(DescribeLogDirsRequest(topics=asked), version)
    assert answer.error_code == ErrorCode.NONE
    return answer.results


@pytest.mark.parametrize("version", range(6))
def test_sizes(wire: Any, version: int) -> None:
    topic = wire.topic(partitions=2)
    batch = build_batch([(None, b"x" * 1000)], timestamp=1)
    wire.produce(topic, batch)
    (result,) = described(wire, version, {topic.name: [0, 1], "unknown": [0]})
    assert result.error_code == ErrorCode.NONE
    (found,) = result.topics
    assert found.name == topic.name
    sizes = [(one.partition_index, one.partition_size, one.offset_lag, one.is_future_key) for one in found.partitions]
    assert sizes == [(0, len(batch), 0, False), (1, 0, 0, False)]
    if version >= 4:
        assert 0 < result.usable_bytes < result.total_bytes
    assert not result.is_cordoned


def test_null_asks_for_all_and_no_topics_for_none(wire: Any) -> None:
    topic = wire.topic()
    (everything,) = described(wire, 4)
    assert topic.name in [one.name for one in everything.topics]
    (nothing,) = described(wire, 4, {})
    assert nothing.topics == []


async def test_directories_that_are_lost(one_broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    directories = {"/offline": None, str(one_broker.directory / "gone"): [], str(one_broker.directory): []}
    monkeypatch.setattr(one_broker.services.replica_manager, "log_directories", lambda: directories)
    answer = await one_broker.ask(describe_log_dirs, DescribeLogDirsRequest(topics=None), 4)
    lost = ErrorCode.KAFKA_STORAGE_ERROR
    assert [(one.log_dir, one.error_code) for one in answer.results] == list(
        zip(directories, (lost, lost, ErrorCode.NONE), strict=True)
    )
    assert (answer.results[0].total_bytes, answer.results[0].usable_bytes) == (-1, -1)


def moved(wire: Any, topic: str, path: str, version: int, partition: int = 0) -> ErrorCode:
    asked = AlterReplicaLogDirsRequest.Dir.Topic(name=topic, partitions=[partition])
    request = AlterReplicaLogDirsRequest(dirs=[AlterReplicaLogDirsRequest.Dir(path=path, topics=[asked])])
    (result,) = wire.request(request, version).results
    assert result.topic_name == topic
    ((index, code),) = [(one.partition_index, one.error_code) for one in result.partitions]
    assert index == partition
    return ErrorCode(code)


@pytest.mark.parametrize("version", range(3))
def test_replicas_move_between_directories(tmp_path: Path, wire_to: Any, version: int) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    slow = "replica.alter.log.dirs.io.max.bytes.per.second"
    with KafkaBroker(data_dir=a, config={"log.dirs": f"{a},{b}", slow: 1, "replica.fetch.max.bytes": 1}) as broker:
        wire = wire_to(broker)
        assert moved(wire, "t", "/nowhere", version) is ErrorCode.LOG_DIR_NOT_FOUND
        assert moved(wire, "t", b, version) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        topic = wire.topic(name="t")
        (there,) = [one.log_dir for one in described(wire, 5, {"t": [0]}) if one.topics]
        assert there == b
        for _ in range(3):
            wire.produce(topic, build_batch([(None, bytes(1000))], timestamp=1))
        assert moved(wire, "t", a, version) is ErrorCode.NONE
        lags = {one.log_dir: one.topics[0].partitions[0] for one in described(wire, 5, {"t": [0]})}
        assert (lags[b].is_future_key, lags[a].is_future_key) == (False, True)
        assert 0 < lags[a].offset_lag <= 3
        assert lags[b].partition_size > lags[a].partition_size
        assert moved(wire, "t", b, version) is ErrorCode.NONE
        assert [one.log_dir for one in described(wire, 5, {"t": [0]}) if one.topics] == [b]
