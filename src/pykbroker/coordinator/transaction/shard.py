"""One partition of `__transaction_state`: its transactional ids, and who may do what with them when.

Every question becomes a `Result`; `replay` alone changes what is known. Markers are written by the shell, which takes
here what is decided but not complete, and says when all of them are written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pykbroker.coordinator.result import NEVER, Draft, Now, Parked, Record, Result
from pykbroker.coordinator.transaction.records import read_record, transaction_record
from pykbroker.coordinator.transaction.transaction_state import (
    AT_REST,
    COMPLETE,
    COMPLETE_COMMIT,
    EMPTY,
    FIRST_WITH_EPOCH_PER_TRANSACTION,
    LAST_EPOCH,
    NO_TIMEOUT,
    NONE,
    ONGOING,
    PREPARE_ABORT,
    PREPARE_COMMIT,
    PREPARED,
    Transaction,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


@dataclass(frozen=True, slots=True)
class TransactionConfig:
    """The broker's settings that count here."""

    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = 10_000
    transaction_remove_expired_transaction_cleanup_interval_ms: int = 3_600_000
    transactional_id_expiration_ms: int = 604_800_000


class Producer(NamedTuple):
    """A producer id and an epoch of it."""

    id: int
    epoch: int


NO_PRODUCER = Producer(NONE, NONE)


class ProducerAnswer(NamedTuple):
    """An error, or with NONE what the producer goes on with."""

    code: ErrorCode
    producer: Producer = NO_PRODUCER


class TransactionFilter(NamedTuple):
    """What ListTransactions asks for; whatever is empty lets all pass."""

    states: Collection[str] = ()
    producer_ids: Collection[int] = ()
    duration_ms: int = -1
    matches: Callable[[str], bool] | None = None


