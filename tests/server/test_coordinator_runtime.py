"""The coordinators' runtime over a replica manager in memory: load, append, commit, wait, time, failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykbroker.cluster.image import GROUP_METADATA_TOPIC
from pykbroker.config.broker import BrokerConfig
from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import OffsetToCommit
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.join_group import JoinGroupRequest
from pykbroker.protocol.messages.sync_group import SyncGroupRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server import coordinator_runtime
from pykbroker.server.coordinator_runtime import CoordinatorRuntime, group_client_error
from pykbroker.server.disk import InlineDisk
from pykbroker.server.group_coordinator import GroupCoordinator
from pykbroker.server.purgatory import Purgatory

TP = TopicPartition("t", 0)
G = 3
"""The partition of group `g` among 50: its hash is 103."""


class TrioClock:
    def monotonic(self) -> float:
        return trio.current_time()

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(trio.current_time() * 1000)


class MemoryLog:
    """Batches in a list; its high watermark follows at once unless it is held back."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.log_start_offset = self.log_end_offset = self.high_watermark = 0

    def append(self, batch: bytes) -> SimpleNamespace:
        patched = bytearray(batch)
        patched[:8] = self.log_end_offset.to_bytes(8, "big")
        self.batches.append(bytes(patched))
        self.log_end_offset = next(iter(batches(bytes(patched)))).next_offset
        first = int.from_bytes(patched[:8], "big")
        return SimpleNamespace(first_offset=first, last_offset=self.log_end_offset - 1)

    def read(self, offset: int, max_bytes: int, *, upper_bound: int) -> SimpleNamespace:
        for batch in self.batches:
            if next(iter(batches(batch))).last_offset >= offset:
                return SimpleNamespace(records=SimpleNamespace(read=partial(bytes, batch)))
        return SimpleNamespace(records=None)


class MemoryReplicas:
    def __init__(self) -> None:
        self.logs: dict[TopicPartition, MemoryLog] = {}
        self.error: E | None = None
        self.held_back = False
        self.purgatory = Purgatory()

    def on_leadership(
        self,
        topic: str,
        elected: Callable[[int, int], None],
        resigned: Callable[[int, int], None],
        reelected: Callable[[int, int], None],
    ) -> None:
        self.elected, self.resigned, self.reelected = elected, resigned, reelected

    def log(self, tp: TopicPartition) -> MemoryLog:
        return self.logs.setdefault(tp, MemoryLog())

    def high_watermark(self, tp: TopicPartition) -> int:
        return self.log(tp).high_watermark

    def append_internal(self, tp: TopicPartition, batch: bytes, leader_epoch: int | None = None) -> SimpleNamespace:
        if self.error is not None:
            raise KafkaError(self.error)
        info = self.log(tp).append(batch)
        if not self.held_back:
            self.commit(tp)
        return info

    def commit(self, tp: TopicPartition) -> None:
        self.log(tp).high_watermark = self.log(tp).log_end_offset
        self.purgatory.check(tp)

    async def wait_for_high_watermark(
        self, tp: TopicPartition, offset: int, timeout: float, leader_epoch: int | None = None
    ) -> None:
        if not await self.purgatory.wait_until(lambda: self.log(tp).high_watermark >= offset, [tp], timeout):
            raise KafkaError(E.REQUEST_TIMED_OUT)


CONFIG = BrokerConfig(group_max_size=100)


def new_coordinator(replicas: MemoryReplicas) -> GroupCoordinator:
    return GroupCoordinator(
        config=CONFIG,
        clock=TrioClock(),
        replica_manager=cast("Any", replicas),
        metadata=cast("Any", SimpleNamespace(topic=lambda name: None)),
        disk=InlineDisk(),
    )


@pytest.fixture
def replicas() -> MemoryReplicas:
    return MemoryReplicas()


@pytest.fixture
async def coordinator(replicas: MemoryReplicas, autojump_clock: MockClock) -> AsyncIterator[GroupCoordinator]:
    coordinator = new_coordinator(replicas)
    async with trio.open_nursery() as nursery:
        await nursery.start(coordinator.run)
        replicas.elected(G, 1)
        yield coordinator
        nursery.cancel_scope.cancel()


