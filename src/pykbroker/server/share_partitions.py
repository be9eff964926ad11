"""The share-partitions that this broker leads: loaded when first asked for, stored when changed, given up in time.

The rules are in `cluster.share_partition` and its neighbours. Here they are handed the time, the stored state and what
became of a write; a timer ends locks, and whoever waits for records is told when there may be some.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVarTuple

import trio

from pykbroker.cluster.in_flight import NEVER, StateBatch
from pykbroker.cluster.share_acknowledge import Answer, acknowledge
from pykbroker.cluster.share_partition import FAILED, FENCED, Change, ShareConfig, SharePartition
from pykbroker.cluster.share_session import SessionKey, ShareSession, ShareSessions
from pykbroker.config.group import BY_DURATION, duration_ms
from pykbroker.coordinator.share.state import NO_OFFSET, ShareKey
from pykbroker.protocol.errors import ErrorCode, KafkaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from pykbroker.protocol.topic_partition import TopicPartition
    from pykbroker.server.clock import Clock
    from pykbroker.server.disk import Disk
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.purgatory import Purgatory
    from pykbroker.server.replica import Replica
    from pykbroker.server.replica_manager import ReplicaManager
    from pykbroker.server.share_persister import SharePersister

log = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")

TIMER_SLACK_S = 0.001
"""The timer wakes this much late, so that a deadline isn't found to be a rounding error away."""

_FENCING = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.GROUP_ID_NOT_FOUND,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
)
"""After these the share-partition is another's, or nobody's: it is forgotten here."""


def persister_error(error: KafkaError) -> KafkaError:
    """What a member is told where a state can't be read or written (Kafka's mapping)."""
    code = error.code
    if code in (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS):
        code = ErrorCode.COORDINATOR_NOT_AVAILABLE
    elif code in (ErrorCode.FENCED_LEADER_EPOCH, ErrorCode.FENCED_STATE_EPOCH):
        code = ErrorCode.NOT_LEADER_OR_FOLLOWER
    elif code not in (
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.GROUP_ID_NOT_FOUND,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ):
        code = ErrorCode.UNKNOWN_SERVER_ERROR
    return KafkaError(code, error.message)


class LedShare:
    """A share-partition with the replica that it is over."""

    __slots__ = ("error", "key", "partition", "replica", "tp")

    def __init__(self, key: ShareKey, tp: TopicPartition, replica: Replica, config: ShareConfig) -> None:
        self.key = key
        self.tp = tp
        self.replica = replica
        self.partition = SharePartition(replica.partition.leader_epoch, config)
        self.error: KafkaError | None = None
        """Why it can't be loaded."""


