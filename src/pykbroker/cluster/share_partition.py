"""One share-partition on its leader: which records are in flight, from where to fetch, what is to be stored (KIP-932).

Records from the start offset (SPSO) to the end offset (SPEO) are in flight; below it all are dealt with, above it none
was ever acquired. `share_acquire` hands records out, `share_acknowledge` takes answers; here the offsets move, locks
run out, members leave, and what a change comes to is stored or taken back. It never reads the log and never waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from pykbroker.cluster.in_flight import (
    ACQUIRED,
    ARCHIVED,
    AVAILABLE,
    NEVER,
    TERMINAL,
    InFlight,
    InFlightBatch,
    InFlightBatches,
    RecordState,
    StateBatch,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError


class ShareState(Enum):
    """Where a share-partition is in its life on this broker."""

    LOADING = "Loading"
    ACTIVE = "Active"
    FAILED = "Failed"
    FENCED = "Fenced"


LOADING, ACTIVE, FAILED, FENCED = ShareState

LIFE: tuple[tuple[ShareState, str, ShareState], ...] = (
    (LOADING, "its stored state is read", ACTIVE),
    (LOADING, "the state can't be read, or makes no sense", FAILED),
    (LOADING, "leadership is lost, or the group is empty", FENCED),
    (ACTIVE, "leadership is lost, the group is empty, or a write says that the state is another's", FENCED),
    (FAILED, "it is forgotten, and loaded anew by the next fetch", FENCED),
)
"""From, why, to."""


class ShareConfig(NamedTuple):
    """What a group's config says about its share-partitions."""

    lock_ms: int = 30_000
    """`share.record.lock.duration.ms`."""
    delivery_limit: int = 5
    """`share.delivery.count.limit`."""
    max_locks: int = 2000
    """`share.partition.max.record.locks`: so many offsets are in flight at most."""
    renew: bool = True
    """`share.renew.acknowledge.enable`."""


