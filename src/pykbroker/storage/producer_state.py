"""What a partition knows of its producers: sequences, epochs, open transactions; the `.snapshot` files.

It decides whether a batch is new, a duplicate or refused. It never reads the log: the loader replays batches into it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from enum import Enum
from struct import Struct
from typing import NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import RecordBatch
from pykbroker.protocol.records.checksum import crc32c
from pykbroker.protocol.records.control import ControlType, EndTransactionMarker, read_marker
from pykbroker.storage.checkpoints import replace_file
from pykbroker.storage.files import read_file

WINDOW = 5
"""Batches of a producer that are remembered, as many as a client may have in flight."""
SNAPSHOT_SUFFIX = ".snapshot"

SNAPSHOT_VERSION = 1
MAX_EPOCH = 0x7FFF
FIRST_WITH_EPOCH_PER_TRANSACTION = 2
"""The transaction.version from which on every transaction has an epoch of its own (KIP-890)."""

_HEADER = Struct(">hI")
_COUNT = Struct(">i")
_ENTRY = Struct(">qhiqiqiq")
_NO_OFFSET = -1


class AppendOrigin(Enum):
    """Who appends: a client is checked most, a coordinator may write markers, a replica's leader has checked."""

    CLIENT = "client"
    COORDINATOR = "coordinator"
    REPLICATION = "replication"


class AppendedBatch(NamedTuple):
    """What is kept of a producer's batch to recognise it when it comes again."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int

    @property
    def first_sequence(self) -> int:
        """The first sequence, which is above the last where they wrap."""
        return (self.last_sequence - self.offset_delta) & 0x7FFFFFFF

    @property
    def first_offset(self) -> int:
        """The offset that the batch got."""
        return self.last_offset - self.offset_delta


class ProducerEntry:
    """One producer's state."""

    __slots__ = ("batches", "coordinator_epoch", "current_txn_first_offset", "epoch", "last_timestamp", "producer_id")

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id = producer_id
        self.epoch = epoch
        self.batches: deque[AppendedBatch] = deque(maxlen=WINDOW)
        self.last_timestamp = -1
        self.coordinator_epoch = -1
        self.current_txn_first_offset: int | None = None

    @property
    def last_sequence(self) -> int:
        """The last record's sequence, -1 when none is known."""
        return self.batches[-1].last_sequence if self.batches else -1

    @property
    def last_offset(self) -> int:
        """The last record's offset, -1 when none is known."""
        return self.batches[-1].last_offset if self.batches else -1

    def move_to(self, epoch: int) -> None:
        """A new epoch begins its sequences anew."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()


class Verification:
    """That a producer's partition is part of its transaction is being asked of the coordinator, or was answered.

    The object itself is the proof that an append hands in: one that an abort has overtaken isn't the log's any more
    (KIP-890).
    """

    __slots__ = ("bumps_epoch", "epoch", "lowest_sequence", "timestamp")

    def __init__(self, epoch: int, sequence: int, *, bumps_epoch: bool, now_ms: int) -> None:
        self.epoch = epoch
        self.lowest_sequence = sequence
        """An earlier one was tried, so that a later one can't be the first."""
        self.bumps_epoch = bumps_epoch
        """Whether every transaction of this client has an epoch of its own."""
        self.timestamp = now_ms

    def tried(self, epoch: int, sequence: int) -> None:
        """Another attempt, while none was written yet."""
        if epoch > self.epoch or (epoch == self.epoch and sequence < self.lowest_sequence):
            self.epoch, self.lowest_sequence = epoch, sequence


NOT_REQUIRED = Verification(-1, 0, bumps_epoch=False, now_ms=-1)
"""What an append hands in where no transaction has to be verified."""


class CompletedTransaction(NamedTuple):
    """A transaction that a marker has just ended."""

    producer_id: int
    first_offset: int
    last_offset: int
    aborted: bool


class CorruptSnapshot(Exception):
    """A snapshot that can't be read; an older one and the log take its place."""


