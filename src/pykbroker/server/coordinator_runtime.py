"""Runs coordinator shards: load by replay, decide, append, replay, wait until committed, answer; one timer for all.

The rules are the shard's; here stands how a request waits, what an append that fails costs (the shard, which is loaded
again), and when time is asked. Records may belong to a producer's transaction: its marker is appended and replayed here
as well. It never looks into a group.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, TypeVarTuple, cast

import trio

from pykbroker.coordinator.result import NEVER, Now, Parked, Record, Result, Shard, TransactionalShard
from pykbroker.protocol.errors import ErrorCode, KafkaError, MalformedMessage
from pykbroker.protocol.records.batch import RecordBatch, batches, build_batch
from pykbroker.protocol.records.control import ControlType, build_marker, read_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log_segment import fitting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from pykbroker.server.clock import Clock
    from pykbroker.server.disk import Disk
    from pykbroker.server.replica_manager import ReplicaManager
    from pykbroker.storage.log import AppendInfo, UnifiedLog
    from pykbroker.storage.producer_state import Verification

log = logging.getLogger(__name__)

A = TypeVar("A")
S = TypeVar("S", bound=Shard)
Ts = TypeVarTuple("Ts")

LOAD_SLICE_BYTES = 1 << 20
LOAD_RECORDS_PER_TURN = 64
"""Records replayed before other tasks have their turn: about two milliseconds' worth."""
LOAD_RETRY_S = 1.0
DIVIDED_BYTES = 1 << 19
"""The records of a decision that needn't stay together go in batches of this size: half of `message.max.bytes`."""
RECORD_OVERHEAD = 32
"""What a record takes in a batch beside key and value, at most."""
TIMER_SLACK_S = 0.001
"""The timer wakes this much late, so that a deadline isn't found to be a rounding error away."""


class TransactionalProducer(NamedTuple):
    """Whose transaction records are appended to, and the proof that its coordinator knows (see `UnifiedLog`)."""

    producer_id: int
    epoch: int
    verification: Verification | None


class ErrorMapping(Protocol):
    """What a coordinator's client is told when an append failed with a code."""

    def __call__(self, code: ErrorCode, *, offsets: bool = False) -> ErrorCode:
        """The code to tell; `offsets`: the decision concerned offsets alone."""
        ...


class _Wait:
    """The answer to a parked request, when it comes."""

    __slots__ = ("answer", "answered", "error")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Any = None
        self.error = ErrorCode.NONE
        """For one that the shard can't answer any more."""


class Hosted(Generic[S]):
    """A shard in one leader epoch of its partition."""

    __slots__ = ("committed", "epoch", "loaded", "shard", "tp", "unloaded", "waits", "written")

    def __init__(self, tp: TopicPartition, epoch: int, shard: S) -> None:
        self.tp = tp
        self.epoch = epoch
        self.shard = shard
        self.loaded = trio.Event()
        self.unloaded = False
        self.waits: dict[Parked, _Wait] = {}
        self.written = 0
        """Everything below this offset is in the shard."""
        self.committed = 0
        """Everything below this offset is known to be committed, too."""

    def deliver(self, released: Mapping[Parked, Any], code: ErrorCode = ErrorCode.NONE) -> None:
        """Answers requests that waited; with an error code all of them alike."""
        for parked, answer in released.items():
            wait = self.waits.pop(parked, None)
            if wait is not None:
                wait.answer = answer if code is ErrorCode.NONE else type(answer)(error_code=code)
                wait.answered.set()

    def abort(self, code: ErrorCode) -> None:
        """Ends whatever waits are left, of requests that the shard has answered but whose records aren't committed."""
        while self.waits:
            _, wait = self.waits.popitem()
            wait.error = code
            wait.answered.set()


