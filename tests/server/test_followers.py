"""What clients see of several replicas: reads from followers, racks, deleted records, a new leader's offsets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.replicas import TOPIC_ID, TP, MemoryCluster, Node
from trio.testing import MockClock

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.server.followers import RACK_AWARE_SELECTOR


@pytest.fixture
async def cluster(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[MemoryCluster]:
    made = MemoryCluster(nursery, tmp_path, replica_selector_class=RACK_AWARE_SELECTOR)
    yield made
    for node_id in list(made.nodes):
        made.kill(node_id)


async def fetch(node: Node, offset: int, version: int = 13, **values: Any) -> Any:
    """What a partition answers to a consumer (or, with `replica_id`, a follower)."""
    epoch = values.pop("epoch", -1)
    replica = values.pop("replica", None)
    asked = FetchRequest.Topic.Partition(
        partition=0, fetch_offset=offset, partition_max_bytes=1 << 20, current_leader_epoch=epoch
    )
    topic = FetchRequest.Topic(topic=TP.topic, topic_id=TOPIC_ID, partitions=[asked])
    request = FetchRequest(max_bytes=1 << 20, topics=[topic], **values)
    if replica is not None:
        request.replica_state = FetchRequest.ReplicaState(replica_id=replica[0], replica_epoch=replica[1])
    answer = await node.ask(request, version)
    return answer.responses[0].partitions[0]


def values(answer: Any) -> list[bytes | None]:
    return [record.value for batch in batches(answer.records or b"") for record in batch.records()]


async def delete(node: Node, offset: int, timeout_ms: int = 60_000) -> Any:
    asked = DeleteRecordsRequest.Topic.Partition(partition_index=0, offset=offset)
    request = DeleteRecordsRequest(
        topics=[DeleteRecordsRequest.Topic(name=TP.topic, partitions=[asked])], timeout_ms=timeout_ms
    )
    return (await node.ask(request, 2)).topics[0].partitions[0]


async def list_offset(node: Node, timestamp: int = -1, version: int = 7) -> Any:
    asked = ListOffsetsRequest.Topic.Partition(partition_index=0, timestamp=timestamp)
    request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsRequest.Topic(name=TP.topic, partitions=[asked])])
    return (await node.ask(request, version)).topics[0].partitions[0]


# ---- reads from followers ----------------------------------------------------------------------------------------


async def test_a_follower_serves_what_it_knows_to_be_committed(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a")
    await trio.sleep(1)
    follower = cluster.nodes[2]
    answer = await fetch(follower, 0)
    assert (answer.error_code, answer.high_watermark, values(answer)) == (0, 1, [b"a"])
    assert (await fetch(follower, 0, version=10)).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (await fetch(follower, 2)).error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert (await fetch(follower, 0, epoch=1)).error_code == ErrorCode.UNKNOWN_LEADER_EPOCH


async def test_a_consumers_long_poll_on_a_follower_ends_when_records_come(
    cluster: MemoryCluster, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await cluster.create()
    found: list[Any] = []

    async def poll() -> None:
        found.append(await fetch(cluster.nodes[3], 0, max_wait_ms=60_000, min_bytes=1))

    nursery.start_soon(poll)
    await trio.sleep(1)
    await cluster.nodes[1].produce(b"a")
    await trio.sleep(1)
    assert [values(answer) for answer in found] == [[b"a"]]


async def test_a_consumer_is_sent_to_the_replica_in_its_rack(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    leader = cluster.nodes[1]
    await leader.produce(b"a")
    await trio.sleep(1)
    sent = await fetch(leader, 0, rack_id="rack-3")
    assert (sent.preferred_read_replica, values(sent)) == (3, [])
    for rack in ("rack-1", "rack-9", ""):
        kept = await fetch(leader, 0, rack_id=rack)
        assert (kept.preferred_read_replica, values(kept)) == (-1, [b"a"])
    at_the_follower = await fetch(cluster.nodes[3], 0, rack_id="rack-3")
    assert (at_the_follower.preferred_read_replica, values(at_the_follower)) == (-1, [b"a"])
    cluster.kill(3)
    assert (await fetch(leader, 0, rack_id="rack-3")).preferred_read_replica == -1


# ---- who may fetch as a follower ---------------------------------------------------------------------------------


async def test_a_broker_that_is_no_replica_and_one_of_before_its_restart(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(replicas=(1, 2))
    cluster.kill(2)
    leader = cluster.nodes[1]
    assert (await fetch(leader, 0, 15, replica=(3, 7), epoch=0)).error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
    assert (await fetch(leader, 0, 15, replica=(3, 7))).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (await fetch(leader, 0, 15, replica=(2, 7))).error_code == ErrorCode.NONE
    await leader.produce(b"a", acks=1)
    await fetch(leader, 1, 15, replica=(2, 6))
    assert leader.high_watermark() == 0
    await fetch(leader, 1, 15, replica=(2, 8))
    assert leader.high_watermark() == 1


async def test_a_produce_to_a_follower_names_the_leader(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    data = ProduceRequest.TopicData.PartitionData(index=0, records=build_batch([(None, b"v")], timestamp=1))
    topic = ProduceRequest.TopicData(name=TP.topic, partition_data=[data])
    answer = await cluster.nodes[2].ask(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=[topic]), 10)
    (partition,) = answer.responses[0].partition_responses
    assert partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (partition.current_leader.leader_id, partition.current_leader.leader_epoch) == (1, 0)
    assert [(one.node_id, one.host) for one in answer.node_endpoints] == [(1, "node-1")]


async def test_a_produce_that_waits_while_the_leader_changes_names_the_new_one(
    cluster: MemoryCluster, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.create()
    for follower in (2, 3):
        await cluster.nodes[follower].fetchers.release([TP])
    data = ProduceRequest.TopicData.PartitionData(index=0, records=build_batch([(None, b"v")], timestamp=1))
    request = ProduceRequest(
        acks=-1, timeout_ms=60_000, topic_data=[ProduceRequest.TopicData(name=TP.topic, partition_data=[data])]
    )
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await cluster.nodes[1].ask(request, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.1)
        assert (cluster.nodes[1].values(), answers) == ([b"v"], [])
        monkeypatch.setattr(cluster, "_publish", lambda: None)  # LeaderAndIsr comes before UpdateMetadata.
        await cluster.elect(2, isr=[1, 2, 3])
    (partition,) = answers[0].responses[0].partition_responses
    assert partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (partition.current_leader.leader_id, partition.current_leader.leader_epoch) == (2, 1)
    assert [(one.node_id, one.host) for one in answers[0].node_endpoints] == [(2, "node-2")]


async def test_epochs_are_the_leaders_to_tell(cluster: MemoryCluster, autojump_clock: MockClock) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a")
    await cluster.elect(2)
    await cluster.nodes[2].produce(b"b")

    async def end_of(node: Node, epoch: int, current: int) -> tuple[int, int, int]:
        asked = OffsetForLeaderEpochRequest.Topic.Partition(
            partition=0, current_leader_epoch=current, leader_epoch=epoch
        )
        topic = OffsetForLeaderEpochRequest.Topic(topic=TP.topic, partitions=[asked])
        found = (await node.ask(OffsetForLeaderEpochRequest(topics=[topic]), 4)).topics[0].partitions[0]
        return found.error_code, found.leader_epoch, found.end_offset

    assert await end_of(cluster.nodes[2], 0, 1) == (0, 0, 1)
    assert await end_of(cluster.nodes[2], 0, 0) == (ErrorCode.FENCED_LEADER_EPOCH, -1, -1)
    assert await end_of(cluster.nodes[2], 0, 2) == (ErrorCode.UNKNOWN_LEADER_EPOCH, -1, -1)
    assert await end_of(cluster.nodes[1], 0, 1) == (ErrorCode.NOT_LEADER_OR_FOLLOWER, -1, -1)


# ---- deleted records, a new leader -------------------------------------------------------------------------------


async def test_records_are_deleted_when_every_live_replica_has_done_so(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a", b"b", b"c")
    await trio.sleep(1)
    gone = await delete(cluster.nodes[1], 2)
    assert (gone.error_code, gone.low_watermark) == (0, 2)
    logs = [node.replicas.log(TP) for node in cluster.nodes.values()]
    assert [log.log_start_offset for log in logs if log is not None] == [2, 2, 2]


async def test_a_follower_out_of_reach_keeps_a_deletion_waiting_and_a_dead_one_doesnt(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a", b"b")
    await trio.sleep(1)
    cluster.cut(1, 3)
    assert (await delete(cluster.nodes[1], 1, 5000)).error_code == ErrorCode.REQUEST_TIMED_OUT
    cluster.kill(3)
    gone = await delete(cluster.nodes[1], 1, 5000)
    assert (gone.error_code, gone.low_watermark) == (0, 1)


async def test_a_new_leader_says_when_it_doesnt_know_the_end_yet(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    await cluster.create(replicas=(1, 2))
    await cluster.nodes[1].produce(b"a")
    cluster.kill(1)  # The follower hasn't heard yet that it is committed.
    assert cluster.nodes[2].high_watermark() == 0
    await cluster.elect(2, isr=(1, 2))
    leader = cluster.nodes[2]
    assert (await list_offset(leader)).error_code == ErrorCode.OFFSET_NOT_AVAILABLE
    assert (await list_offset(leader, version=4)).error_code == ErrorCode.LEADER_NOT_AVAILABLE
    assert (await list_offset(leader, timestamp=0)).error_code == ErrorCode.OFFSET_NOT_AVAILABLE
    assert (await list_offset(leader, timestamp=-2)).offset == 0
    waiting = await fetch(leader, 1)
    assert (waiting.error_code, values(waiting)) == (ErrorCode.NONE, [])
    cluster.start(1)
    await cluster.introduce(1)
    await trio.sleep(1)
    assert (await list_offset(leader)).offset == 1


async def test_internal_topics_leaders_are_told_what_happened(
    cluster: MemoryCluster, autojump_clock: MockClock
) -> None:
    told: list[tuple[str, int]] = []
    cluster.nodes[1].replicas.on_leadership(
        TP.topic,
        lambda partition, epoch: told.append(("elected", epoch)),
        lambda partition, epoch: told.append(("resigned", epoch)),
        lambda partition, epoch: told.append(("reelected", epoch)),
    )
    await cluster.create()
    await cluster.elect(1)
    await cluster.elect(2)
    await cluster.elect(1)
    assert told == [("elected", 0), ("reelected", 1), ("resigned", 2), ("elected", 3)]


async def test_waits_for_deletion_end_when_leadership_goes(
    cluster: MemoryCluster, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await cluster.create()
    await cluster.nodes[1].produce(b"a")
    cluster.cut(1, 2)
    replica = cluster.nodes[1].replicas.leader(TP)
    codes: list[ErrorCode] = []

    async def wait() -> None:
        try:
            await cluster.nodes[1].replicas.followers.wait_for_low_watermark(replica, 1, 100)
        except KafkaError as error:
            codes.append(error.code)

    nursery.start_soon(wait)
    await trio.sleep(0.1)
    await cluster.elect(2)
    await trio.sleep(0.1)
    assert codes == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
