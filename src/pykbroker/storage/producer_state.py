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

    __slots__ = ("_ongoing", "_unreplicated", "directory", "end_offset", "producers", "snapshots")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.producers: dict[int, ProducerEntry] = {}
        self.end_offset = 0
        """The state is that of all records below this offset."""
        self.snapshots: list[int] = []
        """Offsets of the snapshot files, ascending."""
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

    def check(self, batch: RecordBatch, origin: AppendOrigin) -> None:
        """Refuses a batch that is fenced, out of sequence, or outside the transaction that is open.

        A producer that isn't known may begin anywhere (KIP-360). Raises KafkaError.
        """
        entry = self.producers.get(batch.producer_id)
        if entry is None:
            return
        epoch = batch.producer_epoch
        if epoch < entry.epoch:
            raise KafkaError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {batch.producer_id} is {epoch}, "
                f"which is smaller than the last seen epoch {entry.epoch}",
            )
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

    def check_marker(self, batch: RecordBatch, marker: EndTransactionMarker) -> None:
        """Refuses a marker of an older epoch or coordinator. Raises KafkaError."""
        entry = self.producers.get(batch.producer_id)
        if entry is None:
            return
        if batch.producer_epoch < entry.epoch:
            raise KafkaError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Epoch of producer {batch.producer_id} is {batch.producer_epoch}, "
                f"which is smaller than the last seen epoch {entry.epoch}",
            )
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
            for entry in self.producers.values()
            if entry.current_txn_first_offset is None and now_ms - entry.last_timestamp >= expiration_ms
        ]
        for producer_id in idle:
            del self.producers[producer_id]

    def clear(self, end_offset: int) -> None:
        """Forgets all producers, not the snapshots."""
        self.producers.clear()
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