class CoordinatorRuntime(Generic[S]):
    """The shards of one coordinator's topic that this broker leads."""

    def __init__(
        self,
        topic: str,
        new_shard: Callable[[], S],
        *,
        clock: Clock,
        replica_manager: ReplicaManager,
        disk: Disk,
        commit_timeout: float,
        client_error: ErrorMapping | None = None,
        on_replayed: Callable[[Hosted[S]], None] = lambda hosted: None,
    ) -> None:
        """`commit_timeout`: seconds that a written answer may wait for its records to be committed.

        `client_error`: the code to answer for an append that failed; without it a group coordinator's.
        `on_replayed`: called when a shard is loaded, and when it has taken new records, committed or not.
        """
        self.topic = topic
        self._new_shard = new_shard
        self._clock = clock
        self._replicas = replica_manager
        self._disk = disk
        self._commit_timeout = commit_timeout
        self._client_error: ErrorMapping = client_error or group_client_error
        self._on_replayed = on_replayed
        self._hosted: dict[int, Hosted[S]] = {}
        self._nursery: trio.Nursery | None = None
        self._alarm: trio.CancelScope | None = None
        self._next_deadline = NEVER
        replica_manager.on_leadership(topic, self.elected, self.resigned, self.reelected)

    # ---- life ------------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Loads shards and keeps their time until cancelled; then all that wait are answered NOT_COORDINATOR."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for hosted in [h for h in self._hosted.values() if not h.loaded.is_set()]:
                    nursery.start_soon(self._load, hosted)
                task_status.started()
                try:
                    await self._keep_time()
                finally:
                    self._nursery = None  # Before it is closed: whoever comes now can't start work in it.
        finally:
            self.close()

    def close(self) -> None:
        """Gives up all shards: whoever waits is answered NOT_COORDINATOR."""
        for hosted in list(self._hosted.values()):
            self._unload(hosted, ErrorCode.NOT_COORDINATOR)

    def elected(self, partition: int, epoch: int) -> None:
        """This broker leads the partition from this epoch on: loads its shard. An older epoch is ignored."""
        current = self._hosted.get(partition)
        if current is not None:
            if current.epoch >= epoch:
                return
            self._unload(current, ErrorCode.NOT_COORDINATOR)
        self._host(partition, epoch)

    def reelected(self, partition: int, epoch: int) -> None:
        """This broker goes on leading in a new epoch, as when a follower has died: the shard is what it was."""
        current = self._hosted.get(partition)
        if current is None:
            self._host(partition, epoch)
        else:
            current.epoch = max(current.epoch, epoch)

    def resigned(self, partition: int, epoch: int) -> None:
        """The partition is led elsewhere as of this epoch."""
        current = self._hosted.get(partition)
        if current is not None and current.epoch <= epoch:
            self._unload(current, ErrorCode.NOT_COORDINATOR)

    def _host(self, partition: int, epoch: int) -> None:
        hosted = Hosted(TopicPartition(self.topic, partition), epoch, self._new_shard())
        self._hosted[partition] = hosted
        replica_log = self._replicas.log(hosted.tp)
        if replica_log is not None and replica_log.log_start_offset == replica_log.log_end_offset:
            hosted.written = hosted.committed = replica_log.log_end_offset
            hosted.loaded.set()
            self._apply_detached(hosted, lambda shard, now: shard.loaded(now))
        elif self._nursery is not None:
            self._nursery.start_soon(self._load, hosted)

    def _unload(self, hosted: Hosted[S], code: ErrorCode) -> None:
        hosted.unloaded = True
        if self._hosted.get(hosted.tp.partition) is hosted:
            del self._hosted[hosted.tp.partition]
        hosted.loaded.set()
        try:
            hosted.deliver(hosted.shard.unload(code).released)
        finally:
            hosted.abort(code)

    def _failed(self, hosted: Hosted[S], code: ErrorCode) -> None:
        """What the shard holds in memory isn't in its log: it is loaded again."""
        if not hosted.unloaded:
            try:
                self._unload(hosted, code)
            finally:
                self._host(hosted.tp.partition, hosted.epoch)

    # ---- load ------------------------------------------------------------------------------------------------------

    async def _load(self, hosted: Hosted[S]) -> None:
        while not hosted.unloaded and not hosted.loaded.is_set():
            try:
                await self._replay_log(hosted)
            except (KafkaError, OSError) as error:
                log.error("can't load %s, trying again: %s", hosted.tp, error)
                await trio.sleep(LOAD_RETRY_S)
                hosted.shard = self._new_shard()
                continue
            if not hosted.unloaded:
                hosted.loaded.set()
                self._apply_detached(hosted, lambda shard, now: shard.loaded(now))
                self._on_replayed(hosted)

    async def _replay_log(self, hosted: Hosted[S]) -> None:
        replica_log = self._replicas.log(hosted.tp)
        if replica_log is None:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        offset, end = replica_log.log_start_offset, replica_log.log_end_offset
        replayed = 0
        while offset < end and not hosted.unloaded:
            data = await self._disk.run(_read_slice, replica_log, offset, end)
            before = offset
            for batch in batches(data):
                if batch.is_control:
                    _replay_marker(hosted.shard, batch)
                producer_id = batch.producer_id if batch.is_transactional else None
                for record in () if batch.is_control else batch.records():
                    if record.offset >= offset and record.key is not None:
                        _replay(hosted, Record(record.key, record.value), record.offset, producer_id)
                    replayed += 1
                    if replayed % LOAD_RECORDS_PER_TURN == 0:
                        await trio.lowlevel.checkpoint()
                offset = max(offset, batch.next_offset)
            if offset == before:
                break
        # What a leader before has written but not seen replicated is the shard's, and shown once it is committed.
        hosted.written, hosted.committed = end, min(end, self._replicas.high_watermark(hosted.tp))
        log.debug("loaded %s: %d records", hosted.tp, replayed)

    # ---- requests --------------------------------------------------------------------------------------------------

    def find(self, partition: int) -> Hosted[S]:
        """The shard of a partition. Raises NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS."""
        hosted = self._hosted.get(partition)
        if hosted is None or self._nursery is None:
            raise KafkaError(ErrorCode.NOT_COORDINATOR)
        if not hosted.loaded.is_set():
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return hosted

    def hosted(self, *, loading: bool = False) -> list[Hosted[S]]:
        """All shards. Raises COORDINATOR_LOAD_IN_PROGRESS while one is loading, unless those are wanted too."""
        for hosted in self._hosted.values():
            if not hosted.loaded.is_set() and not loading:
                raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return list(self._hosted.values())

    async def wait_loaded(self, partition: int) -> bool:
        """Waits until the shard of a partition led here answers; False if it doesn't within the commit timeout."""
        hosted = self._hosted.get(partition)
        if hosted is None or self._nursery is None:
            return False
        with trio.move_on_after(self._commit_timeout):
            await hosted.loaded.wait()
        return hosted.loaded.is_set() and not hosted.unloaded

    async def ask(
        self,
        hosted: Hosted[S],
        decide: Callable[[S, Now], Result[A]],
        *,
        offsets: bool = False,
        producer: TransactionalProducer | None = None,
    ) -> A:
        """Has the shard decide, and returns its answer once all that it rests on is committed.

        `offsets`: the decision concerns offsets alone, so that a failed append doesn't cost the shard.
        `producer`: the records are part of its transaction.
        Raises KafkaError as the shard does, or for a failed append as Kafka's coordinator does.
        """
        result = self._decide(hosted, decide)
        answer = result.answer
        wait = _Wait()
        if isinstance(answer, Parked):
            hosted.waits[answer] = wait
        self._append(hosted, result, offsets=offsets, producer=producer)
        if hosted.committed >= hosted.written:
            hosted.deliver(result.released)
        elif result.released:
            self._later(hosted, result.released)
        if isinstance(answer, Parked):
            return cast("A", await self._answer(hosted, answer, wait))
        if hosted.committed < hosted.written:
            await self._committed(hosted, hosted.written, offsets=offsets)
        return answer

    def ask_now(self, hosted: Hosted[S], decide: Callable[[S, Now], Result[A]]) -> A:
        """As `ask`, for what neither writes nor waits nor shows anything that could be taken back."""
        answer = self._decide(hosted, decide).answer
        assert not isinstance(answer, Parked)
        return answer

    def _decide(self, hosted: Hosted[S], decide: Callable[[S, Now], Result[A]]) -> Result[A]:
        try:
            result = decide(hosted.shard, self._now())
        except KafkaError:
            raise
        except Exception:
            self._failed(hosted, ErrorCode.UNKNOWN_SERVER_ERROR)
            raise
        self._watch(hosted)
        return result

    async def end_transaction(
        self,
        hosted: Hosted[S],
        kind: ControlType,
        producer_id: int,
        producer_epoch: int,
        *,
        coordinator_epoch: int,
        transaction_version: int,
    ) -> None:
        """Writes a transaction's marker, which decides what the shard holds of it; back when it is committed.

        Raises KafkaError as the log does.
        """
        marker = build_marker(kind, producer_id, producer_epoch, coordinator_epoch, self._clock.now_ms())
        info = self._replicas.append_internal(hosted.tp, marker, hosted.epoch, transaction_version=transaction_version)
        hosted.written = info.last_offset + 1
        if isinstance(hosted.shard, TransactionalShard):
            hosted.shard.replay_marker(producer_id, committed=kind is ControlType.COMMIT)
        await self._replicas.wait_for_high_watermark(hosted.tp, hosted.written, self._commit_timeout)

    async def wait_committed(self, hosted: Hosted[S], offset: int) -> None:
        """Waits until all that the shard held at this offset is committed; raises KafkaError as `ask` does."""
        if hosted.committed < offset:
            await self._committed(hosted, offset)

    def start_soon(self, work: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Has work done in the background that ends with the coordinator; none is begun once it is stopped."""
        if self._nursery is not None:
            self._nursery.start_soon(work, *args)

    def _append(
        self,
        hosted: Hosted[S],
        result: Result[Any],
        *,
        offsets: bool = False,
        producer: TransactionalProducer | None = None,
    ) -> None:
        """Appends the decision's records, and then takes them for the truth."""
        if not result.records:
            return
        batches: Iterable[Sequence[Record]] = (result.records,)
        if result.divisible:
            batches = fitting(result.records, DIVIDED_BYTES, _most_bytes)
        for records in batches:
            self._append_batch(hosted, records, result, offsets=offsets, producer=producer)
        self._watch(hosted)  # Records may set a deadline, too.
        self._on_replayed(hosted)

    def _append_batch(
        self,
        hosted: Hosted[S],
        records: Sequence[Record],
        result: Result[Any],
        *,
        offsets: bool,
        producer: TransactionalProducer | None,
    ) -> None:
        try:
            info = self._write(hosted, records, producer)
        except KafkaError as error:
            code = self._client_error(error.code, offsets=offsets)
            if not offsets:
                log.warning("can't append to %s, loading it again: %s", hosted.tp, error)
                hosted.deliver(result.released, code)
                self._failed(hosted, code)
            raise KafkaError(code, error.message) from error
        hosted.written = info.last_offset + 1
        producer_id = None if producer is None else producer.producer_id
        for offset, record in enumerate(records, info.first_offset):
            _replay(hosted, record, offset, producer_id)

    def _write(
        self, hosted: Hosted[S], records: Sequence[Record], producer: TransactionalProducer | None
    ) -> AppendInfo:
        now_ms = self._clock.now_ms()
        if producer is None:
            return self._replicas.append_internal(hosted.tp, build_batch(records, timestamp=now_ms), hosted.epoch)
        batch = build_batch(
            records,
            timestamp=now_ms,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            base_sequence=0,
            transactional=True,
        )
        return self._replicas.append_internal(hosted.tp, batch, hosted.epoch, verification=producer.verification)

    async def _committed(self, hosted: Hosted[S], offset: int, *, offsets: bool = False) -> None:
        """Waits until everything below the offset is committed."""
        try:
            await self._replicas.wait_for_high_watermark(hosted.tp, offset, self._commit_timeout, hosted.epoch)
        except KafkaError as error:
            raise KafkaError(self._client_error(error.code, offsets=offsets), error.message) from error
        hosted.committed = max(hosted.committed, offset)

    async def _answer(self, hosted: Hosted[S], parked: Parked, wait: _Wait) -> Any:
        try:
            await wait.answered.wait()
        finally:
            if hosted.waits.pop(parked, None) is not None and not hosted.unloaded:
                self._apply_detached(hosted, lambda shard, now: shard.abandon(parked, now))
        if wait.error is not ErrorCode.NONE:
            raise KafkaError(wait.error)
        return wait.answer

    # ---- what no request waits for ---------------------------------------------------------------------------------

    def _apply_detached(self, hosted: Hosted[S], decide: Callable[[S, Now], Result[None]]) -> None:
        """Carries a decision out that nobody asked for: time, a client that is gone, the end of a load."""
        try:
            result = self._decide(hosted, decide)
            self._append(hosted, result)
        except KafkaError:
            return
        except Exception:
            log.exception("a defect in the rules of %s", hosted.tp)
            return
        if hosted.committed >= hosted.written:
            hosted.deliver(result.released)
        elif result.released:
            self._later(hosted, result.released)

    def _later(self, hosted: Hosted[S], released: Mapping[Parked, Any]) -> None:
        if self._nursery is None:
            hosted.deliver(released, ErrorCode.NOT_COORDINATOR)
        else:
            self._nursery.start_soon(self._deliver_committed, hosted, released, hosted.written)

    async def _deliver_committed(self, hosted: Hosted[S], released: Mapping[Parked, Any], offset: int) -> None:
        try:
            await self._committed(hosted, offset)
        except KafkaError as error:
            hosted.deliver(released, error.code)
        else:
            hosted.deliver(released)

    async def _keep_time(self) -> None:
        """Sleeps until the earliest deadline, which `_watch` may bring forward; with no deadline it sleeps on."""
        while True:
            deadlines = (hosted.shard.deadline for hosted in self._hosted.values() if hosted.loaded.is_set())
            self._next_deadline = min(deadlines, default=NEVER)
            with trio.CancelScope(deadline=self._trio_time(self._next_deadline)) as self._alarm:
                await trio.sleep_forever()
            now = self._now()
            for hosted in list(self._hosted.values()):
                if hosted.loaded.is_set() and hosted.shard.deadline <= now.monotonic:
                    self._apply_detached(hosted, lambda shard, now: shard.expire(now))

    def _watch(self, hosted: Hosted[S]) -> None:
        deadline = hosted.shard.deadline
        if deadline < self._next_deadline and self._alarm is not None:
            self._next_deadline = deadline
            self._alarm.deadline = self._trio_time(deadline)

    def _trio_time(self, deadline: float) -> float:
        return trio.current_time() + max(0.0, deadline - self._clock.monotonic()) + TIMER_SLACK_S

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.now_ms())


