"""The records of a share-partition that are in flight: what state they are in, whole batches at a time (KIP-932).

A batch has one state until something happens to a part of it; from then on each of its records has its own. A change
that has to be stored first is begun, and completed or taken back once the outcome is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from enum import IntEnum
from operator import attrgetter
from typing import NamedTuple

NEVER = float("inf")
NOBODY = ""
"""The member id of records that no member holds."""


class RecordState(IntEnum):
    """With the numbers that `__share_group_state` has for them; 3 is kept free for KIP-1191."""

    AVAILABLE = 0
    ACQUIRED = 1
    ACKNOWLEDGED = 2
    ARCHIVED = 4


AVAILABLE, ACQUIRED, ACKNOWLEDGED, ARCHIVED = RecordState

TRANSITIONS: tuple[tuple[RecordState, str, RecordState], ...] = (
    (AVAILABLE, "a member fetches it", ACQUIRED),
    (AVAILABLE, "the log no longer holds it", ARCHIVED),
    (ACQUIRED, "accepted", ACKNOWLEDGED),
    (ACQUIRED, "released, or its lock or the member's session is over", AVAILABLE),
    (ACQUIRED, "rejected, found to be no record or an aborted one, or given back after its last delivery", ARCHIVED),
)
"""From, why, to."""

ALLOWED = frozenset((before, after) for before, _, after in TRANSITIONS)
TERMINAL = frozenset((ACKNOWLEDGED, ARCHIVED))


class StateBatch(NamedTuple):
    """A run of records in one state, as it is stored."""

    first: int
    last: int
    state: int
    deliveries: int


class InFlight:
    """The state of one record, or of all the records of a batch alike."""

    __slots__ = ("_archived", "_before", "deadline", "deliveries", "member_id", "state")

    def __init__(self, state: RecordState, deliveries: int, member_id: str = NOBODY, deadline: float = NEVER) -> None:
        self.state = state
        self.deliveries = deliveries
        self.member_id = member_id
        self.deadline = deadline
        """When the member's acquisition lock is over, in monotonic seconds."""
        self._before: tuple[RecordState, str] | None = None
        self._archived = False

    def copy(self) -> InFlight:
        """The same state for a part of the batch."""
        return InFlight(self.state, self.deliveries, self.member_id, self.deadline)

    @property
    def changing(self) -> bool:
        """Whether a change has begun whose outcome isn't known yet."""
        return self._before is not None

    @property
    def free(self) -> bool:
        """Whether a member may acquire it now."""
        return self.state is AVAILABLE and self._before is None

    @property
    def done(self) -> bool:
        """Whether it is dealt with for good."""
        return self.state in TERMINAL and self._before is None

    def is_overdue(self, now: float) -> bool:
        """Whether its lock is over and nobody is just answering for it."""
        return self.state is ACQUIRED and self._before is None and self.deadline <= now

    def acquire(self, member_id: str, deadline: float) -> None:
        """One more delivery, to this member."""
        self._move(ACQUIRED, member_id)
        self.deliveries += 1
        self.deadline = deadline

    def give_up(self, state: RecordState, limit: int) -> bool:
        """Takes an acquired record from its member; False where that isn't possible now.

        What would be available again is archived once it was delivered `limit` times.
        """
        if self._before is not None or self.state is not ACQUIRED:
            return False
        self._move(ARCHIVED if state is AVAILABLE and self.deliveries >= limit else state, NOBODY)
        self.deadline = NEVER
        return True

    def begin(self, state: RecordState, limit: int) -> bool:
        """As `give_up`, to be completed when the outcome is known; the lock runs on until then."""
        before, deadline = (self.state, self.member_id), self.deadline
        if not self.give_up(state, limit):
            return False
        self._before, self.deadline = before, deadline
        return True

    def complete(self, stored: bool, limit: int, now: float) -> None:
        """Ends a change: it holds where it is stored, else the member has the record back, if it still had the lock."""
        assert self._before is not None
        state, member_id = self._before
        self._before = None
        if stored or self._archived:
            self.deadline = NEVER
        elif self.deadline <= now:
            self.state = ARCHIVED if self.deliveries >= limit else AVAILABLE
            self.deadline = NEVER
        else:
            self.state, self.member_id = state, member_id

    def archive(self) -> None:
        """The record is gone, whatever comes of a change that has begun."""
        self._archived = True
        self.state, self.member_id, self.deadline = ARCHIVED, NOBODY, NEVER

    def _move(self, state: RecordState, member_id: str) -> None:
        if (self.state, state) not in ALLOWED:
            raise AssertionError(f"a record doesn't go from {self.state.name} to {state.name}")
        self.state, self.member_id = state, member_id

    def __repr__(self) -> str:
        changing = ", changing" if self.changing else ""
        return f"{self.state.name}({self.deliveries}, {self.member_id!r}{changing})"