async def join(coordinator: GroupCoordinator, member_id: str = "", version: int = 3, session_ms: int = 10_000) -> Any:
    request = JoinGroupRequest(
        group_id="g",
        member_id=member_id,
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=60_000,
        protocol_type="consumer",
        protocols=[JoinGroupRequest.Protocol(name="range", metadata=b"")],
    )
    return await coordinator.join(request, client_id="c", client_host="/127.0.0.1", version=version)


async def sync(coordinator: GroupCoordinator, member_id: str, generation: int, **assignments: bytes) -> Any:
    given = [SyncGroupRequest.Assignment(member_id=m, assignment=a) for m, a in assignments.items()]
    return await coordinator.sync(
        SyncGroupRequest(group_id="g", member_id=member_id, generation_id=generation, assignments=given)
    )


def heartbeat(coordinator: GroupCoordinator, member_id: str, generation: int) -> int:
    request = HeartbeatRequest(group_id="g", member_id=member_id, generation_id=generation)
    return coordinator.heartbeat(request).error_code


async def stable(coordinator: GroupCoordinator) -> str:
    member_id: str = (await join(coordinator)).member_id
    await sync(coordinator, member_id, 1, **{member_id: b"all"})
    return member_id


async def commit(coordinator: GroupCoordinator, group: str = "g", offset: int = 5) -> dict[TopicPartition, E]:
    return await coordinator.commit(group, Committer(), {TP: OffsetToCommit(offset)})