class TransactionShard:
    """The transactional ids that fall to one partition."""

    def __init__(self, config: TransactionConfig, transaction_version: Callable[[], int] = lambda: 0) -> None:
        """`transaction_version`: the finalized level of the feature, which is that of the coordinator's own aborts."""
        self.config = config
        self.transactions: dict[str, Transaction] = {}
        self._version = transaction_version
        self._decided: dict[str, Transaction] = {}
        """What is about to be replayed, with what the record can't carry."""
        self._unfinished: set[str] = set()
        self._wall_minus_monotonic_ms: float | None = None
        self._timeout_ms = NEVER
        """When the first transaction may be overdue, by the wall clock."""
        self._next_abort_ms = self._next_expiry_ms = -NEVER

    # Producers

    def wants_producer_id(self, transactional_id: str, *, ends: bool = False) -> bool:
        """Whether InitProducerId, or with `ends` EndTxn 5, needs a producer id that was never given out."""
        transaction = self.transactions.get(transactional_id)
        if transaction is None:
            return not ends
        return transaction.is_exhausted and (ends or transaction.state in AT_REST)

    def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: Producer | None, fresh_id: int | None, now: Now
    ) -> Result[ProducerAnswer]:
        """InitProducerId: a new epoch, which fences whoever has an older one. Raises KafkaError.

        A transaction that is under way is aborted, and the producer told to ask again: CONCURRENT_TRANSACTIONS.
        `expected`: what a producer that goes on after an error has (KIP-360).
        """
        draft = self._draft(now)
        transaction = self.transactions.get(transactional_id)
        if transaction is None:
            if fresh_id is None:
                raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
            transaction = Transaction(transactional_id, fresh_id)
        if expected is not None and not _may_go_on(transaction, expected):
            raise KafkaError(ErrorCode.PRODUCER_FENCED)
        if transaction.state in PREPARED:
            raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
        if transaction.state is ONGOING:
            self._write(draft, transaction.fenced(self._version(), now.wall_ms))
            return draft.result(ProducerAnswer(ErrorCode.CONCURRENT_TRANSACTIONS))
        expected_epoch = None if expected is None else expected.epoch
        begun = transaction.initialized(timeout_ms, expected_epoch, fresh_id, now.wall_ms)
        self._write(draft, begun)
        return draft.result(ProducerAnswer(ErrorCode.NONE, Producer(begun.producer_id, begun.producer_epoch)))

    # Transactions

    def add_partitions(
        self,
        transactional_id: str,
        producer: Producer,
        partitions: Collection[TopicPartition],
        version: int,
        now: Now,
    ) -> Result[None]:
        """AddPartitionsToTxn, AddOffsetsToTxn: begins the transaction, or extends it. Raises KafkaError."""
        draft = self._draft(now)
        transaction = self._of(transactional_id, producer)
        if transaction.state is not ONGOING or not transaction.partitions.issuperset(partitions):
            self._write(draft, transaction.extended(partitions, version, now.wall_ms))
        return draft.result(None)

    def verify_partitions(
        self, transactional_id: str, producer: Producer, partitions: Iterable[TopicPartition]
    ) -> Result[dict[TopicPartition, ErrorCode]]:
        """AddPartitionsToTxn with verify-only: whether partitions are part of the transaction. Raises KafkaError."""
        known = self._of(transactional_id, producer).partitions
        return Result({tp: ErrorCode.NONE if tp in known else ErrorCode.TRANSACTION_ABORTABLE for tp in partitions})

    def _of(self, transactional_id: str, producer: Producer) -> Transaction:
        transaction = self._known(transactional_id)
        if transaction.producer_id != producer.id:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if transaction.producer_epoch != producer.epoch:
            raise KafkaError(ErrorCode.PRODUCER_FENCED)
        if transaction.state in PREPARED:
            raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)
        return transaction

    def _known(self, transactional_id: str) -> Transaction:
        if not transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        transaction = self.transactions.get(transactional_id)
        if transaction is None:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        return transaction

    def end(
        self,
        transactional_id: str,
        producer: Producer,
        version: int,
        fresh_id: int | None,
        now: Now,
        *,
        committed: bool,
    ) -> Result[ProducerAnswer]:
        """EndTxn: decides the transaction; its markers follow. Raises KafkaError.

        `version` is 2 for a client whose transactions have an epoch each (EndTxn 5): it is told the next one, also
        when it asks again because it missed the answer.
        """
        draft = self._draft(now)
        transaction = self._known(transactional_id)
        wanted = PREPARE_COMMIT if committed else PREPARE_ABORT
        if version >= FIRST_WITH_EPOCH_PER_TRANSACTION:
            if _is_over(transaction, producer, committed=committed):
                known = Producer(transaction.producer_id, transaction.producer_epoch)
                return draft.result(ProducerAnswer(ErrorCode.NONE, known))
        elif _is_over_in_one_epoch(transaction, producer, committed=committed):
            return draft.result(ProducerAnswer(ErrorCode.NONE))
        decided = transaction.decided(wanted, version, fresh_id, now.wall_ms)
        self._write(draft, decided)
        if version < FIRST_WITH_EPOCH_PER_TRANSACTION:
            return draft.result(ProducerAnswer(ErrorCode.NONE))
        following = decided.completed(now.wall_ms)
        return draft.result(ProducerAnswer(ErrorCode.NONE, Producer(following.producer_id, following.producer_epoch)))

    def take_unfinished(self) -> list[Transaction]:
        """The transactions that were decided since this was last asked, or before the load: to be completed."""
        taken = [self.transactions[one] for one in sorted(self._unfinished)]
        self._unfinished.clear()
        return taken

    def complete(self, decided: Transaction, now: Now, fresh_id: int | None = None) -> Result[None]:
        """Every marker of a transaction is written; `fresh_id` is for one that is `used_up_by_fencing`."""
        draft = self._draft(now)
        if self.transactions.get(decided.transactional_id) == decided:
            self._write(draft, decided.completed(now.wall_ms, fresh_id))
        return draft.result(None)

    # What is asked about them

    def describe(self, transactional_id: str) -> Result[Transaction]:
        """DescribeTransactions of one id. Raises TRANSACTIONAL_ID_NOT_FOUND."""
        transaction = self.transactions.get(transactional_id)
        if transaction is None:
            raise KafkaError(ErrorCode.TRANSACTIONAL_ID_NOT_FOUND)
        return Result(transaction)

    def list_transactions(self, wanted: TransactionFilter, now: Now) -> Result[list[Transaction]]:
        """ListTransactions (KIP-664, 994, 1152)."""
        return Result(
            [
                one
                for one in self.transactions.values()
                if (not wanted.producer_ids or one.producer_id in wanted.producer_ids)
                and (not wanted.states or one.state.value in wanted.states)
                and (wanted.duration_ms < 0 or now.wall_ms - one.start_ms > wanted.duration_ms)
                and (wanted.matches is None or wanted.matches(one.transactional_id))
            ]
        )

    # The shard's own life

    @property
    def deadline(self) -> float:
        """When `expire` is due next: maybe early, never late."""
        if self._wall_minus_monotonic_ms is None or not self.transactions:
            return NEVER
        due = min(max(self._timeout_ms, self._next_abort_ms), self._next_expiry_ms)
        return (due - self._wall_minus_monotonic_ms) / 1000

    def expire(self, now: Now) -> Result[None]:
        """Aborts what takes longer than its timeout, and forgets the ids that nobody has used for long."""
        draft = self._draft(now)
        if now.wall_ms >= self._timeout_ms:
            self._next_abort_ms = now.wall_ms + self.config.transaction_abort_timed_out_transaction_cleanup_interval_ms
            self._abort_overdue(now, draft)
        if now.wall_ms >= self._next_expiry_ms:
            self._next_expiry_ms = now.wall_ms + self.config.transaction_remove_expired_transaction_cleanup_interval_ms
            oldest = now.wall_ms - self.config.transactional_id_expiration_ms
            draft.records += [
                transaction_record(one.transactional_id, None)
                for one in self.transactions.values()
                if one.state in AT_REST and one.update_ms <= oldest
            ]
        return draft.result(None, divisible=True)

    def _abort_overdue(self, now: Now, draft: Draft) -> None:
        self._timeout_ms = NEVER
        for transaction in self.transactions.values():
            if transaction.state is not ONGOING:
                continue
            if _timeout_ms(transaction) <= now.wall_ms:
                self._write(draft, transaction.fenced(self._version(), now.wall_ms))
            else:
                self._timeout_ms = min(self._timeout_ms, _timeout_ms(transaction))

    def replay(self, record: Record) -> None:
        """Takes a record for the truth. Raises MalformedMessage."""
        entry = read_record(record)
        if entry is None:
            return
        transactional_id = entry.transactional_id
        self._unfinished.discard(transactional_id)
        transaction = self._decided.pop(transactional_id, entry.transaction)
        if transaction is None:
            self.transactions.pop(transactional_id, None)
            return
        self.transactions[transactional_id] = transaction
        if transaction.state in PREPARED:
            self._unfinished.add(transactional_id)
        elif transaction.state is ONGOING:
            self._timeout_ms = min(self._timeout_ms, _timeout_ms(transaction))

    def loaded(self, now: Now) -> Result[None]:
        """Every record is replayed: time begins to count."""
        return self._draft(now).result(None)

    def abandon(self, parked: Parked, now: Now) -> Result[None]:
        """Nobody waits here."""
        return Result(None)

    def unload(self, code: int) -> Result[None]:
        """Nobody waits here."""
        return Result(None)

    def _draft(self, now: Now) -> Draft:
        if self._wall_minus_monotonic_ms is None:
            self._next_expiry_ms = now.wall_ms + self.config.transaction_remove_expired_transaction_cleanup_interval_ms
        self._wall_minus_monotonic_ms = now.wall_ms - now.monotonic * 1000
        return Draft()

    def _write(self, draft: Draft, transaction: Transaction) -> None:
        draft.records.append(transaction_record(transaction.transactional_id, transaction, self._version()))
        self._decided[transaction.transactional_id] = transaction


