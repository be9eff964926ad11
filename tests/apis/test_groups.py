"""The group APIs through their bytes, in their versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from pykbroker.apis import groups
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest
from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest
from pykbroker.protocol.messages.leave_group import LeaveGroupRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest
from pykbroker.server.group_coordinator import GroupCoordinator
from pykbroker.server.share_groups import ShareGroupService


@pytest.fixture
async def broker(start_broker: Callable[..., Awaitable[Any]]) -> AsyncIterator[Any]:
    """A broker that coordinates groups."""
    broker = await start_broker(offsets_topic_num_partitions=2)
    services = broker.services
    parts = {name: getattr(services, name) for name in ("config", "clock", "replica_manager", "metadata", "disk")}
    services.group_coordinator = GroupCoordinator(**parts)
    nobody: Any = None  # No share group here asks for states.
    services.share_groups = ShareGroupService(
        services.group_coordinator, nobody, services.metadata, services.replica_manager, nobody
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(services.group_coordinator.run)
        yield broker
        nursery.cancel_scope.cancel()


async def find(broker: Any, key: str = "g", version: int = 3, **fields: Any) -> Any:
    return await broker.ask(groups.find_coordinator, FindCoordinatorRequest(key=key, **fields), version)


async def join(broker: Any, version: int, member_id: str = "", **fields: Any) -> Any:
    values = {
        "group_id": "g",
        "member_id": member_id,
        "session_timeout_ms": 10_000,
        "protocol_type": "consumer",
        "protocols": [JoinGroupRequest.Protocol(name="range", metadata=b"topics")],
    } | fields
    return await broker.ask(groups.join_group, JoinGroupRequest(**values), version)


async def member(broker: Any) -> str:
    """The only member of the stable group `g`."""
    await find(broker)
    member_id: str = (await join(broker, 0)).member_id
    assignments = [SyncGroupRequest.Assignment(member_id=member_id, assignment=b"all")]
    request = SyncGroupRequest(group_id="g", member_id=member_id, generation_id=1, assignments=assignments)
    assert (await broker.ask(groups.sync_group, request, 0)).assignment == b"all"
    return member_id


@pytest.mark.parametrize("version", range(4))
async def test_find_coordinator_answers_when_the_group_is_served(broker: Any, version: int) -> None:
    found = await find(broker, version=version)
    assert (found.error_code, found.node_id, found.host, found.port) == (E.NONE, 1, "127.0.0.1", 9092)
    assert (await join(broker, 9)).error_code == E.MEMBER_ID_REQUIRED


@pytest.mark.parametrize("version", [4, 5, 6])
async def test_find_coordinator_of_many(broker: Any, version: int) -> None:
    request = FindCoordinatorRequest(coordinator_keys=["g", "h"])
    found = await broker.ask(groups.find_coordinator, request, version)
    assert [(one.key, one.error_code, one.port) for one in found.coordinators] == [("g", 0, 9092), ("h", 0, 9092)]


async def test_there_is_no_other_coordinator(broker: Any) -> None:
    found = await find(broker, key_type=9)
    assert (found.error_code, found.node_id, found.port) == (E.INVALID_REQUEST, -1, -1)
    assert "key type 9" in found.error_message


@pytest.mark.parametrize("version", range(10))
async def test_join_group(broker: Any, version: int) -> None:
    await find(broker)
    joined = await join(broker, version)
    if version >= 4:
        assert joined.error_code == E.MEMBER_ID_REQUIRED
        assert joined.protocol_name == (None if version >= 7 else "")
        joined = await join(broker, version, joined.member_id)
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (E.NONE, 1, "range")
    assert joined.member_id.startswith("test-")
    assert joined.leader == joined.member_id
    assert [one.metadata for one in joined.members] == [b"topics"]
    assert joined.protocol_type == ("consumer" if version >= 7 else None)


async def test_join_group_0_has_one_timeout_for_both(broker: Any) -> None:
    await find(broker)
    joined = await join(broker, 0)
    group = broker.services.group_coordinator._find("g").shard.groups["g"]
    assert group.members[joined.member_id].rebalance_timeout_ms == 10_000


@pytest.mark.parametrize("version", range(6))
async def test_sync_group(broker: Any, version: int) -> None:
    member_id = await member(broker)
    request = SyncGroupRequest(group_id="g", member_id=member_id, generation_id=1, protocol_name="sticky")
    answer = await broker.ask(groups.sync_group, request, version)
    if version >= 5:
        assert answer.error_code == E.INCONSISTENT_GROUP_PROTOCOL
    else:
        assert (answer.error_code, answer.assignment) == (E.NONE, b"all")


@pytest.mark.parametrize("version", range(5))
async def test_heartbeat(broker: Any, version: int) -> None:
    member_id = await member(broker)
    for generation, code in ((1, E.NONE), (2, E.ILLEGAL_GENERATION)):
        request = HeartbeatRequest(group_id="g", member_id=member_id, generation_id=generation)
        assert (await broker.ask(groups.heartbeat, request, version)).error_code == code


@pytest.mark.parametrize("version", range(6))
async def test_leave_group(broker: Any, version: int) -> None:
    member_id = await member(broker)
    if version < 3:
        codes = []
        for _ in range(2):
            answer = await broker.ask(groups.leave_group, LeaveGroupRequest(group_id="g", member_id=member_id), version)
            codes.append(answer.error_code)
    else:
        leaving = [LeaveGroupRequest.Member(member_id=one) for one in (member_id, "nobody")]
        answer = await broker.ask(groups.leave_group, LeaveGroupRequest(group_id="g", members=leaving), version)
        assert answer.error_code == E.NONE
        assert [one.member_id for one in answer.members] == [member_id, "nobody"]
        codes = [one.error_code for one in answer.members]
    assert codes == [E.NONE, E.UNKNOWN_MEMBER_ID]


@pytest.mark.parametrize("version", range(7))
async def test_describe_groups(broker: Any, version: int) -> None:
    member_id = await member(broker)
    request = DescribeGroupsRequest(groups=["g", "missing"], include_authorized_operations=version >= 3)
    known, missing = (await broker.ask(groups.describe_groups, request, version)).groups
    assert (known.error_code, known.group_state, known.protocol_data) == (E.NONE, "Stable", "range")
    (only,) = known.members
    assert (only.member_id, only.client_id, only.client_host) == (member_id, "test", "/127.0.0.1")
    assert (only.member_metadata, only.member_assignment) == (b"topics", b"all")
    assert (missing.group_id, missing.group_state, missing.members) == ("missing", "Dead", [])
    assert missing.error_code == (E.GROUP_ID_NOT_FOUND if version >= 6 else E.NONE)
    assert (known.authorized_operations > 0) == (version >= 3)


@pytest.mark.parametrize("version", range(6))
async def test_list_groups(broker: Any, version: int) -> None:
    await member(broker)
    (group,) = (await broker.ask(groups.list_groups, ListGroupsRequest(), version)).groups
    assert (group.group_id, group.protocol_type) == ("g", "consumer")
    assert group.group_state == ("Stable" if version >= 4 else "")
    assert group.group_type == ("classic" if version >= 5 else "")
    if version >= 4:
        request = ListGroupsRequest(states_filter=["Empty"])
        assert (await broker.ask(groups.list_groups, request, version)).groups == []


@pytest.mark.parametrize("version", range(3))
async def test_delete_groups(broker: Any, version: int) -> None:
    member_id = await member(broker)
    request = DeleteGroupsRequest(groups_names=["g", "missing", "g"])
    codes = [one.error_code for one in (await broker.ask(groups.delete_groups, request, version)).results]
    assert codes == [E.NON_EMPTY_GROUP, E.GROUP_ID_NOT_FOUND]
    await broker.ask(groups.leave_group, LeaveGroupRequest(group_id="g", member_id=member_id), 0)
    codes = [one.error_code for one in (await broker.ask(groups.delete_groups, request, version)).results]
    assert codes == [E.NONE, E.GROUP_ID_NOT_FOUND]


async def test_without_the_internal_topic_clients_are_sent_to_look_for_it(broker: Any) -> None:
    codes = {
        one.error_code
        for one in (await broker.ask(groups.delete_groups, DeleteGroupsRequest(groups_names=["g"]), 2)).results
    }
    (described,) = (await broker.ask(groups.describe_groups, DescribeGroupsRequest(groups=["g"]), 5)).groups
    assert codes | {described.error_code} == {E.NOT_COORDINATOR}
