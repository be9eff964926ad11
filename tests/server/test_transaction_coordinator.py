"""The transaction coordinator's shell over logs in memory: markers are written until they are, here and elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from tests.server.test_coordinator_runtime import MemoryLog, MemoryReplicas, TrioClock
from trio.testing import MockClock

from pykbroker.cluster.features import TRANSACTION_VERSION, FinalizedFeatures
from pykbroker.cluster.image import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC
from pykbroker.config.broker import BrokerConfig
from pykbroker.coordinator.transaction.records import transaction_record
from pykbroker.coordinator.transaction.shard import Producer, ProducerAnswer, TransactionFilter
from pykbroker.coordinator.transaction.transaction_state import MAX_EPOCH, PREPARE_ABORT, Transaction
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnResponse
from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersResponse
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.control import read_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import ChannelError
from pykbroker.server.disk import InlineDisk
from pykbroker.server.transaction_coordinator import TransactionCoordinator, client_error
from pykbroker.server.transaction_markers import Marker, TransactionMarkers
from pykbroker.server.transaction_verifier import Operation, TransactionVerifier
from pykbroker.storage.producer_state import Verification

HERE, ELSEWHERE, GONE = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("gone", 0)
OFFSETS, STATE = TopicPartition(GROUP_METADATA_TOPIC, 0), TopicPartition(TRANSACTION_STATE_TOPIC, 0)


class Replicas(MemoryReplicas):
    """Takes markers, too; refuses the partitions that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[TopicPartition, E] = {}
        self.versions: list[int] = []

    def append_internal(
        self, tp: TopicPartition, batch: bytes, leader_epoch: int | None = None, transaction_version: int = 0
    ) -> SimpleNamespace:
        if tp in self.refused:
            raise KafkaError(self.refused[tp])
        if tp.topic != TRANSACTION_STATE_TOPIC:
            self.versions.append(transaction_version)
        return super().append_internal(tp, batch, leader_epoch)

    def find(self, tp: TopicPartition) -> MemoryLog | None:
        return self.log(tp)

    def start_verification(
        self, tp: TopicPartition, producer_id: int, epoch: int, sequence: int, *, bumps_epoch: bool
    ) -> Verification:
        if tp in self.refused:
            raise KafkaError(self.refused[tp])
        return Verification(epoch, sequence, bumps_epoch=bumps_epoch, now_ms=1)


