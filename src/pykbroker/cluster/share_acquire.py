"""Which of the records just read a member of a share group gets (KIP-932, 1206: exactly so many records).

Whole batches as the log has them, as far as they are available and there is room; a batch in flight is only taken
apart where a part of it is all that is wanted or available. Records that failed often are handed out in ever smaller
portions, at last alone, so that a bad one doesn't use up the deliveries of its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pykbroker.cluster.in_flight import ACQUIRED, AVAILABLE, NOBODY, InFlight, InFlightBatch
from pykbroker.cluster.share_partition import ACTIVE, SharePartition

MINIMUM_THROTTLE_LIMIT = 2


class Fetched(NamedTuple):
    """A batch that was read from the log."""

    base_offset: int
    last_offset: int
    producer_id: int = -1
    transactional: bool = False
    abort: bool = False
    """Whether it is an abort marker."""


class Wanted(NamedTuple):
    """What a member asks of one share-partition."""

    member_id: str
    max_records: int
    batch_size: int
    record_limit: bool = False
    """`share.acquire.mode`: not one record more than `max_records`, instead of the whole of the last batch."""


class Acquired(NamedTuple):
    """Records handed out, all delivered the same number of times."""

    first: int
    last: int
    deliveries: int

    @property
    def size(self) -> int:
        """How many offsets."""
        return self.last - self.first + 1


def acquire(
    partition: SharePartition,
    wanted: Wanted,
    fetch_offset: int,
    fetched: Sequence[Fetched],
    aborted: Sequence[tuple[int, int]],
    now: float,
) -> list[Acquired]:
    """Hands out what `fetched` (read from `fetch_offset` on) has of records that may be acquired.

    `aborted`: producer id and first offset of aborted transactions, for read_committed; their records are archived.
    """
    if partition.life is not ACTIVE or wanted.max_records <= 0 or not fetched:
        return []
    if fetched[-1].last_offset < partition.start_offset:
        return []
    last, room = _room(partition, fetch_offset, wanted.max_records, fetched[-1].last_offset)
    if room <= 0:
        return []
    if fetch_offset < fetched[0].base_offset:
        partition.skip(fetch_offset, fetched[0].base_offset - 1)
    acquired = _Acquisition(partition, wanted, fetched, last, room, now).run()
    return _without_aborted(partition, acquired, fetched, aborted) if aborted else acquired


def _room(partition: SharePartition, fetch_offset: int, wanted: int, last: int) -> tuple[int, int]:
    """The last offset to hand out, and how many records, for the limit of those in flight.

    Where the limit is reached, records in flight that are available again may be had all the same, none beyond them.
    """
    room = min(wanted, partition.config.max_locks - partition.in_flight)
    if room <= 0 and fetch_offset <= partition.end_offset:
        return min(last, partition.end_offset), min(wanted, partition.end_offset - fetch_offset + 1)
    return last, room


class _Acquisition:
    """One acquire, while it goes through the batches."""

    def __init__(
        self,
        partition: SharePartition,
        wanted: Wanted,
        fetched: Sequence[Fetched],
        last: int,
        room: int,
        now: float,
    ) -> None:
        self.partition = partition
        self.wanted = wanted
        self.fetched = fetched
        self.first = fetched[0].base_offset
        self.last = last
        self.room = room
        self.now = now
        self.result: list[Acquired] = []
        limit = partition.config.delivery_limit
        self.throttle_limit = max(MINIMUM_THROTTLE_LIMIT, (limit + 1) // 2)

    def run(self) -> list[Acquired]:
        """The records handed out."""
        base = self._base()
        known = self.partition.batches.between(min(self.first, base), self.last)
        if not known:
            self._new(base, self.last, self.room)
            return self.result
        after_gap = base
        for batch in known:
            if self.left <= 0:
                break
            if self.partition.gap_start is not None:
                if after_gap < batch.first:
                    self._new(after_gap, batch.first - 1, self.left)
                after_gap = batch.last + 1
                if self.left <= 0:
                    break
            if not self._known(batch):
                break
        else:
            if self.left > 0 and known[-1].last < self.last:
                self._new(known[-1].last + 1, self.last, self.left)
        if self.result:
            self.partition.narrow_gap(self.result[-1].last + 1)
        return self.result

    @property
    def left(self) -> int:
        """How many records more may be handed out."""
        return self.room - sum(run.size for run in self.result)

    def _base(self) -> int:
        """Where to begin: at the first batch read, but not below the start offset, nor within a batch in flight."""
        floor = self.partition.batches.floor(self.first)
        if floor is not None and floor.last >= self.first:
            return floor.first
        return max(self.first, self.partition.start_offset)

    # ---- batches in flight -----------------------------------------------------------------------------------------

    def _known(self, batch: InFlightBatch) -> bool:
        """Hands out what is available of a batch in flight; False if nothing may follow it."""
        throttled = self._throttled(batch)
        if throttled and self.result:
            return False
        whole = batch.whole
        part = not batch.within(self.first, self.last) or (self.wanted.record_limit and len(batch) > self.left)
        if whole is None or part or throttled:
            if whole is not None:
                if not whole.free:
                    return True
                batch.split()
            return not (self._some(batch) and throttled)
        if whole.free:
            whole.acquire(self.wanted.member_id, self.partition.lock_until(self.now))
            self.result.append(Acquired(batch.first, batch.last, whole.deliveries))
        return True

    def _throttled(self, batch: InFlightBatch) -> bool:
        """Whether some of what is available failed so often that it has to come by itself."""
        if batch.whole is not None:
            return batch.whole.free and batch.whole.deliveries >= self.throttle_limit
        deliveries = (record.deliveries for _, record in batch.records(self.first, self.last) if record.free)
        return max(deliveries, default=0) >= self.throttle_limit

    def _some(self, batch: InFlightBatch) -> int:
        """Hands out single records of a split batch; how many."""
        limit, count, portion = self.partition.config.delivery_limit, 0, 0
        most = self.left if self.wanted.record_limit else len(batch)
        runs: list[Acquired] = []
        for offset, record in batch.records(self.first, self.last):
            if not record.free:
                continue
            if limit > 2 and record.deliveries == limit - 1 and count:
                break
            if not portion and record.deliveries >= self.throttle_limit:
                portion = max(1, len(batch) >> (record.deliveries - self.throttle_limit + 1))
            record.acquire(self.wanted.member_id, self.partition.lock_until(self.now))
            count += 1
            if runs and runs[-1].last + 1 == offset and runs[-1].deliveries == record.deliveries:
                runs[-1] = runs[-1]._replace(last=offset)
            else:
                runs.append(Acquired(offset, offset, record.deliveries))
            if (record.deliveries == limit and limit > 2) or count in (most, portion):
                break
        self.result += runs
        return count

    # ---- new batches -----------------------------------------------------------------------------------------------

    def _new(self, first: int, last: int, room: int) -> None:
        """Takes records in flight for the first time, and hands them out."""
        partition, batches = self.partition, self.partition.batches
        first = max(first, partition.start_offset if batches else partition.end_offset)
        if first > last:
            return
        if room < last - first + 1:
            last_whole = self._end_of_batch(first + room - 1)
            last = min(last, last_whole) if partition.gap_start is not None else last_whole
        if self.wanted.record_limit:
            runs = [self._limited(first, last, room)]
        else:
            runs = list(self._portions(first, last))
            for run in runs:
                state = InFlight(ACQUIRED, 1, self.wanted.member_id, partition.lock_until(self.now))
                batches.add(InFlightBatch(run.first, run.last, state))
        if batches.first.first == first:
            partition.start_offset = first
        partition.end_offset = max(partition.end_offset, last)
        partition.narrow_gap(runs[-1].last + 1)
        self.result += runs

    def _end_of_batch(self, offset: int) -> int:
        """The end of the batch that holds an offset."""
        for batch in self.fetched:
            if batch.base_offset <= offset <= batch.last_offset:
                return batch.last_offset
        return offset

    def _portions(self, first: int, last: int) -> Iterator[Acquired]:
        """Cuts at batches' beginnings, so that portions hold `batch_size` records or little more."""
        if last - first + 1 > self.wanted.batch_size:
            for batch in self.fetched:
                if batch.base_offset > last:
                    break
                if batch.base_offset - first >= self.wanted.batch_size:
                    yield Acquired(first, batch.base_offset - 1, 1)
                    first = batch.base_offset
        yield Acquired(first, last, 1)

    def _limited(self, first: int, last: int, room: int) -> Acquired:
        """Takes first…last in flight and hands out `room` of them; the others stay available."""
        deadline = self.partition.lock_until(self.now)
        batch = InFlightBatch(first, last, InFlight(ACQUIRED, 1, self.wanted.member_id, deadline))
        self.partition.batches.add(batch)
        if len(batch) <= room:
            return Acquired(first, last, 1)
        batch.split()
        for place in range(room, len(batch)):
            batch.each[place] = InFlight(AVAILABLE, 0, NOBODY)
        self.partition.search_again()
        return Acquired(first, first + room - 1, 1)


