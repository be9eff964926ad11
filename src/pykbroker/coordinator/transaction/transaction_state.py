"""One transactional id: its producer, the state of its transaction, and every change that there is.

Each change makes a new `Transaction`, which its shard writes and then replays. It never says who may ask for a change.
Rules: Apache Kafka's transaction coordinator; KIP-98, KIP-360 (epochs that a producer bumps), KIP-890 (an epoch for
every transaction).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


class TransactionState(Enum):
    """Kafka's names, as DescribeTransactions and ListTransactions spell them."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    DEAD = "Dead"

    @property
    def id(self) -> int:
        """The number in a record."""
        return tuple(TransactionState).index(self)


EMPTY, ONGOING, PREPARE_COMMIT, PREPARE_ABORT, COMPLETE_COMMIT, COMPLETE_ABORT, DEAD = TransactionState

TRANSITIONS: tuple[tuple[TransactionState, str, TransactionState], ...] = (
    (EMPTY, "the producer initializes again", EMPTY),
    (EMPTY, "partitions or a group are added", ONGOING),
    (EMPTY, "EndTxn 5 aborts what has no partitions", PREPARE_ABORT),
    (EMPTY, "transactional.id.expiration.ms is over", DEAD),
    (ONGOING, "more are added", ONGOING),
    (ONGOING, "EndTxn commits", PREPARE_COMMIT),
    (ONGOING, "EndTxn aborts, the timeout is over, or another producer initializes", PREPARE_ABORT),
    (PREPARE_COMMIT, "every marker is written", COMPLETE_COMMIT),
    (PREPARE_ABORT, "every marker is written", COMPLETE_ABORT),
    (COMPLETE_COMMIT, "the producer initializes again", EMPTY),
    (COMPLETE_COMMIT, "partitions or a group are added", ONGOING),
    (COMPLETE_COMMIT, "EndTxn 5 aborts what has no partitions", PREPARE_ABORT),
    (COMPLETE_COMMIT, "transactional.id.expiration.ms is over", DEAD),
    (COMPLETE_ABORT, "the producer initializes again", EMPTY),
    (COMPLETE_ABORT, "partitions or a group are added", ONGOING),
    (COMPLETE_ABORT, "EndTxn 5 aborts what has no partitions", PREPARE_ABORT),
    (COMPLETE_ABORT, "transactional.id.expiration.ms is over", DEAD),
)
"""From, why, to."""

ALLOWED = frozenset((before, after) for before, _, after in TRANSITIONS)

PREPARED = frozenset((PREPARE_COMMIT, PREPARE_ABORT))
"""Decided, but not all its markers are written: nothing else may begin."""
COMPLETE = frozenset((COMPLETE_COMMIT, COMPLETE_ABORT))
AT_REST = frozenset((EMPTY, *COMPLETE))
"""No transaction is under way."""