class ProducerState:
    """All producers of one partition, and the snapshots of them that lie in its directory."""

    __slots__ = ("_ongoing", "_unreplicated", "directory", "end_offset", "producers", "snapshots", "verifications")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.producers: dict[int, ProducerEntry] = {}
        self.end_offset = 0
        """The state is that of all records below this offset."""
        self.snapshots: list[int] = []
        """Offsets of the snapshot files, ascending."""
        self.verifications: dict[int, Verification] = {}
        """By producer id; in memory alone."""
        self._ongoing: dict[int, int] = {}
        self._unreplicated: list[CompletedTransaction] = []

    # -- checks ------------------------------------------------------------------------------------------------

    def find_duplicate(self, batch: RecordBatch) -> AppendedBatch | None:
        """The batch as it was appended, when this one repeats one of the last five."""
        entry = self.producers.get(batch.producer_id)
        if entry is None or entry.epoch != batch.producer_epoch:
            return None
        first, last = batch.base_sequence, batch.last_sequence
        for appended in entry.batches:
            if appended.last_sequence == last and appended.first_sequence == first:
                return appended
        return None

    def has_ongoing(self, producer_id: int, epoch: int) -> bool:
        """Whether this producer has written to a transaction that is still open."""
        entry = self.producers.get(producer_id)
        return entry is not None and entry.current_txn_first_offset is not None and entry.epoch == epoch

    def start_verification(
        self, producer_id: int, epoch: int, sequence: int, *, bumps_epoch: bool, now_ms: int
    ) -> Verification | None:
        """What the first append to a transaction has to hand in; None where one is under way. Raises KafkaError."""
        self._check_epoch(producer_id, epoch)
        if self.has_ongoing(producer_id, epoch):
            return None
        found = self.verifications.get(producer_id)
        if found is None:
            found = self.verifications[producer_id] = Verification(
                epoch, sequence, bumps_epoch=bumps_epoch, now_ms=now_ms
            )
        else:
            found.tried(epoch, sequence)
        return found

    def _check_epoch(self, producer_id: int, epoch: int) -> None:
        entry = self.producers.get(producer_id)
        if entry is not None and epoch < entry.epoch:
            raise _fenced(producer_id, epoch, entry.epoch)

    def check(self, batch: RecordBatch, origin: AppendOrigin, verification: Verification | None = NOT_REQUIRED) -> None:
        """Refuses a batch that is fenced, out of sequence, or outside the transaction that is open.

        A producer that isn't known may begin anywhere (KIP-360), but for one whose transactions bump its epoch.
        Raises KafkaError.
        """
        producer_id, epoch = batch.producer_id, batch.producer_epoch
        self._check_epoch(producer_id, epoch)
        if (
            verification is not NOT_REQUIRED
            and batch.is_transactional
            and not self.has_ongoing(producer_id, epoch)
            and (verification is None or self.verifications.get(producer_id) is not verification)
        ):
            raise KafkaError(ErrorCode.INVALID_TXN_STATE, "Record was not part of an ongoing transaction")
        entry = self.producers.get(producer_id)
        if origin is AppendOrigin.CLIENT and self.verifications:
            self._check_first(batch, entry)
        if entry is None:
            return
        if origin is AppendOrigin.CLIENT:
            first = batch.base_sequence
            expected = (entry.last_sequence + 1) & 0x7FFFFFFF if epoch == entry.epoch else 0
            if first != expected:
                raise KafkaError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"Out of order sequence number for producer {batch.producer_id} with epoch {epoch}: "
                    f"{first} (incoming seq. number), {expected} (expected)",
                )
        if entry.current_txn_first_offset is not None and not batch.is_transactional:
            raise KafkaError(
                ErrorCode.INVALID_TXN_STATE, f"Expected a transactional write from producer {batch.producer_id}"
            )

    def _check_first(self, batch: RecordBatch, entry: ProducerEntry | None) -> None:
        """The first batch of a transaction must be the first that was tried (KIP-890)."""
        verification, first = self.verifications.get(batch.producer_id), batch.base_sequence
        if verification is None:
            return
        expected = verification.lowest_sequence
        if verification.bumps_epoch and (entry is None or not entry.batches):
            expected = 0
        if first > expected:
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Out of order sequence number for producer {batch.producer_id}: {first} (incoming seq. number), "
                f"{expected} (expected as the first of its transaction)",
            )

    def check_marker(self, batch: RecordBatch, marker: EndTransactionMarker, transaction_version: int = 0) -> None:
        """Refuses a marker of an older epoch or coordinator. Raises KafkaError.

        From transaction.version 2 on its epoch must be a new one, but for a marker that is written once more
        (KAFKA-19999).
        """
        entry = self.producers.get(batch.producer_id)
        if entry is None:
            return
        self._check_epoch(batch.producer_id, batch.producer_epoch)
        if (
            transaction_version >= FIRST_WITH_EPOCH_PER_TRANSACTION
            and batch.producer_epoch == entry.epoch
            and entry.current_txn_first_offset is not None
            and entry.epoch != MAX_EPOCH
        ):
            raise _fenced(batch.producer_id, batch.producer_epoch, entry.epoch)
        if marker.coordinator_epoch < entry.coordinator_epoch:
            raise KafkaError(
                ErrorCode.TRANSACTION_COORDINATOR_FENCED,
                f"Coordinator epoch {marker.coordinator_epoch} of producer {batch.producer_id} is smaller than the "
                f"last seen epoch {entry.coordinator_epoch}",
            )

    # -- changes -----------------------------------------------------------------------------------------------

    def appended(self, batch: RecordBatch) -> CompletedTransaction | None:
        """Takes in a batch that is in the log; returns the transaction that it ended."""
        self.end_offset = batch.last_offset + 1
        if batch.producer_id < 0:
            return None
        entry = self.producers.get(batch.producer_id)
        if entry is None:
            entry = self.producers[batch.producer_id] = ProducerEntry(batch.producer_id, batch.producer_epoch)
        if batch.is_control:
            marker = read_marker(batch)
            return None if marker is None else self._ended(entry, batch, marker)
        if batch.is_transactional and self.verifications:
            self.verifications.pop(batch.producer_id, None)
        entry.move_to(batch.producer_epoch)
        entry.last_timestamp = batch.max_timestamp
        entry.batches.append(
            AppendedBatch(batch.last_sequence, batch.last_offset, batch.last_offset_delta, batch.max_timestamp)
        )
        if batch.is_transactional and entry.current_txn_first_offset is None:
            entry.current_txn_first_offset = batch.base_offset
            self._ongoing[batch.producer_id] = batch.base_offset
        return None

    def _ended(
        self, entry: ProducerEntry, batch: RecordBatch, marker: EndTransactionMarker
    ) -> CompletedTransaction | None:
        verification = self.verifications.get(batch.producer_id)
        if verification is not None and not (verification.bumps_epoch and batch.producer_epoch == verification.epoch):
            del self.verifications[batch.producer_id]  # Else it is the next transaction's, whose epoch the marker has.
        entry.move_to(batch.producer_epoch)
        entry.coordinator_epoch = marker.coordinator_epoch
        entry.last_timestamp = batch.max_timestamp
        first = entry.current_txn_first_offset
        entry.current_txn_first_offset = None
        self._ongoing.pop(entry.producer_id, None)
        if first is None:
            return None
        aborted = marker.type is ControlType.ABORT
        completed = CompletedTransaction(entry.producer_id, first, batch.last_offset, aborted)
        self._unreplicated.append(completed)
        return completed

    @property
    def first_ongoing_offset(self) -> int | None:
        """Where the oldest open transaction began."""
        return min(self._ongoing.values()) if self._ongoing else None

    def last_stable_offset(self, high_watermark: int) -> int:
        """The offset below which every transaction is decided and its marker replicated."""
        if self._unreplicated:
            self._unreplicated = [done for done in self._unreplicated if done.last_offset >= high_watermark]
        return self.first_undecided(high_watermark)

    def first_undecided(self, high_watermark: int) -> int:
        """The same, without a change to anything: for another thread than the log's."""
        undecided = [done.first_offset for done in list(self._unreplicated) if done.last_offset >= high_watermark]
        return min([high_watermark, *self._ongoing.values(), *undecided])

    def expire(self, now_ms: int, expiration_ms: int) -> None:
        """Forgets producers that wrote nothing for so long and have no transaction open."""
        idle = [
            entry.producer_id
            for entry in list(self.producers.values())  # A truncation in another thread makes them anew.
            if entry.current_txn_first_offset is None and now_ms - entry.last_timestamp >= expiration_ms
        ]
        for producer_id in idle:
            self.producers.pop(producer_id, None)
        for producer_id, pending in list(self.verifications.items()):
            if now_ms - pending.timestamp >= expiration_ms:
                del self.verifications[producer_id]

    def take_over(self, other: ProducerState) -> None:
        """Goes on with what another log's state knows, which is given up; the snapshots are its own."""
        self.producers, self.verifications = other.producers, other.verifications
        self._ongoing, self._unreplicated = other._ongoing, other._unreplicated

    def clear(self, end_offset: int) -> None:
        """Forgets all producers, not the snapshots."""
        self.producers.clear()
        self.verifications.clear()
        self._ongoing.clear()
        self._unreplicated.clear()
        self.end_offset = end_offset

    # -- snapshots ---------------------------------------------------------------------------------------------

    def snapshot_path(self, offset: int) -> str:
        """Where the snapshot of the state up to, not including, `offset` lies."""
        return os.path.join(self.directory, f"{offset:020d}{SNAPSHOT_SUFFIX}")

    def take_snapshot(self, offset: int | None = None) -> None:
        """Writes the state to a file named by the log's end (or `offset`), without a sync."""
        place = self.end_offset if offset is None else offset
        if place in self.snapshots:
            return
        replace_file(self.snapshot_path(place), encode_snapshot(self.producers.values()), sync=False)
        self.snapshots = sorted({*self.snapshots, place})

    def load(self, log_start_offset: int, log_end_offset: int, *, keep: bool = False) -> None:
        """Begins from the newest readable snapshot that isn't beyond the log's end; `end_offset` says where that is.

        Damaged snapshots are deleted, and those beyond the end unless `keep`.
        """
        self.clear(log_start_offset)
        for offset in reversed(self.snapshots.copy()):
            if offset > log_end_offset:
                if not keep:
                    self.delete_snapshot(offset)
                continue
            if offset < log_start_offset:
                break
            try:
                entries = decode_snapshot(read_file(self.snapshot_path(offset)) or b"")
            except CorruptSnapshot:
                self.delete_snapshot(offset)
                continue
            self.end_offset = offset
            for entry in entries:
                self.producers[entry.producer_id] = entry
                if entry.current_txn_first_offset is not None:
                    self._ongoing[entry.producer_id] = entry.current_txn_first_offset
            return

    def delete_snapshot(self, offset: int) -> None:
        """Deletes one snapshot file, there or not."""
        try:
            os.unlink(self.snapshot_path(offset))
        except FileNotFoundError:
            pass
        self.snapshots = [other for other in self.snapshots if other != offset]


