"""Disks and logs that fail in a cluster: a lost directory, all brokers gone, a log that comes back short."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.replicas import TP, MemoryCluster
from trio.testing import MockClock

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient
from pykbroker.testing.cluster import AsyncKafkaCluster

pytestmark = pytest.mark.slow


def ask(cluster: AsyncKafkaCluster, broker: int, request: Any, version: int) -> Any:
    host, port = cluster.address(broker).rsplit(":", 1)
    with WireClient(host, int(port)) as client:
        return client.request(request, version)


def produce(cluster: AsyncKafkaCluster, broker: int) -> int:
    data = ProduceRequest.TopicData.PartitionData(index=0, records=build_batch([(None, b"v")], timestamp=1))
    topic = ProduceRequest.TopicData(name="t", partition_data=[data])
    answer = ask(cluster, broker, ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[topic]), 9)
    code: int = answer.responses[0].partition_responses[0].error_code
    return code


async def produce_at_last(cluster: AsyncKafkaCluster) -> None:
    """As a client does: the store knows of a leader a moment before the leader itself."""
    with trio.fail_after(30):
        while True:
            leader = (await cluster.partition("t")).leader
            if leader in cluster.brokers:
                code = await trio.to_thread.run_sync(produce, cluster, leader)
                if code == ErrorCode.NONE:
                    return
                assert code in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            await trio.sleep(0.01)


def directory_of(folder: Path, broker: int) -> Path:
    """The data directory that has the partition."""
    (found,) = [path for path in folder.glob(f"{broker}-?") if (path / "t-0").exists()]
    return found


async def create(cluster: AsyncKafkaCluster) -> None:
    topic = CreateTopicsRequest.Topic(name="t", num_partitions=1, replication_factor=3)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
    answer = await trio.to_thread.run_sync(ask, cluster, await cluster.controller(), request, 5)
    assert answer.topics[0].error_code == ErrorCode.NONE


async def until_led_by_another(cluster: AsyncKafkaCluster, broker: int) -> None:
    with trio.fail_after(30):
        while True:
            if (await cluster.partition("t")).leader not in (broker, -1):
                return
            await trio.sleep(0.01)


async def until_in_sync(cluster: AsyncKafkaCluster) -> None:
    with trio.fail_after(30):
        while True:
            if set((await cluster.partition("t")).isr) == {1, 2, 3}:
                return
            await trio.sleep(0.01)


async def test_a_lost_directory_moves_what_it_held_to_other_brokers(tmp_path: Path, disk: Any) -> None:
    async with trio.open_nursery() as nursery:
        cluster = AsyncKafkaCluster(nursery, str(tmp_path), 3, None)
        for number, member in cluster._members.items():
            dirs = ",".join(str(tmp_path / f"{number}-{one}") for one in "ab")
            member.config = member.config.with_properties({"log.dirs": dirs})
        await cluster.start()
        await create(cluster)
        leader = (await cluster.partition("t")).leader
        assert await trio.to_thread.run_sync(produce, cluster, leader) == ErrorCode.NONE
        lost = directory_of(tmp_path, leader)
        with disk.failing("pwrite", errno.EIO, lost):
            assert await trio.to_thread.run_sync(produce, cluster, leader) == ErrorCode.KAFKA_STORAGE_ERROR
            await until_led_by_another(cluster, leader)
            await produce_at_last(cluster)
        await cluster.aclose()
        nursery.cancel_scope.cancel()


async def test_all_brokers_die_and_come_back(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        cluster = AsyncKafkaCluster(nursery, str(tmp_path), 3, None)
        await cluster.start()
        await create(cluster)
        leader = (await cluster.partition("t")).leader
        assert await trio.to_thread.run_sync(produce, cluster, leader) == ErrorCode.NONE
        for broker in (1, 2, 3):
            await cluster.kill(broker)
        for broker in (1, 2, 3):
            await cluster.restart(broker)
        await produce_at_last(cluster)
        await until_in_sync(cluster)
        await cluster.aclose()
        nursery.cancel_scope.cancel()


async def test_a_leader_that_came_back_with_a_shorter_log_is_followed_all_the_same(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """What is acknowledged and not flushed can be lost where the machine of every member in sync loses its power."""
    cluster = MemoryCluster(nursery, tmp_path)
    await cluster.create()
    await cluster.nodes[1].produce(b"kept")
    size = len(cluster.nodes[1].bytes())
    await cluster.nodes[1].produce(b"lost with the power")
    cluster.kill(1)
    os.truncate(tmp_path / "1" / "t-0" / f"{0:020d}.log", size)
    cluster.start(1)
    await cluster.elect(1, isr=(1, 2, 3))
    await cluster.nodes[1].produce(b"after")
    await trio.sleep(2)
    assert {node.bytes() for node in cluster.nodes.values()} == {cluster.nodes[1].bytes()}
    assert cluster.nodes[2].replicas.log(TP).log_end_offset == 2  # type: ignore[union-attr]
    for node_id in list(cluster.nodes):
        cluster.kill(node_id)