async def test_a_rebalance_of_two(coordinator: GroupCoordinator) -> None:
    first = await stable(coordinator)
    answers: dict[str, Any] = {}

    async def second() -> None:
        answers["join"] = await join(coordinator)
        answers["sync"] = await sync(coordinator, answers["join"].member_id, 2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        assert heartbeat(coordinator, first, 1) == E.REBALANCE_IN_PROGRESS
        again = await join(coordinator, first)
        assert again.generation_id == 2
        await wait_all_tasks_blocked()
        assert set(answers) == {"join"}
        newcomer = answers["join"].member_id
        assert (await sync(coordinator, first, 2, **{first: b"1", newcomer: b"2"})).assignment == b"1"
    assert answers["sync"].assignment == b"2"


async def test_time_ends_sessions_and_nothing_wakes_in_between(
    coordinator: GroupCoordinator, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes = []
    real = CoordinatorRuntime._apply_detached
    monkeypatch.setattr(
        CoordinatorRuntime,
        "_apply_detached",
        lambda self, *args: (wakes.append(trio.current_time()), real(self, *args)),
    )
    member_id = await stable(coordinator)
    await trio.sleep(9)
    assert (wakes, heartbeat(coordinator, member_id, 1)) == ([], E.NONE)
    await trio.sleep(9.9)
    described = await coordinator.describe("g")
    assert described is not None
    assert described.group_state == "Stable"
    await trio.sleep(0.2)
    assert heartbeat(coordinator, member_id, 1) == E.UNKNOWN_MEMBER_ID
    assert len(wakes) == 2
    await trio.sleep(6000)
    assert len(wakes) == 2 + 10  # the looks for expired offsets, every ten minutes


async def test_an_earlier_deadline_brings_the_timer_forward(
    autojump_clock: MockClock, coordinator: GroupCoordinator
) -> None:
    assert (await join(coordinator, version=4, session_ms=60_000)).error_code == E.MEMBER_ID_REQUIRED
    await trio.sleep(1)
    assert (await join(coordinator, version=4, session_ms=7_000)).error_code == E.MEMBER_ID_REQUIRED
    group = coordinator._runtime.find(G).shard.groups["g"]
    await trio.sleep(6.9)
    assert len(group.pending) == 2
    await trio.sleep(0.2)
    assert len(group.pending) == 1


async def test_a_restart_is_a_replay(
    coordinator: GroupCoordinator, replicas: MemoryReplicas, autojump_clock: MockClock
) -> None:
    member_id = await stable(coordinator)
    await coordinator.commit("g", Committer(member_id, None, 1), {TP: OffsetToCommit(7)})
    before = await coordinator.describe("g")
    later = new_coordinator(replicas)
    replicas.elected(G, 2)
    async with trio.open_nursery() as nursery:
        with pytest.raises(KafkaError) as refused:
            await commit(later)
        assert refused.value.code == E.NOT_COORDINATOR
        await nursery.start(later.run)
        assert await later.wait_loaded("g")
        assert await later.describe("g") == before
        fetched = (await later.fetch("g", None))[TP]
        assert fetched is not None
        assert fetched.offset == 7
        await trio.sleep(9.9)
        assert heartbeat(later, member_id, 1) == E.NONE
        await trio.sleep(10.1)
        assert heartbeat(later, member_id, 1) == E.UNKNOWN_MEMBER_ID
        nursery.cancel_scope.cancel()


async def test_while_it_loads(coordinator: GroupCoordinator, replicas: MemoryReplicas) -> None:
    member_id = await stable(coordinator)
    replicas.elected(G, 2)
    assert heartbeat(coordinator, member_id, 1) == E.NONE
    asks = {
        E.COORDINATOR_LOAD_IN_PROGRESS: [
            join(coordinator),
            coordinator.fetch("g", None),
            coordinator.list_groups([], []),
        ],
        E.REBALANCE_IN_PROGRESS: [sync(coordinator, member_id, 1)],
    }
    for code, questions in asks.items():
        for question in questions:
            with pytest.raises(KafkaError) as refused:
                await question
            assert refused.value.code == code
    assert await coordinator.wait_loaded("g")
    assert heartbeat(coordinator, member_id, 1) == E.NONE


async def test_elections_in_the_wrong_order(coordinator: GroupCoordinator, replicas: MemoryReplicas) -> None:
    replicas.elected(G, 5)
    shard = coordinator._runtime.find(G).shard
    replicas.elected(G, 4)
    replicas.resigned(G, 4)
    assert coordinator._runtime.find(G).shard is shard
    replicas.resigned(G, 5)
    with pytest.raises(KafkaError) as refused:
        await commit(coordinator)
    assert refused.value.code == E.NOT_COORDINATOR
    assert not await coordinator.wait_loaded("g")


async def test_resigning_answers_those_who_wait(coordinator: GroupCoordinator, replicas: MemoryReplicas) -> None:
    await stable(coordinator)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert (await join(coordinator)).error_code == E.NOT_COORDINATOR

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        replicas.resigned(G, 1)


async def test_stopping_answers_those_who_wait(coordinator: GroupCoordinator) -> None:
    await stable(coordinator)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert (await join(coordinator)).error_code == E.NOT_COORDINATOR

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        coordinator.close()


async def test_an_answer_waits_until_its_records_are_committed(
    coordinator: GroupCoordinator, replicas: MemoryReplicas
) -> None:
    replicas.held_back = True
    answers: list[Any] = []

    async def ask(question: Any) -> None:
        answers.append(await question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, commit(coordinator))
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, coordinator.fetch("g", [TP]))
        await wait_all_tasks_blocked()
        assert answers == []  # not even a reader is told of what may yet be lost
        replicas.commit(TopicPartition(GROUP_METADATA_TOPIC, G))
    assert len(answers) == 2


async def test_followers_are_answered_though_the_leader_is_gone(
    autojump_clock: MockClock, coordinator: GroupCoordinator, replicas: MemoryReplicas
) -> None:
    first = await stable(coordinator)
    answers: dict[str, Any] = {}

    async def second() -> None:
        joined = await join(coordinator)
        answers["id"] = joined.member_id
        answers["sync"] = await sync(coordinator, joined.member_id, 2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        await join(coordinator, first)
        await wait_all_tasks_blocked()
        replicas.held_back = True
        with trio.move_on_after(1):
            await sync(coordinator, first, 2, **{first: b"1", answers["id"]: b"2"})
        assert "sync" not in answers
        replicas.commit(TopicPartition(GROUP_METADATA_TOPIC, G))
    assert answers["sync"].assignment == b"2"


async def test_what_is_not_committed_in_time(
    autojump_clock: MockClock, coordinator: GroupCoordinator, replicas: MemoryReplicas
) -> None:
    replicas.held_back = True
    member_id = (await join(coordinator)).member_id
    with pytest.raises(KafkaError) as refused:
        await sync(coordinator, member_id, 1, **{member_id: b""})
    assert refused.value.code == E.REBALANCE_IN_PROGRESS
    with pytest.raises(KafkaError) as refused:
        await coordinator.commit("g", Committer(member_id, None, 1), {TP: OffsetToCommit(1)})
    assert refused.value.code == E.REQUEST_TIMED_OUT


async def test_a_failed_append_of_offsets_leaves_the_group_as_it_is(
    coordinator: GroupCoordinator, replicas: MemoryReplicas
) -> None:
    member_id = await stable(coordinator)
    replicas.error = E.NOT_ENOUGH_REPLICAS
    with pytest.raises(KafkaError) as refused:
        await coordinator.commit("g", Committer(member_id, None, 1), {TP: OffsetToCommit(1)})
    assert refused.value.code == E.COORDINATOR_NOT_AVAILABLE
    assert heartbeat(coordinator, member_id, 1) == E.NONE
    assert await coordinator.fetch("g", None) == {}


async def test_a_failed_append_of_a_generation_has_the_shard_loaded_again(
    coordinator: GroupCoordinator, replicas: MemoryReplicas
) -> None:
    first = await stable(coordinator)
    answers: dict[str, Any] = {}

    async def second() -> None:
        joined = await join(coordinator)
        answers["id"] = joined.member_id
        answers["sync"] = await sync(coordinator, joined.member_id, 2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        await join(coordinator, first)
        await wait_all_tasks_blocked()
        replicas.error = E.KAFKA_STORAGE_ERROR
        with pytest.raises(KafkaError) as refused:
            await sync(coordinator, first, 2, **{first: b"1", answers["id"]: b"2"})
        assert refused.value.code == E.NOT_COORDINATOR
    assert answers["sync"].error_code == E.NOT_COORDINATOR
    replicas.error = None
    assert await coordinator.wait_loaded("g")
    assert heartbeat(coordinator, first, 2) == E.ILLEGAL_GENERATION
    assert heartbeat(coordinator, first, 1) == E.NONE  # the generation that was written last


async def test_a_client_that_goes_while_it_waits_is_forgotten(
    autojump_clock: MockClock, coordinator: GroupCoordinator
) -> None:
    first = await stable(coordinator)
    with trio.move_on_after(1):
        await join(coordinator)
    hosted = coordinator._runtime.find(G)
    assert hosted.waits == {}
    assert list(hosted.shard.groups["g"].members) == [first]
    assert (await join(coordinator, first)).generation_id == 2


async def test_a_damaged_record_costs_itself_alone(
    coordinator: GroupCoordinator, replicas: MemoryReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    await commit(coordinator)
    replicas.append_internal(
        TopicPartition(GROUP_METADATA_TOPIC, G), build_batch([(b"\x00\x02\x00\x01g", b"\x00\x63junk"), (b"", b"")])
    )
    replicas.elected(G, 2)
    assert await coordinator.wait_loaded("g")
    assert (await coordinator.fetch("g", None))[TP] is not None
    assert caplog.text.count("is passed over") == 2


async def test_a_record_that_the_rules_stumble_over_costs_itself_alone(
    coordinator: GroupCoordinator,
    replicas: MemoryReplicas,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await commit(coordinator)
    replicas.append_internal(TopicPartition(GROUP_METADATA_TOPIC, G), build_batch([(b"stumble", b"")]))
    original = GroupShard.replay

    def replay(shard: GroupShard, record: Any) -> None:
        if record.key == b"stumble":
            raise ZeroDivisionError
        original(shard, record)

    monkeypatch.setattr(GroupShard, "replay", replay)
    replicas.elected(G, 2)
    assert await coordinator.wait_loaded("g")
    assert (await coordinator.fetch("g", None))[TP] is not None
    assert "a defect in the rules" in caplog.text


async def test_a_shard_that_loads_has_no_deadlines_yet(
    autojump_clock: MockClock, coordinator: GroupCoordinator, replicas: MemoryReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(coordinator)
    woken: list[float] = []
    runtime, original = coordinator._runtime, coordinator._runtime._trio_time
    monkeypatch.setattr(runtime, "_trio_time", lambda deadline: woken.append(deadline) or original(deadline))
    monkeypatch.setattr(GroupShard, "deadline", 0.0)
    monkeypatch.setattr(replicas, "log", lambda tp: None)
    replicas.elected(G, 2)
    runtime._alarm.deadline = 0.0  # type: ignore[union-attr]
    await trio.sleep(1)
    assert len(woken) < 10


async def test_what_is_more_than_a_batch_goes_in_several(
    coordinator: GroupCoordinator, replicas: MemoryReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_runtime, "DIVIDED_BYTES", 1000)
    await commit(coordinator)
    for index in range(50):
        tp = TopicPartition("gone", index)
        await coordinator.commit("g", Committer("", None, -1), {tp: OffsetToCommit(1)})
    log = replicas.log(TopicPartition(GROUP_METADATA_TOPIC, G))
    before = len(log.batches)
    await coordinator.topics_deleted({"gone"})
    assert await coordinator.fetch("g", None) == {TP: (await coordinator.fetch("g", [TP]))[TP]}
    assert len(log.batches) - before == 3
    assert max(map(len, log.batches)) < 1200
    replicas.elected(G, 2)
    assert await coordinator.wait_loaded("g")
    assert list(await coordinator.fetch("g", None)) == [TP]


async def test_topics_are_deleted_from_all_shards_at_once(
    autojump_clock: MockClock, coordinator: GroupCoordinator, replicas: MemoryReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(coordinator)
    monkeypatch.setattr(replicas, "log", lambda tp: None)
    for partition in range(5):
        replicas.elected(partition, 2)
    before = trio.current_time()
    await coordinator.topics_deleted({"t"})
    assert trio.current_time() - before == 5


async def test_a_defect_in_the_rules_costs_one_shard_and_no_answer(
    autojump_clock: MockClock,
    coordinator: GroupCoordinator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    member_id = await stable(coordinator)
    shard = coordinator._runtime.find(G).shard
    monkeypatch.setattr(shard, "expire", lambda now: 1 / 0)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert (await join(coordinator)).error_code == E.UNKNOWN_SERVER_ERROR

        nursery.start_soon(wait)
        await trio.sleep(11)
    assert "a defect in the rules" in caplog.text
    assert await coordinator.wait_loaded("g")
    assert heartbeat(coordinator, member_id, 1) == E.NONE


async def test_a_defect_that_forgets_who_waits_leaves_nobody_without_an_answer(
    autojump_clock: MockClock, coordinator: GroupCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stable(coordinator)
    shard = coordinator._runtime.find(G).shard

    def forget(now: Any) -> None:
        shard.groups.clear()
        raise ZeroDivisionError

    monkeypatch.setattr(shard, "expire", forget)
    with pytest.raises(KafkaError) as refused:
        await join(coordinator)
    assert refused.value.code == E.UNKNOWN_SERVER_ERROR


async def test_topics_that_are_deleted_take_their_offsets_along(coordinator: GroupCoordinator) -> None:
    await commit(coordinator)
    await coordinator.topics_deleted({"t"})
    assert await coordinator.fetch("g", None) == {}


async def test_administration(coordinator: GroupCoordinator) -> None:
    await commit(coordinator)
    assert [group.group_id for group in await coordinator.list_groups([], [])] == ["g"]
    assert await coordinator.delete_offsets("g", [TP]) == {TP: E.NONE}
    assert await coordinator.delete("g") == E.GROUP_ID_NOT_FOUND
    await commit(coordinator)
    assert await coordinator.delete("g") == E.NONE
    assert await coordinator.list_groups([], []) == []


@pytest.mark.parametrize(
    ("code", "of_groups", "of_offsets"),
    [
        (E.UNKNOWN_TOPIC_OR_PARTITION, E.COORDINATOR_NOT_AVAILABLE, E.COORDINATOR_NOT_AVAILABLE),
        (E.NOT_ENOUGH_REPLICAS_AFTER_APPEND, E.COORDINATOR_NOT_AVAILABLE, E.COORDINATOR_NOT_AVAILABLE),
        (E.NOT_LEADER_OR_FOLLOWER, E.NOT_COORDINATOR, E.NOT_COORDINATOR),
        (E.REQUEST_TIMED_OUT, E.REBALANCE_IN_PROGRESS, E.REQUEST_TIMED_OUT),
        (E.MESSAGE_TOO_LARGE, E.UNKNOWN_SERVER_ERROR, E.INVALID_COMMIT_OFFSET_SIZE),
        (E.CORRUPT_MESSAGE, E.CORRUPT_MESSAGE, E.CORRUPT_MESSAGE),
    ],
)
def test_errors_as_clients_see_them(code: E, of_groups: E, of_offsets: E) -> None:
    assert (group_client_error(code), group_client_error(code, offsets=True)) == (of_groups, of_offsets)