def _may_go_on(transaction: Transaction, expected: Producer) -> bool:
    """Whether a producer may ask for the next epoch: it has the id, or had it before its epochs were used up."""
    return (
        transaction.producer_epoch == NONE
        or expected.id == transaction.producer_id
        or (expected.id == transaction.previous_producer_id and expected.epoch >= LAST_EPOCH)
    )


def _is_over_in_one_epoch(transaction: Transaction, producer: Producer, *, committed: bool) -> bool:
    """EndTxn before version 5: whether the transaction has already come to this end. Raises why it can't."""
    if transaction.producer_id != producer.id:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    if transaction.producer_epoch != producer.epoch:
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    if transaction.state is ONGOING:
        return False
    _check_same_end(transaction, committed=committed)
    return True


def _is_over(transaction: Transaction, producer: Producer, *, committed: bool) -> bool:
    """EndTxn 5: whether this asks again for an end that has come (KIP-890). Raises why it can't.

    The epoch tells: the transaction's own, which is the current one, or for a request come twice the one before.
    """
    state, epoch = transaction.state, transaction.producer_epoch
    overflowed = transaction.previous_producer_id == producer.id and producer.epoch == LAST_EPOCH and epoch == 0
    bumped = epoch == producer.epoch + 1
    if transaction.producer_id != producer.id and not overflowed:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    again = bumped or (overflowed and state in COMPLETE)
    if not (again if state in PREPARED else epoch == producer.epoch or (again and state in COMPLETE)):
        raise KafkaError(ErrorCode.PRODUCER_FENCED)
    if state is ONGOING:
        return False
    if state in PREPARED or again:
        _check_same_end(transaction, committed=committed)
        return True
    if committed:
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)
    return False


def _check_same_end(transaction: Transaction, *, committed: bool) -> None:
    """Raises unless the transaction has come to this end, and all its markers are written."""
    if transaction.state is EMPTY:
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)
    if committed is not (transaction.state in (PREPARE_COMMIT, COMPLETE_COMMIT)):
        raise KafkaError(ErrorCode.INVALID_TXN_STATE)
    if transaction.state in PREPARED:
        raise KafkaError(ErrorCode.CONCURRENT_TRANSACTIONS)


def _timeout_ms(transaction: Transaction) -> float:
    """The first millisecond at which a transaction takes too long; never with the longest timeout of all (KIP-939)."""
    return NEVER if transaction.timeout_ms == NO_TIMEOUT else transaction.start_ms + transaction.timeout_ms + 1