def _fenced(producer_id: int, epoch: int, known: int) -> KafkaError:
    return KafkaError(
        ErrorCode.INVALID_PRODUCER_EPOCH,
        f"Epoch of producer {producer_id} is {epoch}, which is not newer than the last seen epoch {known}",
    )


def encode_snapshot(entries: Iterable[ProducerEntry]) -> bytes:
    """A snapshot file's content, version 1; only the last batch of each producer is in it."""
    packed: list[bytes] = []
    for entry in entries:
        last = entry.batches[-1] if entry.batches else AppendedBatch(-1, -1, 0, entry.last_timestamp)
        first = entry.current_txn_first_offset
        packed.append(
            _ENTRY.pack(
                entry.producer_id,
                entry.epoch,
                last.last_sequence,
                last.last_offset,
                last.offset_delta,
                entry.last_timestamp,
                entry.coordinator_epoch,
                _NO_OFFSET if first is None else first,
            )
        )
    covered = b"".join((_COUNT.pack(len(packed)), *packed))
    return _HEADER.pack(SNAPSHOT_VERSION, crc32c(covered)) + covered


def decode_snapshot(data: bytes) -> list[ProducerEntry]:
    """The producers in a snapshot file. Raises CorruptSnapshot."""
    if len(data) < _HEADER.size + _COUNT.size:
        raise CorruptSnapshot(f"{len(data)} bytes are too few")
    version, crc = _HEADER.unpack_from(data)
    covered = data[_HEADER.size :]
    if version != SNAPSHOT_VERSION or crc32c(covered) != crc:
        raise CorruptSnapshot(f"version {version}, or a wrong checksum")
    (count,) = _COUNT.unpack_from(covered)
    if count * _ENTRY.size != len(covered) - _COUNT.size:
        raise CorruptSnapshot(f"{count} producers in {len(covered)} bytes")
    entries: list[ProducerEntry] = []
    for fields in _ENTRY.iter_unpack(covered[_COUNT.size :]):
        producer_id, epoch, sequence, offset, delta, timestamp, coordinator_epoch, first = fields
        entry = ProducerEntry(producer_id, epoch)
        if sequence >= 0:
            entry.batches.append(AppendedBatch(sequence, offset, delta, timestamp))
        entry.last_timestamp = timestamp
        entry.coordinator_epoch = coordinator_epoch
        entry.current_txn_first_offset = None if first < 0 else first
        entries.append(entry)
    return entries
