"""The stored state of one share-partition: where it starts, and the records beyond that are in no common state.

It grows by writes: of two that tell of the same record, the one with more deliveries holds, or else the later state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import parse_uuid, uuid_text
from pykbroker.cluster.in_flight import StateBatch

NO_OFFSET = -1
"""A share-partition that hasn't begun: its start follows from the group's `share.auto.offset.reset`."""
NO_COUNT = -1
NO_EPOCH = -1


class ShareKey(NamedTuple):
    """Which share-partition."""

    group_id: str
    topic_id: UUID
    partition: int

    def __str__(self) -> str:
        """The form in which FindCoordinator names it."""
        return f"{self.group_id}:{uuid_text(self.topic_id)}:{self.partition}"

    @classmethod
    def parse(cls, text: str) -> ShareKey:
        """Reads that form, from the right: a group id may hold colons. Raises ValueError."""
        group_id, topic_id, partition = text.rsplit(":", 2)
        if not group_id.strip():
            raise ValueError(f"{text!r} names no group")
        return cls(group_id, parse_uuid(topic_id), int(partition))


class ShareState(NamedTuple):
    """What is stored; times in milliseconds since the epoch."""

    snapshot_epoch: int = 0
    """Grows with each snapshot; updates carry that of the snapshot that they follow."""
    state_epoch: int = 0
    """Grows with each initialization: writes of an earlier one are fenced."""
    leader_epoch: int = 0
    start_offset: int = NO_OFFSET
    completed_count: int = NO_COUNT
    batches: tuple[StateBatch, ...] = ()
    created_ms: int = 0
    written_ms: int = 0

    def updated(
        self, leader_epoch: int, start_offset: int, completed_count: int, batches: Iterable[StateBatch]
    ) -> ShareState:
        """This state and a write; -1 changes neither leader epoch nor start offset."""
        start = self.start_offset if start_offset == NO_OFFSET else start_offset
        return self._replace(
            leader_epoch=self.leader_epoch if leader_epoch == NO_EPOCH else leader_epoch,
            start_offset=start,
            completed_count=completed_count,
            batches=combined([*self.batches, *batches], start),
        )


def combined(batches: Iterable[StateBatch], start_offset: int) -> tuple[StateBatch, ...]:
    """Batches in order and without overlap, what lies below the start offset left out (-1: nothing does)."""
    waiting = sorted(
        batch._replace(first=max(batch.first, start_offset)) for batch in batches if batch.last >= start_offset
    )
    result: list[StateBatch] = []
    covering: list[tuple[int, int, int]] = []
    place, offset = 0, 0
    while place < len(waiting) or covering:
        if not covering:
            offset = waiting[place].first
        while place < len(waiting) and waiting[place].first <= offset:
            batch = waiting[place]
            heapq.heappush(covering, (-batch.deliveries, -batch.state, batch.last))
            place += 1
        deliveries, state, last = covering[0]
        end = last if place == len(waiting) else min(last, waiting[place].first - 1)
        _append(result, StateBatch(offset, end, -state, -deliveries))
        offset = end + 1
        while covering and covering[0][2] < offset:
            heapq.heappop(covering)
    return tuple(result)


def _append(result: list[StateBatch], batch: StateBatch) -> None:
    if result:
        last = result[-1]
        if (last.last + 1, last.state, last.deliveries) == (batch.first, batch.state, batch.deliveries):
            result[-1] = last._replace(last=batch.last)
            return
    result.append(batch)
