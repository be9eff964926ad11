"""The range assignment of a leader; membership itself stands in tests/cli, with a broker."""

from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from pykbroker.client.group_member import GroupMember, range_assignment
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.sync_group import SyncGroupResponse
from pykbroker.protocol.topic_partition import TopicPartition


def test_even_ranges_per_topic() -> None:
    subscriptions = {"m2": ["a", "b"], "m1": ["a"], "m3": ["a"]}
    assert range_assignment(subscriptions, {"a": 4, "b": 2, "c": 1}) == {
        "m1": [TopicPartition("a", 0), TopicPartition("a", 1)],
        "m2": [TopicPartition("a", 2), TopicPartition("b", 0), TopicPartition("b", 1)],
        "m3": [TopicPartition("a", 3)],
    }


def test_more_members_than_partitions() -> None:
    assert range_assignment({"a": ["t"], "b": ["t"]}, {"t": 1}) == {"a": [TopicPartition("t", 0)], "b": []}


async def test_a_rebalance_after_a_long_wait_for_others_is_taken_part_in(autojump_clock: MockClock) -> None:
    rebalances = [ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS]

    async def coordinator(kind: int, group: str, request: Any, **how: Any) -> JoinGroupResponse | SyncGroupResponse:
        if isinstance(request, JoinGroupRequest):
            await trio.sleep(59.95)  # For one that was killed, say.
            return JoinGroupResponse(generation_id=1, member_id="m", leader="another")
        await trio.lowlevel.checkpoint()
        return SyncGroupResponse(error_code=rebalances.pop())

    cluster = cast("Any", SimpleNamespace(settings=SimpleNamespace(timeout=60.0), coordinator=coordinator))
    assert await GroupMember(cluster, "g", ["t"]).join() == []
    assert rebalances == []
