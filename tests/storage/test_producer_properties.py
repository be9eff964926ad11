"""Random producers of one partition against a plain model: who is accepted, recognised, refused, through restarts.

A batch that was appended is recognised while it is among the last five of its producer's epoch (after a restart: the
last before the snapshot, and what came after it); any other has to follow the last one; an older epoch is fenced for
good; and what is stable ends where the oldest open transaction began.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import RecordBatch, batches, build_batch
from pykbroker.protocol.records.control import ControlType, build_marker, read_marker
from pykbroker.storage.producer_state import AppendOrigin, ProducerState

PRODUCERS = st.integers(1, 2)
WRAPS = 1 << 31
WINDOW = 5
EXPIRATION_MS = 1000


@dataclass
class Known:
    """What is to be known of a producer."""

    epoch: int
    coordinator_epoch: int = -1
    window: list[tuple[int, int, int]] = field(default_factory=list)
    """First and last sequence, and the first offset, of its last batches."""
    opened: int | None = None
    at: int = -1

    @property
    def expected(self) -> int:
        return (self.window[-1][1] + 1) % WRAPS if self.window else 0

    def moves_to(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.window = epoch, []


def copy_of(known: dict[int, Known]) -> dict[int, Known]:
    return {pid: replace(one, window=[*one.window]) for pid, one in known.items()}


class ProducerMachine(RuleBasedStateMachine):
    """`log` holds the batches that were appended; `known` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.state = ProducerState(self.directory)
        self.log: list[RecordBatch] = []
        self.known: dict[int, Known] = {}
        self.ended: list[tuple[int, int]] = []
        """Where transactions began, and their markers."""
        self.kept: dict[int, dict[int, Known]] = {}
        """The model by the offsets of snapshots."""
        self.high_watermark = 0
        self.ms = 1000

    def teardown(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def end(self) -> int:
        return self.log[-1].last_offset + 1 if self.log else 0

    # What is appended

    @rule(
        pid=PRODUCERS,
        epoch=st.sampled_from([0, 0, 0, 1, -1]),
        skip=st.sampled_from([0, 0, 0, 0, 1, -1, -3]),
        count=st.integers(1, 3),
        transactional=st.booleans(),
        follows=st.booleans(),
    )
    def produce(self, pid: int, epoch: int, skip: int, count: int, transactional: bool, follows: bool) -> None:
        """By what the producer's last batch was, mostly; `follows`: of an open transaction, as it should be."""
        known = self.known.get(pid)
        epoch = max(0, (known.epoch if known else 0) + epoch)
        first = ((known.expected if known and known.epoch == epoch else 0) + skip) % WRAPS
        if known and follows:
            transactional = known.opened is not None
        self._append(pid, epoch, first, count, transactional)

    @rule(pid=PRODUCERS, where=st.integers(WRAPS - 3, WRAPS - 1))
    def produce_near_the_end_of_sequences(self, pid: int, where: int) -> None:
        """Only one that isn't known may begin there."""
        if pid not in self.known:
            self._append(pid, 0, where, 2, False)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), back=st.integers(0, WINDOW))
    def produce_again(self, data: st.DataObject, back: int) -> None:
        pid = data.draw(st.sampled_from(sorted(self.known)))
        sent = [one for one in self.log if one.producer_id == pid and not one.is_control][::-1]
        if back < len(sent):
            one = sent[back]
            count = one.last_offset - one.base_offset + 1
            self._append(pid, one.producer_epoch, one.base_sequence, count, one.is_transactional)

    def _append(self, pid: int, epoch: int, first: int, count: int, transactional: bool) -> None:
        batch = next(
            batches(
                build_batch(
                    [(None, b"")] * count,
                    base_offset=self.end,
                    producer_id=pid,
                    producer_epoch=epoch,
                    base_sequence=first,
                    timestamp=self.ms,
                    transactional=transactional,
                )
            )
        )
        last = (first + count - 1) % WRAPS
        known = self.known.get(pid)
        found = [at for low, high, at in (known.window if known else []) if (low, high) == (first, last)]
        again = self.state.find_duplicate(batch)
        if known is not None and known.epoch == epoch and found:
            assert again is not None
            assert again.first_offset == found[0]
            return
        assert again is None
        refusal = None
        if known is not None:
            if epoch < known.epoch:
                refusal = E.INVALID_PRODUCER_EPOCH
            elif first != (known.expected if epoch == known.epoch else 0):
                refusal = E.OUT_OF_ORDER_SEQUENCE_NUMBER
            elif known.opened is not None and not transactional:
                refusal = E.INVALID_TXN_STATE
        if self._is_refused(refusal, lambda: self.state.check(batch, AppendOrigin.CLIENT)):
            return
        known = self.known.setdefault(pid, Known(epoch))
        known.moves_to(epoch)
        known.window = [*known.window, (first, last, self.end)][-WINDOW:]
        known.at = self.ms
        if transactional and known.opened is None:
            known.opened = self.end
        self.log.append(batch)
        assert self.state.appended(batch) is None

    @rule(
        pid=PRODUCERS,
        kind=st.sampled_from([ControlType.COMMIT, ControlType.ABORT]),
        epoch=st.sampled_from([0, 0, 1, -1]),
        coordinator=st.sampled_from([0, 0, 1, -1]),
    )
    def mark(self, pid: int, kind: ControlType, epoch: int, coordinator: int) -> None:
        known = self.known.get(pid)
        epoch = max(0, (known.epoch if known else 0) + epoch)
        coordinator = max(0, (known.coordinator_epoch if known else 0) + coordinator)
        batch = next(batches(build_marker(kind, pid, epoch, coordinator, self.ms)))
        batch.last_offset = batch.base_offset = self.end
        marker = read_marker(batch)
        assert marker is not None
        refusal = None
        if known is not None and epoch < known.epoch:
            refusal = E.INVALID_PRODUCER_EPOCH
        elif known is not None and coordinator < known.coordinator_epoch:
            refusal = E.TRANSACTION_COORDINATOR_FENCED
        if self._is_refused(refusal, lambda: self.state.check_marker(batch, marker)):
            return
        known = self.known.setdefault(pid, Known(epoch))
        first, known.opened = known.opened, None
        known.moves_to(epoch)
        known.coordinator_epoch, known.at = coordinator, self.ms
        self.log.append(batch)
        ended = self.state.appended(batch)
        expected = None if first is None else (pid, first, batch.last_offset, kind is ControlType.ABORT)
        assert (ended and tuple(ended)) == expected
        if first is not None:
            self.ended.append((first, batch.last_offset))

    def _is_refused(self, refusal: E | None, ask: Any) -> bool:
        if refusal is None:
            ask()
            return False
        with pytest.raises(KafkaError) as refused:
            ask()
        assert refused.value.code is refusal
        return True

    # Time, snapshots, restarts

    @rule(ms=st.sampled_from([1, EXPIRATION_MS]), place=st.floats(0, 1))
    def time_passes(self, ms: int, place: float) -> None:
        self.ms += ms
        self.high_watermark += int(place * (self.end - self.high_watermark))
        self.state.expire(self.ms, EXPIRATION_MS)
        idle = [pid for pid, one in self.known.items() if one.opened is None and self.ms - one.at >= EXPIRATION_MS]
        for pid in idle:
            del self.known[pid]

    @rule()
    def snapshot(self) -> None:
        self.state.take_snapshot()
        self.kept.setdefault(self.end, copy_of(self.known))

    @rule(data=st.data(), cut=st.booleans())
    def restart(self, data: st.DataObject, cut: bool) -> None:
        """From the newest snapshot that isn't beyond the end, which a follower may have cut back."""
        if cut:
            del self.log[data.draw(st.integers(max(0, len(self.log) - 3), len(self.log))) :]
        before, self.state = self.state, ProducerState(self.directory)
        self.state.snapshots = before.snapshots
        self.state.load(0, self.end)
        place = self.state.end_offset
        assert place == max([one for one in before.snapshots if one <= self.end], default=0)
        for batch in self.log:
            if batch.base_offset >= place:
                self.state.appended(batch)
        self.known = self._relearned(place)
        self.high_watermark, self.ended = self.end, []

    def _relearned(self, place: int) -> dict[int, Known]:
        """What the snapshot kept, of each producer's batches the last one, and what the log says after it."""
        self.kept = {offset: known for offset, known in self.kept.items() if offset <= self.end}
        known = copy_of(self.kept.get(place, {}))
        for one in known.values():
            one.window = one.window[-1:]
        for batch in self.log:
            if batch.base_offset >= place:
                self._learn(known, batch)
        return known

    def _learn(self, known: dict[int, Known], batch: RecordBatch) -> None:
        one = known.setdefault(batch.producer_id, Known(batch.producer_epoch))
        one.moves_to(batch.producer_epoch)
        one.at = batch.max_timestamp
        marker = read_marker(batch) if batch.is_control else None
        if marker is not None:
            one.opened, one.coordinator_epoch = None, marker.coordinator_epoch
            return
        one.window = [*one.window, (batch.base_sequence, batch.last_sequence, batch.base_offset)][-WINDOW:]
        if batch.is_transactional and one.opened is None:
            one.opened = batch.base_offset

    # What holds

    @invariant()
    def it_knows_what_the_model_knows(self) -> None:
        assert self.state.end_offset == self.end
        assert self.state.producers.keys() == self.known.keys()
        for pid, known in self.known.items():
            entry = self.state.producers[pid]
            assert (entry.epoch, entry.coordinator_epoch) == (known.epoch, known.coordinator_epoch)
            assert (entry.current_txn_first_offset, entry.last_timestamp) == (known.opened, known.at)
            assert [(one.first_sequence, one.last_sequence, one.first_offset) for one in entry.batches] == known.window
            assert self.state.has_ongoing(pid, known.epoch) == (known.opened is not None)
        opened = [one.opened for one in self.known.values() if one.opened is not None]
        assert self.state.first_ongoing_offset == min(opened, default=None)
        unreplicated = [first for first, marker in self.ended if marker >= self.high_watermark]
        stable = min([self.high_watermark, *opened, *unreplicated])
        assert self.state.first_undecided(self.high_watermark) == stable
        assert self.state.last_stable_offset(self.high_watermark) == stable


@pytest.mark.slow
class TestProducersAtRandom(ProducerMachine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