class Change:
    """What one request did to a share-partition's records, to be stored before it counts."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[tuple[InFlight, StateBatch]] = []

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def batches(self) -> list[StateBatch]:
        """What to store."""
        return [batch for _, batch in self.parts]


class SharePartition:
    """The records of one share-partition that are in flight."""

    __slots__ = (
        "_gap",
        "_search",
        "batches",
        "config",
        "deadline",
        "end_offset",
        "leader_epoch",
        "life",
        "start_offset",
        "state_epoch",
    )

    def __init__(self, leader_epoch: int, config: ShareConfig) -> None:
        self.leader_epoch = leader_epoch
        self.config = config
        self.life = LOADING
        self.state_epoch = 0
        self.start_offset = 0
        self.end_offset = 0
        self.batches = InFlightBatches()
        self.deadline = NEVER
        """When `expire` is due: early after a lock was given back, never late."""
        self._search = False
        """Whether records in flight may be available again."""
        self._gap: tuple[int, int] | None = None
        """Start, and the end offset at which it counts, of what no stored batch tells of: fetched, never answered."""

    # ---- life ------------------------------------------------------------------------------------------------------

    def become(self, life: ShareState) -> None:
        """Goes on in its life."""
        if not any((before, after) == (self.life, life) for before, _, after in LIFE):
            raise AssertionError(f"a share-partition doesn't go from {self.life.name} to {life.name}")
        self.life = life

    def load(self, start_offset: int, state_epoch: int, batches: Sequence[StateBatch]) -> None:
        """Takes the stored state over. Raises UNKNOWN_SERVER_ERROR where it makes no sense."""
        gap, expected = -1, start_offset
        self.start_offset = self.end_offset = start_offset
        self.state_epoch = state_epoch
        for first, last, state, deliveries in batches:
            if first < start_offset or last < first:
                self.become(FAILED)
                raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, "Failed to initialize the share partition")
            if gap < 0 and first > expected:
                gap = expected
            expected = last + 1
            self.batches.add(InFlightBatch(first, last, InFlight(RecordState(state), deliveries)))
        if self.batches:
            self._search = True
            self.end_offset = self.batches.last.last
            if gap >= 0:
                self._gap = gap, self.end_offset
            self.advance()
        self.become(ACTIVE)

    # ---- where to fetch --------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Offsets in flight, gaps included."""
        return self.end_offset - self.start_offset + 1 if self.batches else 0

    @property
    def completed_count(self) -> int:
        """Records in flight that are dealt with: the lag of the group doesn't count them (KIP-1226)."""
        return sum(
            last - max(first, self.start_offset) + 1
            for batch in self.batches
            for first, last, records in batch.runs()
            if records.state in TERMINAL and last >= self.start_offset
        )

    def may_acquire(self) -> bool:
        """Whether a fetch can find anything that it may have: records given back, or room for more."""
        if self.life is not ACTIVE:
            return False
        return self.next_fetch_offset() != self.end_offset + 1 or self.in_flight < self.config.max_locks

    def next_fetch_offset(self) -> int:
        """The first offset that may be acquired: one given back, or what follows the end."""
        if not self.batches or self.start_offset > self.batches.last.last:
            self._search = False
            return self.end_offset
        if not self._search:
            return self.end_offset + 1
        gap = self.gap_start
        for batch in self.batches:
            if gap is not None:
                if batch.first > gap:
                    return gap
                gap = max(batch.last + 1, gap)
            for first, _, records in batch.runs():
                if records.free:
                    return first
        self._search = False
        return self.end_offset + 1

    @property
    def gap_start(self) -> int | None:
        """Where the gap begins that the stored state left, while no fetch has gone past it."""
        return None if self._gap is None or self._gap[1] != self.end_offset else self._gap[0]

    def narrow_gap(self, offset: int) -> None:
        """A fetch has acquired up to `offset`."""
        if self._gap is not None:
            _, end = self._gap
            self._gap = (offset, end) if end == self.end_offset and offset <= end else None

    def search_again(self) -> None:
        """Records in flight have become available, or are gone."""
        self._search = True

    def lock_until(self, now: float) -> float:
        """The deadline of a lock given now."""
        deadline = now + self.config.lock_ms / 1000
        self.deadline = min(self.deadline, deadline)
        return deadline

    # ---- members and locks -----------------------------------------------------------------------------------------

    def give_up(self, change: Change, first: int, last: int, records: InFlight, state: RecordState) -> bool:
        """Begins to take records from their member; False where they aren't acquired, or just change."""
        if not records.begin(state, self.config.delivery_limit):
            return False
        change.parts.append((records, StateBatch(first, last, records.state, records.deliveries)))
        return True

    def leave(self, member_id: str) -> Change:
        """Gives back all that a member holds: its session is over."""
        change = Change()
        for batch in self.batches:
            self._split_at_start(batch)
            for first, last, records in batch.runs():
                if records.state is ACQUIRED and records.member_id == member_id:
                    self.give_up(change, first, last, records, ARCHIVED if last < self.start_offset else AVAILABLE)
        return change

    def expire(self, now: float) -> list[StateBatch]:
        """Gives back the records whose locks are over. That stands, whether or not what it returns can be stored."""
        expired: list[StateBatch] = []
        self.deadline = NEVER
        for batch in self.batches:
            if batch.whole is not None and batch.whole.is_overdue(now):
                self._split_at_start(batch)
            for first, last, records in batch.runs():
                if records.is_overdue(now):
                    records.give_up(ARCHIVED if last < self.start_offset else AVAILABLE, self.config.delivery_limit)
                    expired.append(StateBatch(first, last, records.state, records.deliveries))
                    self._search = True
                elif records.state is ACQUIRED:
                    self.deadline = min(self.deadline, records.deadline)
        return expired

    def _split_at_start(self, batch: InFlightBatch) -> None:
        """A batch that the start offset has moved into: below it is archived, the rest may be delivered again."""
        if batch.first < self.start_offset <= batch.last and batch.whole is not None and batch.whole.state is ACQUIRED:
            batch.split()

    # ---- what becomes of a change ----------------------------------------------------------------------------------

    def complete(self, change: Change, stored: bool, now: float) -> bool:
        """Ends a change as it turned out; True if the start offset moved."""
        for records, _ in change.parts:
            records.complete(stored, self.config.delivery_limit, now)
            if records.state is AVAILABLE:
                self._search = True
            elif records.state is ACQUIRED:
                self.deadline = min(self.deadline, records.deadline)
        if any(batch.first < self.start_offset for batch in change.batches):  # The log's start moved meanwhile.
            self.archive(self.batches, 0, self.start_offset - 1, AVAILABLE)
        return stored and self.advance()

    def advance(self) -> bool:
        """Moves the start offset over all that is dealt with; True if it moved."""
        last = self._last_done()
        if last is None:
            return False
        if last == self.batches.last.last:
            self.start_offset = self.end_offset = max(self.start_offset, last + 1)
            self.batches.clear()
            return True
        holder = self.batches.floor(last)
        assert holder is not None
        if last == holder.last:
            following = self.batches.higher(last)
            assert following is not None
            self.start_offset = max(self.start_offset, following.first)
            if (gap := self.gap_start) is not None:
                self.start_offset = min(gap, self.start_offset)
            self.batches.drop_before(last + 1)
        else:
            self.start_offset = max(self.start_offset, last + 1)
            self.batches.drop_before(holder.first)
        return True

    def _last_done(self) -> int | None:
        """The last offset up to which all is dealt with; None if the first in flight isn't."""
        holder = self.batches.floor(self.start_offset)
        if holder is None or (holder.last >= self.start_offset and not holder.at(self.start_offset).done):
            return None
        done, gap = None, self.gap_start
        for batch in self.batches:
            if gap is not None and batch.last >= gap:
                break
            for _, last, records in batch.runs():
                if not records.done:
                    return done
                done = last
        return done

    # ---- the log ---------------------------------------------------------------------------------------------------

    def log_starts_at(self, offset: int) -> None:
        """The log no longer holds what lies below: it isn't stored now, the next write tells the new start offset."""
        if offset <= self.start_offset:
            return
        if self.batches:
            self.archive(self.batches, self.start_offset, offset - 1, AVAILABLE)
            self.start_offset, self.end_offset = offset, max(self.end_offset, offset)
            if self._gap is not None:
                self.narrow_gap(max(offset, self._gap[0]))
        else:
            self.start_offset = self.end_offset = offset

    def skip(self, first: int, last: int) -> None:
        """The log has no records first…last any more (compaction): what was available of them is archived."""
        holder = self.batches.floor(first)
        begin = holder.first if holder is not None and holder.last >= first else first
        self.archive(self.batches.between(begin, last), first, last, AVAILABLE)

    def archive(self, batches: Iterable[InFlightBatch], first: int, last: int, state: RecordState) -> None:
        """Archives at once the records of first…last that are in `state`. Nothing of it is stored."""
        for batch in batches:
            if batch.first > last:
                break
            if batch.whole is not None:
                if batch.whole.state is not state:
                    continue
                if batch.within(first, last):
                    batch.whole.archive()
                    continue
                batch.split()
            for _, record in batch.records(first, last):
                if record.state is state:
                    record.archive()
        self._search = True
