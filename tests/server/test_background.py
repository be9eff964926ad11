"""The jobs of a broker: retention, deletions, flushes by time and count, producers that have gone."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykbroker.cluster.image import PartitionState
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.background import Jobs
from pykbroker.server.disk import InlineDisk
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_manager import LogManager

TP = TopicPartition("t", 0)
ALONE = PartitionState(leader=1, leader_epoch=0, isr=(1,), replicas=(1,), partition_epoch=0, controller_epoch=1)
START = 1_700_000_000_000


class TrioClock:
    """Trio's own time, which the tests wind."""

    def now_ms(self) -> int:
        return START + round(trio.current_time() * 1000)

    def monotonic(self) -> float:
        return trio.current_time()


class Broker:
    """What the jobs work on."""

    def __init__(self, *directories: Path) -> None:
        self.config = LiveConfig(BrokerConfig(producer_id_expiration_ms=900_000))
        self.clock = TrioClock()
        self.logs = LogManager(directories, LogConfig(), clock=lambda: START)
        self.logs.open()
        disk = InlineDisk()
        self.replicas = ReplicaManager(self.logs, MetadataCache(self.config), Purgatory(), disk, self.clock)
        self.jobs = Jobs(self.config, self.logs, self.replicas, disk, self.clock)

    async def lead(self, tp: TopicPartition = TP, **config: Any) -> Any:
        await self.replicas.apply_leader_and_isr([LeaderState(tp, UUID(int=7), ALONE, True)])
        self.replicas.update_configs({tp.topic: LogConfig(**config)})
        return self.replicas.leader(tp)

    def append(self, tp: TopicPartition = TP, **batch: Any) -> None:
        data = build_batch([(b"k", b"v")], timestamp=self.clock.now_ms(), **batch)
        self.replicas.append(tp, memoryview(bytearray(data)), acks=1, request_version=9)


def marked(directory: Path) -> int:
    return len(list(directory.glob("t-0/*.deleted")))


@pytest.fixture
async def broker(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Broker]:
    made = Broker(tmp_path)
    nursery.start_soon(made.jobs.run)
    yield made
    nursery.cancel_scope.cancel()
    made.logs.close(sync=False)


async def test_retention_is_looked_at_after_30_seconds_and_then_at_its_interval(
    broker: Broker, autojump_clock: MockClock
) -> None:
    replica = await broker.lead(retention_ms=1000)
    broker.append()
    await trio.sleep(29)
    assert replica.log.log_start_offset == 0
    await trio.sleep(2)
    assert replica.log.log_start_offset == 1
    broker.append()
    await trio.sleep(298)
    assert replica.log.log_start_offset == 1
    await trio.sleep(2)
    assert replica.log.log_start_offset == 2


async def test_deleted_files_go_after_their_delay(broker: Broker, autojump_clock: MockClock, tmp_path: Path) -> None:
    await broker.lead(retention_ms=1000, file_delete_delay_ms=5000)
    broker.append()
    await trio.sleep(2)
    await broker.jobs.run_retention()
    assert marked(tmp_path) == 3
    await trio.sleep(4.9)
    assert marked(tmp_path) == 3
    await trio.sleep(0.2)
    assert marked(tmp_path) == 0