def _read_slice(replica_log: UnifiedLog, offset: int, end: int) -> bytes:
    records = replica_log.read(offset, LOAD_SLICE_BYTES, upper_bound=end).records
    return b"" if records is None else records.read()


def _most_bytes(record: Record) -> int:
    return len(record.key) + len(record.value or b"") + RECORD_OVERHEAD


def _replay(hosted: Hosted[S], record: Record, offset: int, producer_id: int | None = None) -> None:
    """A record that can't be read is passed over: better one group lost than fifty."""
    try:
        if producer_id is None:
            replay_at = getattr(hosted.shard, "replay_at", None)  # For a shard that prunes its log.
            if replay_at is None:
                hosted.shard.replay(record)
            else:
                replay_at(record, offset)
        elif isinstance(hosted.shard, TransactionalShard):
            hosted.shard.replay_pending(record, producer_id)
    except MalformedMessage as error:
        log.error("%s: the record at offset %d is passed over: %s", hosted.tp, offset, error)
    except Exception:
        log.exception("a defect in the rules of %s: the record at offset %d is passed over", hosted.tp, offset)


def _replay_marker(shard: Shard, batch: RecordBatch) -> None:
    marker = read_marker(batch)
    if marker is not None and isinstance(shard, TransactionalShard):
        shard.replay_marker(batch.producer_id, committed=marker.type is ControlType.COMMIT)


UNAVAILABLE = frozenset(
    (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    )
)
MOVED = frozenset((ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.KAFKA_STORAGE_ERROR))
TOO_LARGE = frozenset((ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE, ErrorCode.INVALID_FETCH_SIZE))


def client_error(code: ErrorCode, *, offsets: bool = False) -> ErrorCode:
    """What a transaction or share coordinator's client is told when the append failed with this code."""
    if code in UNAVAILABLE or code is ErrorCode.REQUEST_TIMED_OUT:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if code in MOVED:
        return ErrorCode.NOT_COORDINATOR
    return ErrorCode.UNKNOWN_SERVER_ERROR if code in TOO_LARGE else code


def group_client_error(code: ErrorCode, *, offsets: bool = False) -> ErrorCode:
    """What a group coordinator's client is told when the append failed with this code (Kafka's mapping)."""
    if code in UNAVAILABLE:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if code in MOVED:
        return ErrorCode.NOT_COORDINATOR
    if code in TOO_LARGE:
        return ErrorCode.INVALID_COMMIT_OFFSET_SIZE if offsets else ErrorCode.UNKNOWN_SERVER_ERROR
    if code is ErrorCode.REQUEST_TIMED_OUT and not offsets:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return code
