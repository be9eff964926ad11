"""OffsetCommit and OffsetFetch through their bytes, in their versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import trio

from pykbroker.apis import groups, offsets
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.server.group_coordinator import GroupCoordinator

STRANGER = UUID(int=77)


@pytest.fixture
async def broker(start_broker: Callable[..., Awaitable[Any]]) -> AsyncIterator[Any]:
    """A broker that coordinates groups and has a topic `t` of two partitions."""
    broker = await start_broker(offsets_topic_num_partitions=2, num_partitions=2)
    services = broker.services
    parts = {name: getattr(services, name) for name in ("config", "clock", "replica_manager", "metadata", "disk")}
    services.group_coordinator = coordinator = GroupCoordinator(**parts)
    services.controller.on_deletion(lambda tps: coordinator.topics_deleted({tp.topic for tp in tps}))
    async with trio.open_nursery() as nursery:
        await nursery.start(coordinator.run)
        await services.controller.auto_create(["t"])
        await broker.ask(groups.find_coordinator, FindCoordinatorRequest(key="g"), 3)
        yield broker
        nursery.cancel_scope.cancel()


async def commit(broker: Any, version: int, *, group: str = "g", **fields: Any) -> list[int]:
    """Commits partition 0 and 9 of `t`, of an unknown topic partition 0; the error codes."""
    Topic, Partition = OffsetCommitRequest.Topic, OffsetCommitRequest.Topic.Partition  # noqa: N806 - classes
    topics = [
        Topic(
            name="t",
            topic_id=broker.services.metadata.topic_id("t"),
            partitions=[
                Partition(partition_index=index, committed_offset=5, committed_leader_epoch=2, committed_metadata="m")
                for index in (0, 9)
            ],
        ),
        Topic(name="u", topic_id=STRANGER, partitions=[Partition(partition_index=0, committed_metadata=None)]),
    ]
    answer = await broker.ask(
        offsets.offset_commit, OffsetCommitRequest(group_id=group, topics=topics, **fields), version
    )
    assert [topic.name for topic in answer.topics] == (["t", "u"] if version < 10 else ["", ""])
    return [one.error_code for topic in answer.topics for one in topic.partitions]


async def fetch(broker: Any, version: int, *wanted: str, group: str = "g") -> tuple[list[Any], int]:
    """OffsetFetch of partitions 0 and 1 of these topics, or of all; rows, and the group's error."""
    ids = {"t": broker.services.metadata.topic_id("t"), "u": STRANGER}
    if version < 8:
        old = [OffsetFetchRequest.Topic(name=name, partition_indexes=[0, 1]) for name in wanted]
        request = OffsetFetchRequest(group_id=group, topics=old or (None if version >= 2 else []))
        answer = await broker.ask(offsets.offset_fetch, request, version)
        topics, code = answer.topics, answer.error_code
    else:
        Group = OffsetFetchRequest.Group  # noqa: N806 - a class
        new = [Group.Topic(name=name, topic_id=ids[name], partition_indexes=[0, 1]) for name in wanted]
        request = OffsetFetchRequest(groups=[Group(group_id=group, topics=new or None)])
        (only,) = (await broker.ask(offsets.offset_fetch, request, version)).groups
        topics, code = only.topics, only.error_code
    rows = [
        (one.partition_index, one.committed_offset, one.committed_leader_epoch, one.metadata, one.error_code)
        for topic in topics
        for one in topic.partitions
    ]
    return rows, code


@pytest.mark.parametrize("version", range(11))
async def test_a_commit_answers_for_each_partition(broker: Any, version: int) -> None:
    unknown = E.UNKNOWN_TOPIC_ID if version >= 10 else E.UNKNOWN_TOPIC_OR_PARTITION
    assert await commit(broker, version) == [E.NONE, E.UNKNOWN_TOPIC_OR_PARTITION, unknown]
    rows, _ = await fetch(broker, 9, "t")
    assert rows[0] == (0, 5, 2 if version >= 6 else -1, "m", E.NONE)


@pytest.mark.parametrize("version", range(11))
async def test_a_fetch_answers_for_each_partition(broker: Any, version: int) -> None:
    await commit(broker, 9)
    epoch = 2 if version >= 5 else -1
    nothing = (1, -1, -1, "", E.NONE)
    assert await fetch(broker, version, "t") == ([(0, 5, epoch, "m", E.NONE), nothing], E.NONE)
    rows, _ = await fetch(broker, version, "u")
    code = E.UNKNOWN_TOPIC_ID if version >= 10 else E.NONE
    assert rows == [(0, -1, -1, "", code), (1, -1, -1, "", code)]


@pytest.mark.parametrize("version", range(2, 11))
async def test_a_fetch_of_all(broker: Any, version: int) -> None:
    assert await fetch(broker, version) == ([], E.NONE)
    await commit(broker, 9)
    rows, _ = await fetch(broker, version)
    assert [row[:2] for row in rows] == [(0, 5)]


@pytest.mark.parametrize("version", [1, 5, 9])
async def test_an_error_of_the_whole_group(broker: Any, version: int) -> None:
    broker.services.group_coordinator.close()
    rows, code = await fetch(broker, version, "t")
    assert code == (E.NOT_COORDINATOR if version >= 2 else E.NONE)
    assert rows == ([(i, -1, -1, "", E.NOT_COORDINATOR) for i in (0, 1)] if version < 2 else [])
    assert (await commit(broker, 9))[0] == E.NOT_COORDINATOR


@pytest.mark.parametrize(("version", "code"), [(8, E.ILLEGAL_GENERATION), (9, E.GROUP_ID_NOT_FOUND)])
async def test_a_commit_of_a_member_that_is_none(broker: Any, version: int, code: E) -> None:
    codes = await commit(broker, version, generation_id_or_member_epoch=3, member_id="nobody")
    assert codes[0] == code


async def test_offsets_go_with_their_topic(broker: Any) -> None:
    await commit(broker, 9)
    await broker.services.controller.delete_topics(["t"])
    await broker.services.controller.auto_create(["t"])
    assert await fetch(broker, 9) == ([], E.NONE)