# ---- read_committed ------------------------------------------------------------------------------------------------


def _without_aborted(
    partition: SharePartition,
    acquired: list[Acquired],
    fetched: Sequence[Fetched],
    aborted: Sequence[tuple[int, int]],
) -> list[Acquired]:
    for batch in aborted_batches(fetched, aborted):
        floor = partition.batches.floor(batch.base_offset)
        begin = batch.base_offset if floor is None else floor.first
        known = partition.batches.between(begin, batch.last_offset)
        partition.archive(known, batch.base_offset, batch.last_offset, ACQUIRED)
        acquired = [part for run in acquired for part in _cut(run, batch)]
    return acquired


def _cut(run: Acquired, batch: Fetched) -> Iterator[Acquired]:
    """What is left of a run without the records of a batch."""
    if run.last < batch.base_offset or run.first > batch.last_offset:
        yield run
        return
    if run.first < batch.base_offset:
        yield run._replace(last=batch.base_offset - 1)
    if run.last > batch.last_offset:
        yield run._replace(first=batch.last_offset + 1)


def aborted_batches(fetched: Sequence[Fetched], aborted: Sequence[tuple[int, int]]) -> Iterator[Fetched]:
    """The batches of aborted transactions, given (producer id, first offset) of each."""
    waiting = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    producers: set[int] = set()
    for batch in fetched:
        if batch.producer_id < 0:
            continue
        while waiting and waiting[-1][1] <= batch.last_offset:
            producers.add(waiting.pop()[0])
        if batch.abort:
            producers.discard(batch.producer_id)
        elif batch.transactional and batch.producer_id in producers:
            yield batch
