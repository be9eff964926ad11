"""Appends, leadership and waits on the partitions hosted here, over real logs in a temporary directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from pykbroker.cluster.image import ClusterImage, PartitionState, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import SystemClock
from pykbroker.server.disk import InlineDisk
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_manager import LogManager

TP = TopicPartition("t", 0)
TOPIC_ID = UUID(int=7)
ALONE = PartitionState(leader=1, leader_epoch=0, isr=(1,), replicas=(1,), partition_epoch=0, controller_epoch=1)
FOLLOWED = PartitionState(leader=1, leader_epoch=0, isr=(1, 2), replicas=(1, 2), partition_epoch=0, controller_epoch=1)


class Broker:
    """A replica manager and what it stands on."""

    def __init__(self, directory: Path) -> None:
        config = BrokerConfig()
        self.logs = LogManager([directory], LogConfig.resolve(config, {}))
        self.logs.open()
        self.metadata = MetadataCache(config)
        self.purgatory = Purgatory()
        self.replicas = ReplicaManager(self.logs, self.metadata, self.purgatory, InlineDisk(), SystemClock())

    async def lead(self, state: PartitionState = ALONE, tp: TopicPartition = TP) -> ErrorCode:
        return (await self.replicas.apply_leader_and_isr([LeaderState(tp, TOPIC_ID, state, True)]))[tp]

    def append(self, value: bytes = b"v", acks: int = 1, tp: TopicPartition = TP) -> int:
        batch = memoryview(bytearray(build_batch([(None, value)], timestamp=1)))
        return self.replicas.append(tp, batch, acks=acks, request_version=9).first_offset


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.logs.close()


async def test_leading_makes_the_log_and_appends_are_committed_at_once(broker: Broker) -> None:
    assert await broker.lead() is ErrorCode.NONE
    assert [broker.append(), broker.append()] == [0, 1]
    replica = broker.replicas.leader(TP)
    assert replica.partition.high_watermark == replica.last_stable_offset == 2
    assert broker.replicas.high_watermarks() == {TP: 2}


async def test_who_leads_what(broker: Broker) -> None:
    with pytest.raises(KafkaError) as unknown:
        broker.replicas.leader(TP)
    assert unknown.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    broker.metadata.publish(ClusterImage("c").with_topics(TopicImage("t", TOPIC_ID, {0: ALONE})))
    with pytest.raises(KafkaError) as elsewhere:
        broker.replicas.leader(TP)
    assert elsewhere.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_a_stale_decision_and_another_topics_log(broker: Broker) -> None:
    await broker.lead()
    assert await broker.lead() is ErrorCode.STALE_CONTROLLER_EPOCH
    other = LeaderState(TP, UUID(int=8), ALONE, True)
    assert (await broker.replicas.apply_leader_and_isr([other]))[TP] is ErrorCode.INCONSISTENT_TOPIC_ID


async def test_acks_all_waits_for_the_isr_and_says_when_it_took_too_long(
    broker: Broker, autojump_clock: MockClock
) -> None:
    await broker.lead(FOLLOWED)
    broker.append(acks=-1)
    with pytest.raises(KafkaError) as late:
        await broker.replicas.wait_for_high_watermark(TP, 1, 5)
    assert late.value.code is ErrorCode.REQUEST_TIMED_OUT


async def test_a_wait_ends_when_leadership_does(broker: Broker, autojump_clock: MockClock) -> None:
    await broker.lead(FOLLOWED)
    broker.append(acks=-1)
    seen: list[ErrorCode] = []

    async def wait() -> None:
        try:
            await broker.replicas.wait_for_high_watermark(TP, 1, 1000)
        except KafkaError as error:
            seen.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await broker.replicas.stop_replicas([TP], delete=False)
    assert seen == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert trio.current_time() == 0


async def test_too_small_an_isr_takes_nothing(broker: Broker) -> None:
    broker.metadata.set_overrides("t", {"min.insync.replicas": "2"})
    await broker.lead(ALONE._replace(replicas=(1, 2)))
    with pytest.raises(KafkaError) as refused:
        broker.append(acks=-1)
    assert refused.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert broker.append(acks=1) == 0


async def test_an_internal_topics_leadership_is_told(broker: Broker) -> None:
    told: list[tuple[str, int, int]] = []
    first, second = TopicPartition("__consumer_offsets", 3), TopicPartition("__consumer_offsets", 4)
    await broker.lead(tp=first)
    broker.replicas.on_leadership(
        "__consumer_offsets",
        lambda partition, epoch: told.append(("elected", partition, epoch)),
        lambda partition, epoch: told.append(("resigned", partition, epoch)),
    )
    await broker.lead(tp=second)
    await broker.replicas.stop_replicas([first], delete=True)
    assert told == [("elected", 3, 0), ("elected", 4, 0), ("resigned", 3, 0)]
    assert broker.logs.get(first) is None


async def test_a_coordinator_of_an_older_epoch_appends_nothing(broker: Broker) -> None:
    await broker.lead()
    batch = build_batch([(b"k", b"v")], timestamp=1)
    assert broker.replicas.append_internal(TP, batch, 0).first_offset == 0
    with pytest.raises(KafkaError) as stale:
        broker.replicas.append_internal(TP, batch, 1)
    assert stale.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_a_failing_disk_is_said_once_and_so_is_its_return(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.lead()
    broker.append()
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patched:
        patched.setattr("os.write", _full)
        patched.setattr("os.pwrite", _full)
        for _ in range(3):
            with pytest.raises(KafkaError) as failed:
                broker.append()
            assert failed.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.append() == 1
    said = [record.message for record in caplog.records if record.name == "pykbroker.server.replica_manager"]
    assert len(said) == 2
    assert "No space left on device" in said[0]
    assert "succeed again" in said[1]


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")