class SharePartitions:
    """The share-partitions of this broker, and the sessions of the members that fetch from them."""

    def __init__(
        self,
        *,
        persister: SharePersister,
        metadata: MetadataCache,
        replica_manager: ReplicaManager,
        purgatory: Purgatory,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._persister = persister
        self._metadata = metadata
        self._replicas = replica_manager
        self._purgatory = purgatory
        self._disk = disk
        self._clock = clock
        self.sessions = ShareSessions(metadata.config.group_share_max_share_sessions)
        self._led: dict[ShareKey, LedShare] = {}
        self._nursery: trio.Nursery | None = None
        self._alarm: trio.CancelScope | None = None
        self._next_deadline = NEVER

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Loads, stores and keeps time until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await self._keep_time()
            finally:
                self._nursery = None  # Before it is closed: connections still end, and have work to start.

    # ---- share-partitions ------------------------------------------------------------------------------------------

    def open(self, group_id: str, topic_id: UUID, tp: TopicPartition) -> LedShare:
        """The share-partition, loaded if need be; while it loads nothing can be had of it.

        Raises KafkaError where this broker doesn't lead the partition.
        """
        replica = self._replicas.leader(tp)
        key = ShareKey(group_id, topic_id, tp.partition)
        led = self._current(key)
        if led is None:
            if replica.partition.topic_id != topic_id:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            led = self._led[key] = LedShare(key, tp, replica, self._config(group_id))
            self._start_soon(self._load, led)
        led.partition.config = self._config(group_id)
        return led

    def find(self, key: ShareKey) -> SharePartition | None:
        """The share-partition, if it was fetched from since this broker leads it."""
        led = self._current(key)
        return None if led is None else led.partition

    def check(self, led: LedShare) -> None:
        """Raises KafkaError where the share-partition can't be loaded, or isn't led here any more."""
        if led.error is not None:
            raise led.error
        if led.partition.life is FENCED or not self._is_led(led):
            self._replicas.leader(led.tp)
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def changed(self, led: LedShare) -> None:
        """Locks were given: the timer has to know."""
        self._watch(led.partition.deadline)

    async def acknowledge(self, key: ShareKey, member_id: str, answers: Sequence[Answer]) -> None:
        """Takes a member's answers; back when they are stored. Raises KafkaError."""
        led = self._current(key)
        if led is None:
            from pykbroker.coordinator.share.shard import NOT_HOSTED

            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NOT_HOSTED)
        led.partition.config = self._config(key.group_id)
        change = acknowledge(led.partition, member_id, answers, self._clock.monotonic())
        self._watch(led.partition.deadline)
        await self._store(led, change)

    async def _store(self, led: LedShare, change: Change) -> None:
        if not change:
            return
        known = False
        try:
            try:
                await self._write(led, change.batches)
            except KafkaError as error:
                known = True
                led.partition.complete(change, False, self._clock.monotonic())
                told = persister_error(error)
                if told.code in _FENCING:
                    self._drop(led)
                raise told from error
            known = True
            led.partition.complete(change, True, self._clock.monotonic())
        finally:
            if not known:  # Nobody will ever know: whoever asks next loads what was stored.
                self._drop(led)
            self._watch(led.partition.deadline)
            self._purgatory.check(led.key)

    async def _write(self, led: LedShare, batches: Sequence[StateBatch]) -> None:
        from pykbroker.coordinator.share.shard import ShareWrite

        partition = led.partition
        write = ShareWrite(
            partition.state_epoch,
            partition.leader_epoch,
            partition.start_offset,
            partition.completed_count,
            tuple(batches),
        )
        await self._persister.write(led.key, write)

    def _current(self, key: ShareKey) -> LedShare | None:
        """The share-partition of a key, unless the partition's leadership has changed since it was loaded."""
        led = self._led.get(key)
        if led is not None and not self._is_led(led):
            self._drop(led)
            return None
        return led

    def _is_led(self, led: LedShare) -> bool:
        replica = self._replicas.find(led.tp)
        if replica is not led.replica or not replica.partition.is_leader:
            return False
        return replica.partition.leader_epoch == led.partition.leader_epoch

    def _drop(self, led: LedShare) -> None:
        if self._led.get(led.key) is led:
            del self._led[led.key]
        if led.partition.life is not FENCED:
            led.partition.become(FENCED)
        self._purgatory.check(led.key)

    # ---- load ------------------------------------------------------------------------------------------------------

    async def _load(self, led: LedShare) -> None:
        try:
            state = await self._persister.read(led.key, led.partition.leader_epoch)
            start = state.start_offset
            if start == NO_OFFSET:
                start = await self._first_offset(led)
            if led.partition.life is not FENCED:
                led.partition.load(start, state.state_epoch, state.batches)
        except KafkaError as error:
            log.warning("can't load share group %s of %s: %s", led.key.group_id, led.tp, error)
            led.error = persister_error(error)
            if led.partition.life not in (FAILED, FENCED):
                led.partition.become(FAILED)
            self._drop(led)
        self._purgatory.check(led.key)

    async def _first_offset(self, led: LedShare) -> int:
        """Where a group begins that has no state: as its `share.auto.offset.reset` says."""
        reset: str = self._metadata.group_config(led.key.group_id).share_auto_offset_reset
        high_watermark = led.replica.partition.high_watermark
        if reset == "earliest":
            return led.replica.log.log_start_offset
        if reset.startswith(BY_DURATION):
            timestamp = self._clock.now_ms() - duration_ms(reset.removeprefix(BY_DURATION))
            find = led.replica.log.offset_for_timestamp
            found = await self._disk.run(find, timestamp, high_watermark)
            return high_watermark if found is None else found.offset
        return high_watermark

    # ---- members ---------------------------------------------------------------------------------------------------

    def close_session(self, key: SessionKey) -> None:
        """A member ends its session: what it holds is given back."""
        session = self.sessions.remove(key)
        if session is not None:
            self._start_soon(self._leave, session)

    def disconnected(self, connection_id: int) -> None:
        """A connection is gone, and with it its sessions; of groups without any session all is forgotten."""
        sessions, empty = self.sessions.disconnected(connection_id)
        if sessions or empty:
            self._start_soon(self._gone, sessions, empty)

    async def _gone(self, sessions: Iterable[ShareSession], empty: Iterable[str]) -> None:
        for session in sessions:
            await self._leave(session)
        for group_id in empty:
            if self.sessions.has_group(group_id):
                continue
            for led in [led for key, led in self._led.items() if key.group_id == group_id]:
                self._drop(led)

    async def _leave(self, session: ShareSession) -> None:
        group_id, member_id = session.key
        for topic_id, index in session.partitions:
            led = self._current(ShareKey(group_id, topic_id, index))
            if led is None:
                continue
            try:
                await self._store(led, led.partition.leave(member_id))
            except KafkaError as error:
                log.debug("can't store what %s gave back of %s: %s", member_id, led.tp, error)

    # ---- time ------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            self._next_deadline = min((led.partition.deadline for led in self._led.values()), default=NEVER)
            with trio.CancelScope(deadline=self._trio_time(self._next_deadline)) as self._alarm:
                await trio.sleep_forever()
            now = self._clock.monotonic()
            for led in list(self._led.values()):
                if led.partition.deadline <= now:
                    self._expire(led, now)

    def _expire(self, led: LedShare, now: float) -> None:
        """Locks are over: that stands even if it can't be stored."""
        if self._current(led.key) is not led:
            return
        expired = led.partition.expire(now)
        if expired:
            self._start_soon(self._store_expired, led, expired)
            self._purgatory.check(led.key)

    async def _store_expired(self, led: LedShare, expired: Sequence[StateBatch]) -> None:
        try:
            await self._write(led, expired)
        except KafkaError as error:
            log.debug("can't store that locks of %s are over: %s", led.tp, error)
        if led.partition.advance():
            self._purgatory.check(led.key)

    def _watch(self, deadline: float) -> None:
        if deadline < self._next_deadline and self._alarm is not None:
            self._next_deadline = deadline
            self._alarm.deadline = self._trio_time(deadline)

    def _trio_time(self, deadline: float) -> float:
        return trio.current_time() + max(0.0, deadline - self._clock.monotonic()) + TIMER_SLACK_S

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _config(self, group_id: str) -> ShareConfig:
        config = self._metadata.group_config(group_id)
        return ShareConfig(
            config.share_record_lock_duration_ms,
            config.share_delivery_count_limit,
            config.share_partition_max_record_locks,
            config.share_renew_acknowledge_enable,
        )

    def _start_soon(self, work: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(work, *args)
