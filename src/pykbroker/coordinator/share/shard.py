"""One partition of `__share_group_state`: the states of the share-partitions that fall to it.

A state is begun, written, read by a leader that takes the share-partition over, summed up for the group's lag, and
deleted. Epochs fence who is late: a leader of an earlier leader epoch, a write for an earlier initialization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.result import NEVER, Now, Parked, Record, Result
from pykbroker.coordinator.share.records import ShareUpdate, read_record, snapshot_record, update_record
from pykbroker.coordinator.share.state import NO_COUNT, NO_EPOCH, NO_OFFSET, ShareKey, ShareState, combined
from pykbroker.protocol.errors import ErrorCode, KafkaError

COLD_MS = 5 * 60 * 1000
"""A state that has no snapshot younger than this gets one while others are written, so that the log can be pruned."""

FENCED_LEADER = "The leader epoch in the request is older than the epoch on the broker."
FENCED_STATE = "The share coordinator rejected the request because the share-group state epoch did not match."
NOT_HOSTED = "This server does not host this topic-partition."


@dataclass(frozen=True, slots=True)
class ShareWrite:
    """What a share-partition's leader wants stored."""

    state_epoch: int
    leader_epoch: int
    start_offset: int
    completed_count: int
    batches: tuple[StateBatch, ...]


