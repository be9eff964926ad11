"""A share-partition against a plain list of records, at random.

Each record has at most one holder, is delivered as often as the limit says and no oftener, and never again once it is
dealt with and that is stored; the start offset never goes back. A restart goes on from what was stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykbroker.cluster.in_flight import TERMINAL, StateBatch
from pykbroker.cluster.share_acknowledge import ACCEPT, RENEW, Answer, acknowledge
from pykbroker.cluster.share_acquire import Fetched, Wanted, aborted_batches, acquire
from pykbroker.cluster.share_partition import Change, ShareConfig, SharePartition

NAMES = ("m1", "m2", "m3")
MEMBERS = st.sampled_from(NAMES)
CONFIG = ShareConfig(lock_ms=10_000, delivery_limit=4, max_locks=30)
LOCK = 10.0


@dataclass
class Record:
    """What the list knows of one record."""

    holder: str = ""
    deadline: float = 0
    deliveries: int = 0
    stored: tuple[int, int] | None = None
    """State and deliveries, as they were stored."""


@dataclass
class Pending:
    """A change of which the outcome isn't known yet."""

    change: Change
    start: int
    member: str
    offsets: list[int] = field(default_factory=list)


class ShareAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: list[Fetched] = []
        self.log_start = self.log_end = 0
        self.aborted: list[tuple[int, int]] = []
        self.records: dict[int, Record] = {}
        self.stored_start = 0
        self.highest_start = 0
        self.pending: list[Pending] = []
        self.partition = self.loaded()

    def loaded(self) -> SharePartition:
        partition = SharePartition(0, CONFIG)
        stored = [
            StateBatch(offset, offset, *record.stored)
            for offset, record in sorted(self.records.items())
            if record.stored is not None and offset >= self.stored_start
        ]
        partition.load(self.stored_start, 0, stored)
        return partition

    # ---- the log

    @rule(size=st.integers(1, 12), hole=st.integers(0, 3), aborts=st.booleans())
    def append(self, size: int, hole: int, aborts: bool) -> None:
        first = self.log_end + hole
        if aborts:
            self.aborted.append((1, first))
            self.log.append(Fetched(first, first + size - 1, 1, True))
            self.log.append(Fetched(first + size, first + size, 1, True, abort=True))
            self.log_end = first + size + 1
        else:
            self.log.append(Fetched(first, first + size - 1))
            self.log_end = first + size
        for offset in range(first, self.log_end):
            self.records[offset] = Record()

    @rule(data=st.data())
    def log_start_moves(self, data: st.DataObject) -> None:
        self.log_start = data.draw(st.integers(self.log_start, min(self.log_end, self.log_start + 8)))
        self.log = [batch for batch in self.log if batch.last_offset >= self.log_start]

    # ---- members

    @rule(
        member=MEMBERS, most=st.integers(1, 25), size=st.integers(1, 25), exact=st.booleans(), batches=st.integers(1, 5)
    )
    def fetch(self, member: str, most: int, size: int, exact: bool, batches: int) -> None:
        if not self.partition.may_acquire():
            return
        offset = self.partition.next_fetch_offset()
        if offset < self.log_start:
            self.partition.log_starts_at(self.log_start)
            return
        read = [batch for batch in self.log if batch.last_offset >= offset][:batches]
        runs = acquire(self.partition, Wanted(member, most, size, exact), offset, read, self.aborted, self.now)
        aborted = {o for b in aborted_batches(read, self.aborted) for o in range(b.base_offset, b.last_offset + 1)}
        if exact:
            assert sum(run.size for run in runs) <= most
        for run in runs:
            for place in range(run.first, run.last + 1):
                assert place >= self.partition.start_offset
                assert place not in aborted
                record = self.records.setdefault(place, Record())
                assert not record.holder, f"{place} is held by {record.holder}"
                assert record.stored is None or record.stored[0] not in TERMINAL, f"{place} is dealt with"
                record.deliveries += 1
                assert record.deliveries == run.deliveries <= CONFIG.delivery_limit
                record.holder, record.deadline = member, self.now + LOCK

    @precondition(lambda self: any(record.holder in NAMES for record in self.records.values()))
    @rule(data=st.data(), outcome=st.sampled_from(("stored", "failed", "later")))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        held = sorted(offset for offset, record in self.records.items() if record.holder in NAMES)
        first = data.draw(st.sampled_from(held))
        member, last = self.records[first].holder, first
        most = first + data.draw(st.integers(0, 12))
        while last < most and last + 1 in self.records and self.records[last + 1].holder == member:
            last += 1
        count = last - first + 1
        kinds = data.draw(
            st.one_of(
                st.lists(st.integers(0, RENEW), min_size=1, max_size=1),
                st.lists(st.integers(0, RENEW), min_size=count, max_size=count),
                st.just([ACCEPT]),
            )
        )
        answer = Answer(first, last, kinds)
        start = self.partition.start_offset
        change = acknowledge(self.partition, member, [answer], self.now)
        pending = Pending(change, start, member)
        for offset in range(max(first, start), last + 1):
            if answer.kind(offset) == RENEW:
                self.records[offset].deadline = self.now + LOCK
            else:
                pending.offsets.append(offset)
                self.records[offset].holder = f"{member}, answering"
        self.pending.append(pending)
        if outcome != "later":
            self.outcome(data, outcome == "stored")

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), stored=st.booleans())
    def outcome(self, data: st.DataObject, stored: bool) -> None:
        """A persister answers in order."""
        pending = self.pending.pop(0)
        if stored:
            self.store(pending.change.batches, pending.start)
        self.partition.complete(pending.change, stored, self.now)
        for offset in pending.offsets:
            record = self.records[offset]
            record.holder = "" if stored or record.deadline <= self.now else pending.member

    def store(self, batches: list[StateBatch], start: int) -> None:
        self.stored_start = max(self.stored_start, start)
        for first, last, state, deliveries in batches:
            for offset in range(first, last + 1):
                self.records.setdefault(offset, Record()).stored = state, deliveries

    @rule(member=MEMBERS)
    def leave(self, member: str) -> None:
        start = self.partition.start_offset
        change = self.partition.leave(member)
        self.store(change.batches, start)
        self.partition.complete(change, True, self.now)
        for record in self.records.values():
            if record.holder == member:
                record.holder = ""

    @rule(seconds=st.sampled_from((1.0, 4.0, LOCK)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.partition.deadline
        for record in self.records.values():
            if record.holder in NAMES and record.deadline <= self.now:
                assert due <= self.now, "a lock ran out before its time was asked for"
                record.holder = ""
        start = self.partition.start_offset
        expired = self.partition.expire(self.now)
        self.store(expired, start)
        if expired:
            self.partition.advance()

    @rule()
    def restart(self) -> None:
        self.pending.clear()
        self.partition = self.loaded()
        self.highest_start = self.partition.start_offset
        for record in self.records.values():
            record.holder = ""
            record.deliveries = 0 if record.stored is None else record.stored[1]

    # ---- what holds always

    @invariant()
    def the_start_offset_never_goes_back(self) -> None:
        assert self.partition.start_offset >= self.highest_start
        self.highest_start = self.partition.start_offset

    @invariant()
    def offsets_are_in_order(self) -> None:
        partition = self.partition
        assert partition.start_offset <= partition.end_offset + 1
        assert partition.next_fetch_offset() >= min(partition.start_offset, self.log_start)
        assert 0 <= partition.completed_count <= max(partition.in_flight, 0)
        previous = -1
        for batch in partition.batches:
            assert batch.first > previous
            assert batch.last >= batch.first
            previous = batch.last


TestShareAgainstAList = ShareAgainstAList.TestCase
TestShareAgainstAList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