class Channel:
    """Another broker, which answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: list[Any] = []
        self.negotiated = 5
        self.seconds = 0.0

    def channel(self, broker_id: int, purpose: str) -> Channel:
        return self

    async def version(self, request: Any) -> int:
        await trio.lowlevel.checkpoint()
        return self.negotiated

    async def request(self, request: Any) -> Any:
        await trio.sleep(self.seconds)
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Groups:
    def __init__(self) -> None:
        self.ended: list[tuple[int, str]] = []
        self.error: E | None = None

    async def end_transaction(self, partition: int, kind: Any, *producer: int, **rest: int) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise KafkaError(self.error)
        self.ended.append((partition, kind.name))


class Ids:
    def __init__(self) -> None:
        self.last = 99
        self.failures = 0

    async def next(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise KafkaError(E.COORDINATOR_LOAD_IN_PROGRESS, "the session has ended")
        self.last += 1
        return self.last


class World:
    """All that the coordinator has around it."""

    def __init__(self) -> None:
        self.config = BrokerConfig(node_id=1, transaction_state_log_num_partitions=1)
        self.replicas, self.channel, self.groups, self.ids = Replicas(), Channel(), Groups(), Ids()
        self.leaders = {HERE: 1, ELSEWHERE: 2, OFFSETS: 1, STATE: 1}
        self.informed = True
        topic = SimpleNamespace(partitions={0: None})
        self.metadata = SimpleNamespace(
            topic=lambda name: topic if name == TRANSACTION_STATE_TOPIC and self.informed else None,
            partition=lambda tp: SimpleNamespace(leader=self.leaders[tp]) if tp in self.leaders else None,
            image=SimpleNamespace(features=FinalizedFeatures({TRANSACTION_VERSION: 2}, 0)),
        )
        parts: dict[str, Any] = {
            "config": self.config,
            "clock": TrioClock(),
            "replica_manager": cast("Any", self.replicas),
            "metadata": cast("Any", self.metadata),
        }
        channels = cast("Any", self.channel)
        self.markers = TransactionMarkers(groups=cast("Any", self.groups), channels=channels, **parts)
        self.coordinator = TransactionCoordinator(
            disk=InlineDisk(), producer_ids=cast("Any", self.ids), markers=self.markers, **parts
        )
        self.verifier = TransactionVerifier(transactions=self.coordinator, channels=channels, **parts)

    async def begun(self, *partitions: TopicPartition) -> Producer:
        producer = (await self.coordinator.init_producer_id("t", 60_000, None)).producer
        await self.coordinator.add_partitions("t", producer, partitions, 2)
        return producer

    async def state(self) -> str:
        return (await self.coordinator.describe("t")).state.value

    async def until(self, state: str) -> None:
        with trio.fail_after(90):
            while await self.state() != state:  # noqa: ASYNC110 - a state has no event
                await trio.sleep(0.01)

    def marked(self, tp: TopicPartition) -> list[str]:
        found = [read_marker(next(batches(batch))) for batch in self.replicas.log(tp).batches]
        return [marker.type.name for marker in found if marker is not None]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.coordinator.run)
        world.replicas.elected(0, 5)
        yield world
        nursery.cancel_scope.cancel()


def written(*partitions: TopicPartition, code: E = E.NONE) -> WriteTxnMarkersResponse:
    Topic = WriteTxnMarkersResponse.Marker.Topic  # noqa: N806 - a class
    topics = [
        Topic(name=tp.topic, partitions=[Topic.Partition(partition_index=tp.partition, error_code=code)])
        for tp in partitions
    ]
    return WriteTxnMarkersResponse(markers=[WriteTxnMarkersResponse.Marker(producer_id=100, topics=topics)])


async def test_a_commit_marks_every_partition(autojump_clock: MockClock, world: World) -> None:
    producer = await world.begun(HERE, ELSEWHERE, OFFSETS)
    world.channel.answers.append(written(ELSEWHERE))
    answer = await world.coordinator.end("t", producer, 2, committed=True)
    assert answer == ProducerAnswer(E.NONE, Producer(producer.id, 1))
    await world.until("CompleteCommit")
    assert (world.marked(HERE), world.replicas.versions) == (["COMMIT"], [2])
    assert world.groups.ended == [(0, "COMMIT")]
    (request,) = world.channel.requests
    (marker,) = request.markers
    assert (marker.producer_id, marker.producer_epoch, marker.transaction_result) == (producer.id, 1, True)
    assert (marker.coordinator_epoch, marker.transaction_version) == (5, 2)


@pytest.mark.parametrize("code", [E.NOT_LEADER_OR_FOLLOWER, E.NOT_ENOUGH_REPLICAS, E.KAFKA_STORAGE_ERROR])
async def test_markers_are_tried_again(autojump_clock: MockClock, world: World, code: E) -> None:
    producer = await world.begun(HERE, ELSEWHERE)
    world.replicas.refused[HERE] = code
    world.channel.answers += [ChannelError("no route"), written(ELSEWHERE, code=code), written(ELSEWHERE)]
    await world.coordinator.end("t", producer, 0, committed=False)
    await trio.sleep(3)
    assert await world.state() == "PrepareAbort"
    with pytest.raises(KafkaError) as refused:
        await world.coordinator.init_producer_id("t", 60_000, None)
    assert refused.value.code is E.CONCURRENT_TRANSACTIONS
    assert len(world.channel.requests) == 3, "whoever has the marker isn't asked again"
    del world.replicas.refused[HERE]
    await world.until("CompleteAbort")
    assert world.marked(HERE) == ["ABORT"]


@pytest.mark.parametrize("code", [E.INVALID_PRODUCER_EPOCH, E.TRANSACTION_COORDINATOR_FENCED])
async def test_nobody_wants_the_markers_of_a_fenced_coordinator(
    autojump_clock: MockClock, world: World, code: E
) -> None:
    producer = await world.begun(HERE)
    world.replicas.refused[HERE] = code
    await world.coordinator.end("t", producer, 0, committed=True)
    await trio.sleep(10)
    assert await world.state() == "PrepareCommit"


async def test_what_is_gone_needs_no_marker_once_that_is_sure(autojump_clock: MockClock, world: World) -> None:
    producer = await world.begun(GONE)
    world.informed = False
    await world.coordinator.end("t", producer, 0, committed=True)
    await trio.sleep(5)
    assert await world.state() == "PrepareCommit"
    world.informed = True
    await world.until("CompleteCommit")


async def test_markers_wait_for_the_decision_to_be_committed(autojump_clock: MockClock, world: World) -> None:
    producer = await world.begun(HERE)
    world.replicas.held_back = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: world.coordinator.end("t", producer, 0, committed=True))
        await trio.sleep(1)
        assert world.marked(HERE) == []
        world.replicas.held_back = False
        world.replicas.commit(TopicPartition(TRANSACTION_STATE_TOPIC, 0))
    await world.until("CompleteCommit")
    assert world.marked(HERE) == ["COMMIT"]


async def test_a_decision_that_too_few_have_is_asked_after_again_not_all_the_time(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await world.begun(HERE)
    calls = 0

    async def refuse(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls < 1000:
            raise KafkaError(E.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    with monkeypatch.context() as patch:
        patch.setattr(world.replicas, "wait_for_high_watermark", refuse)
        with pytest.raises(KafkaError):
            await world.coordinator.end("t", producer, 0, committed=True)
        await trio.sleep(5)
        assert 5 < calls < 20
    await world.until("CompleteCommit")


async def test_a_leader_that_is_silent_holds_up_no_other_partition(autojump_clock: MockClock, world: World) -> None:
    world.leaders |= {HERE: 2, ELSEWHERE: 1}
    producer = await world.begun(HERE, ELSEWHERE)
    world.channel.answers += [ChannelError("no answer"), written(HERE)]
    world.channel.seconds = 30
    await world.coordinator.end("t", producer, 0, committed=True)
    await trio.sleep(1)
    assert world.marked(ELSEWHERE) == ["COMMIT"]
    await world.until("CompleteCommit")
    assert len(world.channel.requests) == 2


async def test_a_load_goes_on_with_what_is_decided(autojump_clock: MockClock, world: World) -> None:
    producer = await world.begun(HERE)
    world.replicas.refused[HERE] = E.NOT_LEADER_OR_FOLLOWER
    await world.coordinator.end("t", producer, 2, committed=True)
    world.replicas.resigned(0, 6)
    with pytest.raises(KafkaError) as refused:
        await world.coordinator.describe("t")
    assert refused.value.code is E.NOT_COORDINATOR
    world.replicas.elected(0, 7)
    with pytest.raises(KafkaError) as refused:
        await world.coordinator.end("t", producer, 2, committed=True)
    assert refused.value.code is E.COORDINATOR_LOAD_IN_PROGRESS
    assert await world.coordinator.wait_loaded("t")
    assert await world.state() == "PrepareCommit"
    world.replicas.refused.clear()
    await world.until("CompleteCommit")
    (marker,) = [read_marker(next(batches(batch))) for batch in world.replicas.log(HERE).batches]
    assert marker is not None
    assert marker.coordinator_epoch == 7


async def test_an_overdue_transaction_is_aborted(autojump_clock: MockClock, world: World) -> None:
    producer = await world.begun(HERE)
    await trio.sleep(75)
    assert await world.state() == "CompleteAbort"
    assert world.marked(HERE) == ["ABORT"]
    with pytest.raises(KafkaError) as refused:
        await world.coordinator.add_partitions("t", producer, [HERE], 2)
    assert refused.value.code is E.PRODUCER_FENCED


async def test_what_fencing_used_up_goes_on_with_another_id(autojump_clock: MockClock, world: World) -> None:
    world.replicas.resigned(0, 6)
    fenced = Transaction("t", 7, MAX_EPOCH, PREPARE_ABORT, 60_000, frozenset({HERE}), 1, 1, version=2)
    world.replicas.append_internal(STATE, build_batch([transaction_record("t", fenced, 2)]))
    world.ids.failures = 3
    world.replicas.elected(0, 7)
    assert await world.coordinator.wait_loaded("t")
    await world.until("CompleteAbort")
    done = await world.coordinator.describe("t")
    assert (done.producer_id, done.producer_epoch, done.previous_producer_id) == (100, 0, 7)


async def test_a_group_that_loads_gets_its_marker_later(autojump_clock: MockClock, world: World) -> None:
    marker = Marker(1, 0, True, 5)
    for code in (E.COORDINATOR_LOAD_IN_PROGRESS, E.NOT_COORDINATOR, E.COORDINATOR_NOT_AVAILABLE):
        world.groups.error = code
        assert await world.markers.write_here(marker, [OFFSETS]) == {OFFSETS: E.NOT_LEADER_OR_FOLLOWER}
    world.groups.error = E.INVALID_PRODUCER_EPOCH
    assert await world.markers.write_here(marker, [OFFSETS]) == {OFFSETS: E.INVALID_PRODUCER_EPOCH}


async def test_transactions_are_listed(autojump_clock: MockClock, world: World) -> None:
    await world.begun(HERE)
    assert [one.transactional_id for one in await world.coordinator.list_transactions(TransactionFilter())] == ["t"]
    assert await world.coordinator.list_transactions(TransactionFilter(states=["Empty"])) == []


def told(partitions: Iterable[TopicPartition], code: E) -> AddPartitionsToTxnResponse:
    Response = AddPartitionsToTxnResponse  # noqa: N806 - a class
    results = [
        Response.TopicResult(
            name=tp.topic,
            results_by_partition=[Response.ResultByPartition(partition_index=tp.partition, partition_error_code=code)],
        )
        for tp in partitions
    ]
    one = Response.ResultByTransaction(transactional_id="t", topic_results=results)
    return Response(results_by_transaction=[one])


@pytest.mark.parametrize(
    ("operation", "code", "expected"),
    [
        (Operation.VERIFY, E.NONE, None),
        (Operation.VERIFY, E.TRANSACTION_ABORTABLE, E.INVALID_TXN_STATE),
        (Operation.VERIFY_ABORTABLE, E.TRANSACTION_ABORTABLE, E.TRANSACTION_ABORTABLE),
        (Operation.VERIFY, E.PRODUCER_FENCED, E.INVALID_PRODUCER_EPOCH),
        (Operation.VERIFY, E.CONCURRENT_TRANSACTIONS, E.CONCURRENT_TRANSACTIONS),
    ],
)
async def test_a_coordinator_elsewhere_is_asked(
    autojump_clock: MockClock, world: World, operation: Operation, code: E, expected: E | None
) -> None:
    world.leaders[TopicPartition(TRANSACTION_STATE_TOPIC, 0)] = 2
    world.channel.answers.append(told([HERE], code))
    admission = await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, operation)
    assert admission.errors == ({} if expected is None else {HERE: expected})
    (request,) = world.channel.requests
    assert request.transactions[0].verify_only


async def test_a_coordinator_elsewhere_that_is_not_reached(autojump_clock: MockClock, world: World) -> None:
    world.leaders[TopicPartition(TRANSACTION_STATE_TOPIC, 0)] = 2
    world.channel.answers.append(ChannelError("no route"))
    admission = await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, Operation.ADD)
    assert admission.errors == {HERE: E.NETWORK_EXCEPTION}
    world.channel.answers.append(AddPartitionsToTxnResponse(error_code=E.CLUSTER_AUTHORIZATION_FAILED))
    admission = await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, Operation.ADD)
    assert admission.errors == {HERE: E.INVALID_TXN_STATE}
    world.channel.negotiated = 3
    assert (await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, Operation.VERIFY)).errors == {}
    world.leaders[TopicPartition(TRANSACTION_STATE_TOPIC, 0)] = -1
    admission = await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, Operation.VERIFY)
    assert admission.errors == {HERE: E.COORDINATOR_NOT_AVAILABLE}


async def test_what_adds_by_itself_waits_a_little_for_the_last_transaction(
    autojump_clock: MockClock, world: World
) -> None:
    producer = await world.begun(HERE)
    world.replicas.refused[HERE] = E.NOT_LEADER_OR_FOLLOWER
    following = (await world.coordinator.end("t", producer, 2, committed=True)).producer
    started = trio.current_time()
    admission = await world.verifier.admit("t", following, {ELSEWHERE: 0}, Operation.ADD)
    assert admission.errors == {ELSEWHERE: E.CONCURRENT_TRANSACTIONS}
    assert trio.current_time() - started >= 0.1
    world.replicas.refused.clear()
    admission = await world.verifier.admit("t", following, {ELSEWHERE: 0}, Operation.ADD)
    assert admission.errors == {}
    assert (await world.coordinator.describe("t")).partitions == {ELSEWHERE}


async def test_a_partition_that_is_led_elsewhere_is_not_asked_about(autojump_clock: MockClock, world: World) -> None:
    world.replicas.refused[HERE] = E.NOT_LEADER_OR_FOLLOWER
    admission = await world.verifier.admit("t", Producer(1, 0), {HERE: 0}, Operation.ADD)
    assert (admission.errors, admission.verifications) == ({HERE: E.NOT_LEADER_OR_FOLLOWER}, {})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (E.NOT_ENOUGH_REPLICAS, E.COORDINATOR_NOT_AVAILABLE),
        (E.REQUEST_TIMED_OUT, E.COORDINATOR_NOT_AVAILABLE),
        (E.UNKNOWN_TOPIC_OR_PARTITION, E.COORDINATOR_NOT_AVAILABLE),
        (E.NOT_LEADER_OR_FOLLOWER, E.NOT_COORDINATOR),
        (E.KAFKA_STORAGE_ERROR, E.NOT_COORDINATOR),
        (E.MESSAGE_TOO_LARGE, E.UNKNOWN_SERVER_ERROR),
        (E.CORRUPT_MESSAGE, E.CORRUPT_MESSAGE),
    ],
)
def test_what_a_client_is_told_of_a_failed_append(code: E, expected: E) -> None:
    assert client_error(code) is expected