class ShareShard:
    """The share-partitions whose keys fall to one partition. Every question raises KafkaError with its answer."""

    def __init__(self, updates_per_snapshot: int, partitions: Callable[[UUID], int]) -> None:
        """`updates_per_snapshot`: `share.coordinator.snapshot.update.records.per.snapshot`; `partitions` of a topic."""
        self._updates_per_snapshot = updates_per_snapshot
        self._partitions = partitions
        self.states: dict[ShareKey, ShareState] = {}
        self._leader_epochs: dict[ShareKey, int] = {}
        self._updates: dict[ShareKey, int] = {}
        self._snapshots: dict[ShareKey, int] = {}
        """Where each state's last snapshot is."""
        self._offset = 0
        """Where the record is that is replayed now, or was last."""

    # Questions

    def initialize(self, key: ShareKey, state_epoch: int, start_offset: int, now: Now) -> Result[None]:
        """InitializeShareGroupState: begins a state, or begins it anew under a higher state epoch."""
        known = self.states.get(key)
        self._check_partition(key)
        if known is not None and NO_EPOCH != state_epoch < known.state_epoch:
            raise KafkaError(ErrorCode.FENCED_STATE_EPOCH, FENCED_STATE)
        self._check_topic(key)
        state = ShareState(
            0 if known is None else known.snapshot_epoch + 1,
            state_epoch,
            0,
            start_offset,
            NO_COUNT if start_offset == NO_OFFSET else 0,
            (),
            now.wall_ms,
            now.wall_ms,
        )
        return Result(None, [snapshot_record(key, state)])

    def read(self, key: ShareKey, leader_epoch: int, now: Now) -> Result[ShareState]:
        """ReadShareGroupState: the state for a leader, which fences the leaders before it."""
        state = self._begun(key, "Read")
        if self.leader_epoch(key) > leader_epoch:
            raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH, FENCED_LEADER)
        self._check_topic(key)
        if leader_epoch in (NO_EPOCH, self._leader_epochs.get(key)):
            return Result(state)
        write = ShareWrite(state.state_epoch, leader_epoch, state.start_offset, state.completed_count, ())
        return Result(state, [self._record(key, state, write, leader_epoch, now)])

    def summary(self, key: ShareKey) -> Result[ShareState]:
        """ReadShareGroupStateSummary: what isn't begun has no start."""
        self._check_partition(key)
        self._check_topic(key)
        return Result(self.states.get(key) or ShareState())

    def write(self, key: ShareKey, write: ShareWrite, now: Now) -> Result[None]:
        """WriteShareGroupState."""
        state = self._begun(key, "Write")
        if NO_EPOCH != write.leader_epoch < self.leader_epoch(key):
            raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH, FENCED_LEADER)
        if NO_EPOCH != write.state_epoch < state.state_epoch:
            raise KafkaError(ErrorCode.FENCED_STATE_EPOCH, FENCED_STATE)
        self._check_topic(key)
        return Result(None, [self._record(key, state, write, state.leader_epoch, now)])

    def delete(self, key: ShareKey) -> Result[None]:
        """DeleteShareGroupState; what isn't there is deleted."""
        self._check_partition(key)
        self._check_topic(key)
        return Result(None, [snapshot_record(key, None)] if key in self.states else [])

    # What nobody asks for

    def forget_topics(self) -> Result[None]:
        """Deletes the states of topics that are gone."""
        gone = [key for key in self.states if not self._partitions(key.topic_id)]
        return Result(None, [snapshot_record(key, None) for key in gone], divisible=True)

    def snapshot_cold(self, now: Now) -> Result[None]:
        """Writes snapshots of states that have had none for long, unless nothing was written to any since the last."""
        states = self.states.values()
        if all(state.created_ms != state.written_ms for state in states):
            return Result(None)
        return Result(
            None,
            [
                snapshot_record(key, state._replace(snapshot_epoch=state.snapshot_epoch + 1, written_ms=now.wall_ms))
                for key, state in self.states.items()
                if now.wall_ms - state.written_ms >= COLD_MS
            ],
            divisible=True,
        )

    def leader_epoch(self, key: ShareKey) -> int:
        """The latest leader's, as far as the records that are left tell; -1 before any."""
        return self._leader_epochs.get(key, NO_EPOCH)

    @property
    def redundant_below(self) -> int:
        """All records below this offset are superseded by later snapshots or tombstones."""
        return min(self._snapshots.values(), default=self._offset)

    # The shard's own life

    @property
    def deadline(self) -> float:
        """Nothing in it waits on time."""
        return NEVER

    def expire(self, now: Now) -> Result[None]:
        """Nothing is ever due."""
        return Result(None)

    def replay_at(self, record: Record, offset: int) -> None:
        """Takes the record at an offset for the truth. Raises MalformedMessage."""
        self._offset = offset
        self.replay(record)

    def replay(self, record: Record) -> None:
        """Takes a record for the truth. Raises MalformedMessage."""
        entry = read_record(record)
        if entry is None:
            return
        key, value = entry
        if value is None:
            for of_key in (self.states, self._leader_epochs, self._updates, self._snapshots):
                of_key.pop(key, None)
            return
        self._leader_epochs[key] = max(self.leader_epoch(key), value.leader_epoch)
        if isinstance(value, ShareState):
            self.states[key] = value
            self._snapshots[key] = self._offset
            if self._updates.get(key, 0) >= self._updates_per_snapshot:
                self._updates[key] = 0
            return
        known = self.states.get(key) or ShareState(snapshot_epoch=value.snapshot_epoch)
        self.states[key] = known.updated(value.leader_epoch, value.start_offset, value.completed_count, value.batches)
        self._updates[key] = self._updates.get(key, 0) + 1

    def loaded(self, now: Now) -> Result[None]:
        """Every record is replayed."""
        return Result(None)

    def abandon(self, parked: Parked, now: Now) -> Result[None]:
        """Nobody ever waits here."""
        return Result(None)

    def unload(self, code: int) -> Result[None]:
        """Nobody ever waits here."""
        return Result(None)

    # Parts of the answers

    def _begun(self, key: ShareKey, what: str) -> ShareState:
        self._check_partition(key)
        state = self.states.get(key)
        if state is None:
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, f"{what} operation on uninitialized share partition not allowed."
            )
        return state

    def _check_partition(self, key: ShareKey) -> None:
        if key.partition < 0:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "The partition id cannot be a negative number.")

    def _check_topic(self, key: ShareKey) -> None:
        if key.partition >= self._partitions(key.topic_id):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NOT_HOSTED)

    def _record(self, key: ShareKey, state: ShareState, write: ShareWrite, leader_epoch: int, now: Now) -> Record:
        """An update, or a snapshot once there were enough of those."""
        if self._updates.get(key, 0) < self._updates_per_snapshot:
            batches = combined(write.batches, write.start_offset)
            update = ShareUpdate(state.snapshot_epoch, leader_epoch, write.start_offset, write.completed_count, batches)
            return update_record(key, update)
        updated = state.updated(leader_epoch, write.start_offset, write.completed_count, write.batches)
        snapshot = updated._replace(
            snapshot_epoch=state.snapshot_epoch + 1, created_ms=now.wall_ms, written_ms=now.wall_ms
        )
        return snapshot_record(key, snapshot)
