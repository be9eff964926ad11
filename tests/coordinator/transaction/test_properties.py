"""Random transactions of two rivals with one id, over two real logs: what holds whatever they do, through restarts.

No record of an aborted transaction reaches a reader of committed records, a committed one always does; epochs only
grow; a coordinator's log says all that it knows.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.coordinator.transaction.conftest import ID, Conversation

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.topic import LogConfig
from pykbroker.coordinator.transaction.shard import Producer
from pykbroker.coordinator.transaction.transaction_state import LAST_EPOCH, NONE, PREPARE_COMMIT, Transaction
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import AppendOrigin, UnifiedLog
from pykbroker.storage.log_loader import load_log
from pykbroker.storage.producer_state import Verification

PARTITIONS = [TopicPartition("t", index) for index in range(2)]
RIVALS = st.integers(0, 1)
WHERE = st.sampled_from(PARTITIONS)


class Rival:
    """A producer that does what clients do, but for knowing when it is fenced."""

    def __init__(self) -> None:
        self.producer: Producer | None = None
        self.added: set[TopicPartition] = set()
        self.sequences: dict[TopicPartition, int] = {}

    def became(self, producer: Producer) -> None:
        assert 0 <= producer.epoch <= LAST_EPOCH, "the last of all is the coordinator's, to fence with"
        self.producer = producer
        self.added.clear()
        self.sequences.clear()


class Transactions(RuleBasedStateMachine):
    """`version` 0: transactions in one epoch, verified; 2: an epoch for each, added by what is written."""

    version = 2

    @initialize()
    def begin(self) -> None:
        self.root = tempfile.mkdtemp()
        self.config = LogConfig.resolve(BrokerConfig(), {})
        self.talk = Conversation(version=self.version)
        self.logs = {
            tp: UnifiedLog.create(tp, f"{self.root}/{tp.topic}-{tp.partition}", self.config, None, self.now)
            for tp in PARTITIONS
        }
        self.rivals = [Rival(), Rival()]
        self.coordinator_epoch = 0
        self.count = 0
        self.delayed: list[tuple[TopicPartition, Producer, int, Verification | None]] = []
        self.undecided: dict[TopicPartition, list[bytes]] = {tp: [] for tp in PARTITIONS}
        self.committed: dict[TopicPartition, list[bytes]] = {tp: [] for tp in PARTITIONS}
        self.marked: set[TopicPartition] = set()
        self.seen: dict[TopicPartition, int] = dict.fromkeys(PARTITIONS, 0)
        self.highest: dict[int, int] = {}

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "root", ""), ignore_errors=True)

    @property
    def now(self) -> int:
        return 1_700_000_000_000

    @property
    def transaction(self) -> Transaction | None:
        return self.talk.shard.transactions.get(ID)

    # Producers

    @rule(who=RIVALS, goes_on=st.booleans())
    def init(self, who: int, goes_on: bool) -> None:
        rival = self.rivals[who]
        answer = self.talk.init(rival.producer if goes_on else None)
        if answer.code is E.NONE:
            rival.became(answer.producer)

    @rule(what=st.sampled_from(("time", "coordinator", "partition", "epochs")), tp=WHERE)
    def disturb(self, what: str, tp: TopicPartition) -> None:
        """In one rule, or hardly anything else would happen."""
        if what == "time":
            self.talk.advance(75)
        elif what == "coordinator":
            self._restart_coordinator()
        elif what == "partition":
            self._restart_partition(tp)
        else:
            self._use_up_epochs()

    def _use_up_epochs(self) -> None:
        transaction = self.transaction
        if transaction is None or self.talk.unfinished:
            return
        if not transaction.partitions and 0 <= transaction.producer_epoch < LAST_EPOCH:
            self.talk.shard.transactions[ID] = replace(transaction, producer_epoch=LAST_EPOCH, last_epoch=NONE)
            for rival in self.rivals:
                if rival.producer == Producer(transaction.producer_id, transaction.producer_epoch):
                    rival.became(Producer(transaction.producer_id, LAST_EPOCH))

    @rule(who=RIVALS, tp=WHERE, delayed=st.booleans())
    def write(self, who: int, tp: TopicPartition, delayed: bool) -> None:
        rival, log = self.rivals[who], self.logs[tp]
        if rival.producer is None:
            return
        if self.version < 2 and tp not in rival.added:
            if self.talk.add(rival.producer, [tp]) is not E.NONE:
                return
            rival.added.add(tp)
        try:
            request = self._admitted(rival, tp, log, rival.producer)
            if request is not None and delayed:
                self.delayed.append((tp, *request))
            elif request is not None:
                self._append(tp, *request)
                rival.sequences[tp] = rival.sequences.get(tp, 0) + 1
        except KafkaError:
            return

    @precondition(lambda self: self.delayed)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        """Long after the coordinator was asked; its sender may be fenced, the transaction over, another one open."""
        place = data.draw(st.integers(0, len(self.delayed) - 1))
        try:
            self._append(*self.delayed.pop(place))
        except KafkaError:
            return

    def _admitted(
        self, rival: Rival, tp: TopicPartition, log: UnifiedLog, producer: Producer
    ) -> tuple[Producer, int, Verification | None] | None:
        """As the broker does: the coordinator is asked before the first append to a transaction."""
        sequence = rival.sequences.get(tp, 0)
        verification = log.producers.start_verification(
            producer.id, producer.epoch, sequence, bumps_epoch=self.version >= 2, now_ms=self.now
        )
        if verification is not None:
            if self.version >= 2:
                self.talk.take(self.talk.shard.add_partitions(ID, producer, [tp], 2, self.talk.now))
            elif self.talk.shard.verify_partitions(ID, producer, [tp]).answer[tp] is not E.NONE:
                return None
        return producer, sequence, verification

    def _append(self, tp: TopicPartition, producer: Producer, sequence: int, verification: Verification | None) -> None:
        self.count += 1
        value = b"%d" % self.count
        data = build_batch(
            [(None, value)],
            timestamp=self.now,
            producer_id=producer.id,
            producer_epoch=producer.epoch,
            base_sequence=sequence,
            transactional=True,
        )
        info = self.logs[tp].append_as_leader(bytearray(data), 0, self.now, verification=verification)
        if not info.duplicate:
            self.undecided[tp].append(value)

    @rule(who=RIVALS, committed=st.booleans())
    def end(self, who: int, committed: bool) -> None:
        rival = self.rivals[who]
        if rival.producer is None:
            return
        answer = self.talk.end(rival.producer, committed=committed, version=self.version)
        if answer.code is not E.NONE:
            return
        rival.added.clear()
        if self.version >= 2:
            rival.became(answer.producer)

    # The coordinator

    @precondition(lambda self: self.talk.unfinished)
    @rule(tp=WHERE)
    def mark(self, tp: TopicPartition) -> None:
        """A marker reaches a partition; one that has it gets it once more, as after a lost answer."""
        decided = self.talk.unfinished[0]
        if tp not in decided.partitions:
            return
        kind = ControlType.COMMIT if decided.state is PREPARE_COMMIT else ControlType.ABORT
        marker = build_marker(kind, decided.producer_id, decided.producer_epoch, self.coordinator_epoch, self.now)
        self.logs[tp].append_as_leader(
            bytearray(marker),
            0,
            self.now,
            origin=AppendOrigin.COORDINATOR,
            transaction_version=decided.version,
        )
        if decided.state is PREPARE_COMMIT:
            self.committed[tp] += self.undecided[tp]
        self.undecided[tp].clear()
        self.marked.add(tp)

    @precondition(lambda self: self.talk.unfinished)
    @rule()
    def complete(self) -> None:
        (decided,) = self.talk.unfinished
        for tp in sorted(decided.partitions - self.marked):
            self.mark(tp)
        self.talk.complete()
        self.marked.clear()
        assert not any(self.undecided.values()), "nothing was written outside of the transaction"

    def _restart_coordinator(self) -> None:
        shard = self.talk.shard
        self.talk.unfinished.clear()
        if self.transaction is not None and self.transaction.producer_epoch == LAST_EPOCH:
            return  # `use_up_epochs` wrote no record.
        self.coordinator_epoch += 1
        self.talk.restart()
        assert self.talk.shard.transactions == {one: self._stored(known) for one, known in shard.transactions.items()}

    def _stored(self, transaction: Transaction) -> Transaction:
        """What the record has a place for."""
        if self.version:
            return replace(transaction, last_epoch=NONE)
        return replace(transaction, last_epoch=NONE, previous_producer_id=NONE, next_producer_id=NONE)

    def _restart_partition(self, tp: TopicPartition) -> None:
        directory, end = self.logs[tp].directory, self.logs[tp].log_end_offset
        self.logs[tp].close(sync=False)
        self.logs[tp] = load_log(tp, directory, self.config, self.now, clean=True, recovery_point=end)

    # What holds

    @invariant()
    def readers_see_what_is_committed_in_order(self) -> None:
        for tp, log in getattr(self, "logs", {}).items():
            values, stable = _read_committed(log)
            assert values == self.committed[tp][: len(values)]
            assert stable >= self.seen[tp], "the end of what is stable never goes back"
            self.seen[tp] = stable
            if self.undecided[tp]:
                assert self.transaction is not None
                assert tp in self.transaction.partitions, "what nobody will decide isn't written"
            else:
                assert values == self.committed[tp]
                assert stable == log.log_end_offset

    @invariant()
    def epochs_only_grow(self) -> None:
        transaction = getattr(self, "talk", None) and self.transaction
        if transaction is not None:
            producer_id, epoch = transaction.producer_id, transaction.producer_epoch
            assert epoch >= self.highest.get(producer_id, NONE)
            self.highest[producer_id] = epoch


def _read_committed(log: UnifiedLog) -> tuple[list[bytes | None], int]:
    """What a client makes of all that it may read."""
    stable = log.last_stable_offset(log.log_end_offset)
    begins = [(first, producer_id) for producer_id, first in log.aborted_transactions(0, stable)]
    aborting: set[int] = set()
    found: list[bytes | None] = []
    read = log.read(0, 1 << 20, upper_bound=stable).records
    for batch in batches(b"" if read is None else read.read()):
        while begins and begins[0][0] <= batch.base_offset:
            aborting.add(begins.pop(0)[1])
        if batch.is_control:
            aborting.discard(batch.producer_id)
        elif batch.producer_id not in aborting:
            found += [record.value for record in batch.records()]
    return found, stable


class TransactionsInOneEpoch(Transactions):
    version = 0


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Transactions, TransactionsInOneEpoch])
def test_whatever_they_do(machine: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