class InFlightBatch:
    """Records first…last: in one state (`whole`), or each in its own (`each`, by offset minus first)."""

    __slots__ = ("each", "first", "last", "whole")

    def __init__(self, first: int, last: int, whole: InFlight) -> None:
        self.first = first
        self.last = last
        self.whole: InFlight | None = whole
        self.each: list[InFlight] = []

    def __len__(self) -> int:
        return self.last - self.first + 1

    def split(self) -> None:
        """From now on every record has a state of its own."""
        if self.whole is not None:
            self.each = [self.whole.copy() for _ in range(len(self))]
            self.whole = None

    def within(self, first: int, last: int) -> bool:
        """Whether all of it lies in first…last."""
        return self.first >= first and self.last <= last

    def records(self, first: int, last: int) -> Iterator[tuple[int, InFlight]]:
        """Offset and state of each record of a split batch that lies in first…last."""
        begin = max(first, self.first)
        for place in range(begin - self.first, min(last, self.last) - self.first + 1):
            yield self.first + place, self.each[place]

    def runs(self) -> Iterator[tuple[int, int, InFlight]]:
        """First, last and state, of the batch or of each of its records."""
        if self.whole is not None:
            yield self.first, self.last, self.whole
        else:
            for place, record in enumerate(self.each):
                yield self.first + place, self.first + place, record

    def at(self, offset: int) -> InFlight:
        """The state of one record."""
        return self.whole if self.whole is not None else self.each[offset - self.first]

    def __repr__(self) -> str:
        return f"InFlightBatch({self.first}-{self.last}: {self.whole if self.whole is not None else self.each})"


class InFlightBatches:
    """The batches in flight, in order, without overlap."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: list[InFlightBatch] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[InFlightBatch]:
        return iter(self._batches)

    @property
    def first(self) -> InFlightBatch:
        """The first of them."""
        return self._batches[0]

    @property
    def last(self) -> InFlightBatch:
        """The last of them."""
        return self._batches[-1]

    def add(self, batch: InFlightBatch) -> None:
        """Puts a batch in its place."""
        self._batches.insert(self._after(batch.first), batch)

    def floor(self, offset: int) -> InFlightBatch | None:
        """The last batch that begins at or before an offset."""
        place = self._after(offset)
        return self._batches[place - 1] if place else None

    def higher(self, offset: int) -> InFlightBatch | None:
        """The first batch that begins after an offset."""
        place = self._after(offset)
        return self._batches[place] if place < len(self._batches) else None

    def between(self, first: int, last: int) -> list[InFlightBatch]:
        """The batches that begin in first…last."""
        return self._batches[self._after(first - 1) : self._after(last)]

    def drop_before(self, offset: int) -> None:
        """Forgets the batches that begin before an offset."""
        del self._batches[: self._after(offset - 1)]

    def clear(self) -> None:
        """Forgets them all."""
        self._batches.clear()

    def _after(self, offset: int) -> int:
        return bisect_right(self._batches, offset, key=_FIRST)


_FIRST = attrgetter("first")