async def test_a_changed_topic_config_counts_at_the_next_check(
    broker: Broker, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    replica = await broker.lead()
    broker.append()
    await trio.sleep(2)
    await broker.jobs.run_retention()
    assert replica.log.log_start_offset == 0
    broker.replicas.update_configs({"t": LogConfig(retention_ms=1000)})
    await broker.jobs.run_retention()
    assert replica.log.log_start_offset == 1
    assert "deleted 1 segments of t-0 by retention.ms=1000" in caplog.text


async def test_flush_ms_counts_from_the_first_append(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead(flush_ms=500)
    broker.append()
    await trio.sleep(0.3)
    broker.append()
    assert replica.log.recovery_point == 0
    await trio.sleep(0.3)
    assert replica.log.recovery_point == 2
    broker.append()
    await trio.sleep(0.6)
    assert replica.log.recovery_point == 3


async def test_a_changed_flush_ms_holds_for_what_is_there(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead(flush_ms=60_000)
    broker.append()
    broker.replicas.update_configs({"t": LogConfig(flush_ms=500)})
    await trio.sleep(0.4)
    assert replica.log.recovery_point == 0
    await trio.sleep(0.2)
    assert replica.log.recovery_point == 1


async def test_a_rolled_segment_is_flushed_alone(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead()
    broker.append()
    replica.log.roll(START)
    broker.append()
    await trio.sleep(0.1)
    assert replica.log.recovery_point == 1


async def test_what_waits_for_its_flush_is_not_committed_before(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead(flush_messages=2)
    broker.append()
    assert replica.partition.high_watermark == 1
    broker.append()
    broker.append()
    assert replica.partition.high_watermark == 1
    await broker.replicas.wait_for_flush(TP)
    assert (replica.log.recovery_point, replica.partition.high_watermark) == (3, 3)


async def test_a_coordinators_records_wait_for_their_flush_too(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead(flush_messages=1)
    batch = build_batch([(b"k", b"v")], timestamp=START)
    broker.replicas.append_internal(TP, batch)
    await broker.replicas.wait_for_high_watermark(TP, 1, 5)
    assert replica.log.recovery_point == 1
    broker.replicas.append_internal(TP, batch)
    await wait_all_tasks_blocked()
    assert replica.partition.high_watermark == 2


async def test_who_waits_for_a_flush_that_fails_is_told(
    broker: Broker, autojump_clock: MockClock, tmp_path: Path, disk: Any
) -> None:
    replica = await broker.lead(flush_messages=1)
    with disk.failing("open", errno.ENOSPC, tmp_path, ".index"):
        broker.append()
        with pytest.raises(KafkaError) as caught:
            await broker.replicas.wait_for_flush(TP)
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert replica.partition.high_watermark == 0
    broker.append()
    await broker.replicas.wait_for_flush(TP)
    assert replica.partition.high_watermark == 2


async def test_producers_that_have_gone_are_forgotten(broker: Broker, autojump_clock: MockClock) -> None:
    replica = await broker.lead()
    broker.append(producer_id=1, producer_epoch=0, base_sequence=0)
    await trio.sleep(800)
    broker.append(producer_id=2, producer_epoch=0, base_sequence=0)
    assert [entry.producer_id for entry in replica.log.active_producers()] == [1, 2]
    await trio.sleep(450)
    assert [entry.producer_id for entry in replica.log.active_producers()] == [2]


async def test_checkpoints_are_written_in_time(broker: Broker, autojump_clock: MockClock, tmp_path: Path) -> None:
    replica = await broker.lead(retention_ms=-1)
    broker.append()
    broker.append()
    await trio.sleep(6)
    assert "t 0 2" in (tmp_path / "replication-offset-checkpoint").read_text()
    broker.replicas.delete_records(TP, 1)
    replica.log.flush()
    await trio.sleep(60)
    assert "t 0 1" in (tmp_path / "log-start-offset-checkpoint").read_text()
    assert "t 0 2" in (tmp_path / "recovery-point-offset-checkpoint").read_text()


async def test_the_cleaner_follows_what_is_set_while_it_runs(
    broker: Broker, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []

    def run_once(now_ms: int, high_watermarks: object) -> None:
        rounds.append(trio.current_time() - start)

    monkeypatch.setattr(broker.jobs.cleaner, "run_once", run_once)
    start = trio.current_time()
    await trio.sleep(0.01)
    broker.config.update(own={"log.cleaner.backoff.ms": "2000", "log.cleaner.io.max.bytes.per.second": "5.5"})
    await trio.sleep(5)
    assert [round(at, 2) for at in rounds] == [2.01, 4.01]
    assert broker.jobs.cleaner.max_bytes_per_second == 5.5