NONE = -1
"""No producer id, no epoch, no time."""
MAX_EPOCH = 0x7FFF
LAST_EPOCH = MAX_EPOCH - 1
"""The last epoch that a client is given; with the next a coordinator may fence it."""
NO_TIMEOUT = 0x7FFFFFFF
FIRST_WITH_EPOCH_PER_TRANSACTION = 2
"""The transaction.version from which on a transaction that ends bumps the epoch (KIP-890)."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is known of a transactional id at one moment; times in ms since the epoch."""

    transactional_id: str
    producer_id: int
    producer_epoch: int = NONE
    state: TransactionState = EMPTY
    timeout_ms: int = 0
    partitions: frozenset[TopicPartition] = frozenset()
    start_ms: int = NONE
    update_ms: int = NONE
    previous_producer_id: int = NONE
    next_producer_id: int = NONE
    """What the producer goes on with once the transaction is complete, as its epochs are used up."""
    version: int = 0
    """The transaction.version that the client works by."""
    last_epoch: int = NONE
    """The epoch before, for a client that asks again because it missed the answer. Not in the record."""

    @property
    def commits(self) -> bool:
        """Whether it is decided that it is committed, and markers are to say so."""
        return self.state is PREPARE_COMMIT

    @property
    def is_exhausted(self) -> bool:
        """Whether the producer id has no epoch left to give out."""
        return self.producer_epoch >= LAST_EPOCH

    @property
    def used_up_by_fencing(self) -> bool:
        """Whether the coordinator's own abort took the last epoch of all, so that completion brings another id."""
        at_its_end = self.producer_epoch == MAX_EPOCH and self.next_producer_id == NONE
        return self.state is PREPARE_ABORT and self.version >= FIRST_WITH_EPOCH_PER_TRANSACTION and at_its_end

    def initialized(
        self, timeout_ms: int, expected_epoch: int | None, fresh_id: int | None, now_ms: int
    ) -> Transaction:
        """At rest, with a new epoch, or where those are used up with `fresh_id`; as it is for a request come twice.

        `expected_epoch`: what a producer that goes on after an error has (KIP-360). Raises PRODUCER_FENCED.
        """
        begun = self._to(EMPTY, timeout_ms=timeout_ms, partitions=frozenset(), start_ms=NONE, update_ms=now_ms)
        if self.is_exhausted and expected_epoch in (None, self.producer_epoch):
            if fresh_id is None:
                raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
            last = NONE if expected_epoch is None else self.producer_epoch
            return replace(begun, producer_id=fresh_id, producer_epoch=0, last_epoch=last)
        if expected_epoch is None:
            return replace(begun, producer_epoch=self.producer_epoch + 1, last_epoch=NONE)
        if self.producer_epoch in (NONE, expected_epoch):
            return replace(begun, producer_epoch=self.producer_epoch + 1, last_epoch=self.producer_epoch)
        if expected_epoch == self.last_epoch:
            return begun
        raise KafkaError(ErrorCode.PRODUCER_FENCED)

    def extended(self, partitions: Iterable[TopicPartition], version: int, now_ms: int) -> Transaction:
        """Ongoing, with these partitions."""
        return self._to(
            ONGOING,
            partitions=self.partitions.union(partitions),
            start_ms=self.start_ms if self.state is ONGOING else now_ms,
            update_ms=now_ms,
            version=version,
        )

    def decided(self, state: TransactionState, version: int, fresh_id: int | None, now_ms: int) -> Transaction:
        """To be committed or aborted by the client.

        With transaction.version 2 its next transaction has the next epoch, or where those are used up `fresh_id`.
        """
        start_ms = self.start_ms if self.state is ONGOING else now_ms
        if version < FIRST_WITH_EPOCH_PER_TRANSACTION:
            return self._to(state, start_ms=start_ms, update_ms=now_ms, version=0, next_producer_id=NONE)
        if self.is_exhausted and fresh_id is None:
            raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
        return self._to(
            state,
            producer_epoch=min(self.producer_epoch + 1, MAX_EPOCH),
            last_epoch=self.producer_epoch,
            next_producer_id=fresh_id if self.is_exhausted and fresh_id is not None else NONE,
            start_ms=start_ms,
            update_ms=now_ms,
            version=version,
        )

    def fenced(self, version: int, now_ms: int) -> Transaction:
        """To be aborted by the coordinator, the producer's epoch void.

        It may use up the last epoch of all. With transaction.version 2 completion brings a new producer id, as the
        producer may go on after it; else the next InitProducerId does.
        """
        bumps = version >= FIRST_WITH_EPOCH_PER_TRANSACTION
        return self._to(
            PREPARE_ABORT,
            producer_epoch=min(self.producer_epoch + 1, MAX_EPOCH),
            last_epoch=self.producer_epoch if bumps else NONE,
            next_producer_id=NONE,
            update_ms=now_ms,
            version=version if bumps else 0,
        )

    def completed(self, now_ms: int, fresh_id: int | None = None) -> Transaction:
        """Its markers are written. `fresh_id` is for one whose id is used up by fencing."""
        done = self._to(
            COMPLETE_COMMIT if self.state is PREPARE_COMMIT else COMPLETE_ABORT,
            partitions=frozenset(),
            next_producer_id=NONE,
            update_ms=now_ms,
        )
        next_id = fresh_id if self.used_up_by_fencing and fresh_id is not None else self.next_producer_id
        return done if next_id == NONE else replace(done, producer_id=next_id, producer_epoch=0)

    def _to(self, state: TransactionState, **changes: Any) -> Transaction:
        if (self.state, state) not in ALLOWED:
            raise AssertionError(f"{self.transactional_id}: no way from {self.state.value} to {state.value}")
        return replace(self, state=state, previous_producer_id=self.producer_id, **changes)
