"""Followers and their leader: what is replicated, cut, begun anew; over streams in memory, with a clock that jumps."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.replicas import TP, MemoryCluster
from trio.testing import MockClock

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import build_batch


@pytest.fixture
async def cluster(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[MemoryCluster]:
    made = MemoryCluster(nursery, tmp_path)
    yield made
    for node_id in list(made.nodes):
        made.kill(node_id)


async def caught_up(cluster: MemoryCluster) -> None:
    """Two long polls later everybody has everything, and knows that it is committed."""
    await trio.sleep(2)
    end = cluster.leader().replicas.leader(TP).log.log_end_offset
    assert {node.high_watermark() for node in cluster.nodes.values()} == {end}
    assert len({node.bytes() for node in cluster.nodes.values()}) == 1


@pytest.mark.slow
async def test_acks_all_is_answered_once_every_member_has_it(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    started = trio.current_time()
    assert await cluster.nodes[1].produce(b"a") == 0
    assert await cluster.nodes[1].produce(b"b", b"c") == 1
    assert trio.current_time() - started < 0.1  # No long poll is waited out.
    await caught_up(cluster)
    assert cluster.nodes[3].values() == [b"a", b"b", b"c"]


async def test_a_follower_takes_no_records(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    with pytest.raises(KafkaError) as refused:
        await cluster.nodes[2].produce(b"a")
    assert refused.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


@pytest.mark.slow
async def test_a_dead_follower_leaves_the_isr_after_its_time_and_comes_back(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(min_insync_replicas="2")
    await cluster.nodes[1].produce(b"a")
    cluster.kill(3)
    started = trio.current_time()
    await cluster.nodes[1].produce(b"b")
    assert 15 <= trio.current_time() - started <= 46
    assert cluster.isr() == {1, 2}
    cluster.start(3)
    await cluster.introduce(3)
    await trio.sleep(3)
    assert cluster.isr() == {1, 2, 3}
    await caught_up(cluster)


async def test_below_min_insync_replicas(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create(min_insync_replicas="2")
    leader = cluster.nodes[1]
    cluster.kill(2)
    cluster.kill(3)
    with pytest.raises(KafkaError) as late:
        await leader.produce(b"lost on the way", timeout=1)
    assert late.value.code is ErrorCode.REQUEST_TIMED_OUT
    await trio.sleep(60)
    assert cluster.isr() == {1}
    with pytest.raises(KafkaError) as refused:
        await leader.produce(b"refused")
    assert refused.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert await leader.produce(b"acks=1", acks=1) == 1
    assert leader.high_watermark() == 0


async def test_an_isr_that_shrinks_below_the_minimum_is_said_after_the_append(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(min_insync_replicas="2")
    leader = cluster.nodes[1]
    cluster.cut(1, 2)
    cluster.cut(1, 3)
    offset = await leader.produce(b"a", acks=1)
    leader.replicas.leader(TP).partition.min_insync_replicas = 1
    await trio.sleep(60)
    assert cluster.isr() == {1}
    leader.replicas.leader(TP).partition.min_insync_replicas = 2
    with pytest.raises(KafkaError) as after:
        await leader.replicas.wait_for_high_watermark(TP, offset + 1, 1)
    assert after.value.code is ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND


async def test_what_was_acknowledged_survives_the_leader_and_what_was_not_is_cut(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"acknowledged")
    await trio.sleep(1)
    cluster.cut(1, 2)
    cluster.cut(1, 3)
    await cluster.nodes[1].produce(b"lost", b"lost", acks=1)
    cluster.kill(1)
    cluster.heal()
    await cluster.elect(2)
    await cluster.nodes[2].produce(b"of the new leader")
    cluster.start(1)
    await cluster.introduce(1)
    await caught_up(cluster)
    assert cluster.nodes[1].values() == [b"acknowledged", b"of the new leader"]
    assert cluster.isr() == {1, 2, 3}


@pytest.mark.slow
async def test_a_leader_cut_from_all_never_acknowledges(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    stale = cluster.nodes[1]
    for other in (2, 3):
        cluster.cut(1, other)
    cluster.reachable = False
    with pytest.raises(KafkaError) as late:
        await stale.produce(b"stale", timeout=300)
    assert late.value.code is ErrorCode.REQUEST_TIMED_OUT
    assert stale.high_watermark() == 0


async def test_waits_end_when_leadership_goes(
    cluster: MemoryCluster, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await cluster.create()
    for other in (2, 3):
        cluster.cut(1, other)
    codes: list[ErrorCode] = []

    async def wait() -> None:
        try:
            await cluster.nodes[1].produce(b"a", timeout=1000)
        except KafkaError as error:
            codes.append(error.code)

    nursery.start_soon(wait)
    await trio.sleep(1)
    await cluster.elect(2, isr=(1, 2, 3))
    await trio.sleep(0.1)
    assert codes == [ErrorCode.NOT_LEADER_OR_FOLLOWER]


async def test_led_lost_and_led_again_isnt_led_without_a_break(
    cluster: MemoryCluster, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await cluster.create()
    cluster.cut(1, 2)
    cluster.cut(1, 3)
    await cluster.nodes[1].produce(b"a", acks=1)
    await cluster.elect(2, isr=(2, 3))
    await cluster.elect(1, isr=(1,))
    with pytest.raises(KafkaError) as lost:
        await cluster.nodes[1].replicas.wait_for_high_watermark(TP, 1, 1, leader_epoch=0)
    assert lost.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_many_epochs_later_a_follower_finds_the_common_prefix(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"0", b"1")
    cluster.kill(3)
    for turn in range(4):
        await cluster.elect(1 + turn % 2, isr=(1, 2))
        await cluster.leader().produce(f"{turn}".encode())
    cluster.kill(1)
    await cluster.elect(2, isr=(2,))
    await cluster.nodes[2].produce(b"alone")
    for node_id in (1, 3):
        cluster.start(node_id)
        await cluster.introduce(node_id)
    await caught_up(cluster)
    epochs = [node.replicas.leader(TP).log.epochs.entries for node in cluster.nodes.values() if node.id == 2]
    assert all(node.replicas.find(TP).log.epochs.entries == epochs[0] for node in cluster.nodes.values())  # type: ignore[union-attr]


async def test_after_an_unclean_election_followers_cut_below_what_was_committed(
    cluster: MemoryCluster, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a")
    await trio.sleep(1)
    cluster.kill(3)
    await cluster.elect(1, isr=(1, 2))
    await cluster.nodes[1].produce(b"b")
    await trio.sleep(1)
    cluster.kill(1)
    cluster.kill(2)
    cluster.start(3)
    await cluster.elect(3, isr=(3,))
    await cluster.nodes[3].produce(b"c")
    for node_id in (1, 2):
        cluster.start(node_id)
        await cluster.introduce(node_id)
    await caught_up(cluster)
    assert cluster.nodes[1].values() == [b"a", b"c"]


async def test_a_follower_behind_the_leaders_log_start_begins_anew(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(replicas=(1, 2), segment_bytes="1048576")
    leader = cluster.nodes[1]
    await leader.produce(b"a")
    cluster.kill(2)
    await cluster.elect(1, isr=(1,))
    for _ in range(4):
        await leader.produce(b"b" * 400_000)
    replica = leader.replicas.leader(TP)
    replica.log.raise_log_start(3)
    replica.log.drop_hidden_segments()
    cluster.start(2)
    await cluster.introduce(2)
    await trio.sleep(5)
    follower = cluster.nodes[2].replicas.find(TP)
    assert follower is not None
    assert (follower.log.log_start_offset, follower.log.log_end_offset) == (3, 5)
    assert cluster.isr() == {1, 2}


async def test_a_log_that_starts_within_a_batch(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create(replicas=(1, 2))
    leader = cluster.nodes[1]
    cluster.kill(2)
    await cluster.elect(1, isr=(1,))
    await leader.produce(b"a", b"b", b"c")
    leader.replicas.delete_records(TP, 1)
    cluster.start(2)
    await cluster.introduce(2)
    await trio.sleep(5)
    follower = cluster.nodes[2].replicas.find(TP)
    assert follower is not None
    assert (follower.log.log_start_offset, follower.log.log_end_offset) == (1, 3)
    assert cluster.isr() == {1, 2}


@pytest.mark.slow
async def test_larger_fetches_than_segments(tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    cluster = MemoryCluster(nursery, tmp_path, replica_fetch_max_bytes="10000000")
    await cluster.create(segment_bytes="1048576")
    cluster.cut(1, 2)
    for _ in range(6):
        await cluster.nodes[1].produce(b"x" * 400_000, acks=1)
    cluster.heal()
    await caught_up(cluster)
    for node_id in list(cluster.nodes):
        cluster.kill(node_id)


async def test_a_corrupt_answer_is_asked_for_again(
    cluster: MemoryCluster, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.create(replicas=(1, 2))
    follower = cluster.nodes[2].replicas.find(TP)
    assert follower is not None
    real, damaged = type(follower.log).append_as_follower, []

    def damage(log: object, records: memoryview, now_ms: int) -> object:
        if not damaged:
            damaged.append(records[-1])
            records[-1] ^= 1
        return real(log, records, now_ms)  # type: ignore[arg-type]

    monkeypatch.setattr(type(follower.log), "append_as_follower", damage)
    caplog.set_level("INFO")
    await cluster.nodes[1].produce(b"a")
    assert damaged
    assert sum("Record is corrupt" in record.message for record in caplog.records) == 1
    assert any("is replicated from broker 1 again" in record.message for record in caplog.records)


async def test_an_idle_cluster_asks_twice_a_second_and_names_nothing(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await trio.sleep(10)
    sessions = cluster.nodes[1].dispatcher._services.fetch_sessions
    assert len(sessions) == 2
    assert cluster.isr() == {1, 2, 3}


async def test_a_refused_isr_change_is_proposed_again_by_the_next_fetch(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(replicas=(1, 2))
    cluster.kill(2)
    await cluster.elect(1, isr=(1,))
    cluster.start(2)
    cluster.refusal = ErrorCode.INELIGIBLE_REPLICA
    await cluster.introduce(2)
    await trio.sleep(5)
    assert cluster.isr() == {1}
    cluster.refusal = None
    await trio.sleep(1)
    assert cluster.isr() == {1, 2}


async def test_duplicates_of_a_batch_are_followed_as_one(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    batch = build_batch([(None, b"once")], timestamp=1, producer_id=5, producer_epoch=0, base_sequence=0)
    for _ in range(2):
        cluster.nodes[1].replicas.append(TP, memoryview(bytearray(batch)), acks=-1, request_version=9)
    await caught_up(cluster)
    cluster.kill(1)
    await cluster.elect(2)
    info = cluster.nodes[2].replicas.append(TP, memoryview(bytearray(batch)), acks=-1, request_version=9)
    assert (info.duplicate, info.first_offset) == (True, 0)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["leader", "follower"])
async def test_a_throttled_replica_catches_up_slowly_and_one_in_sync_isnt_held_back(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock, side: str
) -> None:
    rate = {f"{side}_replication_throttled_rate": "100000"}
    cluster = MemoryCluster(nursery, tmp_path, replica_fetch_max_bytes="200000", **rate)
    await cluster.create(**{f"{side}_replication_throttled_replicas": "*"})
    cluster.kill(3)
    await cluster.elect(1)
    began = trio.current_time()
    for _ in range(20):
        await cluster.nodes[1].produce(b"x" * 150_000)
    assert trio.current_time() - began < 1
    cluster.start(3)
    await cluster.introduce(3)
    await trio.sleep(15)
    assert cluster.isr() == {1, 2}
    await trio.sleep(45)
    assert cluster.isr() == {1, 2, 3}
    for node_id in list(cluster.nodes):
        cluster.kill(node_id)


async def test_a_leader_that_refuses_is_asked_less_and_less_often(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    asked: list[float] = []

    def refuse(*_: object, **others: object) -> None:
        asked.append(trio.current_time())
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)

    await cluster.create(replicas=(1, 2))
    monkeypatch.setattr(cluster.nodes[1].dispatcher._services.fetch_sessions, "context", refuse)
    await trio.sleep(10)
    assert 8 < len(asked) < 25
    assert "CLUSTER_AUTHORIZATION_FAILED" in caplog.text


async def test_a_follower_whose_directory_fails_follows_no_more(
    cluster: MemoryCluster, disk: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    await cluster.create()
    with disk.failing("pwrite", errno.EIO, tmp_path / "2"):
        await cluster.nodes[1].produce(b"a", timeout=100)
    assert cluster.isr() == {1, 3}
    assert cluster.nodes[2].replicas.find(TP) is None
