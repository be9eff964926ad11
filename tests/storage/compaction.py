"""What compaction should leave of a log, worked out on a list; and crashes in the middle of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pykbroker.protocol.records.batch import DELETE_HORIZON_BIT
from pykbroker.protocol.records.record import Record
from pykbroker.storage.log import UnifiedLog


class Stored(NamedTuple):
    """A batch as it lies in the log."""

    segment: int
    base_offset: int
    last_offset: int
    identity: tuple[Any, ...]
    codec: int
    horizon: int | None
    is_control: bool
    records: list[Record]


def stored(log: UnifiedLog) -> list[Stored]:
    """All batches of a log, from the files."""
    found: list[Stored] = []
    for segment in log.segments:
        for _, batch in segment.read_batches(0):
            batch.check_crc()
            found.append(
                Stored(
                    segment.base_offset,
                    batch.base_offset,
                    batch.last_offset,
                    (
                        batch.base_offset,
                        batch.last_offset,
                        batch.leader_epoch,
                        batch.producer_id,
                        batch.producer_epoch,
                        batch.base_sequence,
                        batch.is_transactional,
                        batch.is_control,
                        batch.is_log_append_time,
                    ),
                    batch.compression,
                    batch.base_timestamp if batch.attributes & DELETE_HORIZON_BIT else None,
                    batch.is_control,
                    list(batch.records()),
                )
            )
    return found


def records(batches: Sequence[Stored]) -> list[Record]:
    """The records in batches, without markers."""
    return [record for batch in batches if not batch.is_control for record in batch.records]


def survivors(before: Sequence[Stored], first_dirty: int, end: int, aborted: set[int], now_ms: int) -> list[Record]:
    """What a round leaves whose map reaches from `first_dirty` to `end`, where a segment begins."""
    newest = {
        record.key: record.offset
        for record in records(before)
        if first_dirty <= record.offset < end and record.offset not in aborted
    }
    return [
        record
        for batch in before
        for record in (() if batch.is_control else batch.records)
        if record.offset >= end
        or (
            record.offset not in aborted
            and record.key is not None
            and record.offset >= newest.get(record.key, -1)
            and (record.value is not None or batch.horizon is None or batch.horizon > now_ms)
        )
    ]


def check_batches(before: Sequence[Stored], after: Sequence[Stored], end: int, horizon: int) -> None:
    """Batches are those that there were, tombstones have a time to go, a transaction with data has its marker."""
    ended = {batch.identity[3] for batch in before if batch.is_control}
    with_data = {batch.identity[3] for batch in after if batch.identity[6] and not batch.is_control}
    assert with_data & ended <= {batch.identity[3] for batch in after if batch.is_control and batch.records}
    known = {batch.base_offset: batch for batch in before}
    for batch in after:
        origin = known[batch.base_offset]
        assert batch.identity == origin.identity
        if batch.records:
            assert batch.codec == origin.codec
        if batch.last_offset < end and not batch.is_control and batch.records:
            assert all(record in origin.records for record in batch.records)
            has_tombstone = any(record.value is None for record in batch.records)
            assert batch.horizon == (origin.horizon or (horizon if has_tombstone else None))


class Crash(BaseException):
    """The machine stops here."""


_CALLS = ("rename", "replace", "unlink", "fsync", "pwrite", "utime", "ftruncate", "open")


@contextmanager
def crash_at(call: int) -> Iterator[None]:
    """From the n-th change to a file on none succeeds any more."""
    left = call
    originals = {name: getattr(os, name) for name in _CALLS}

    def patched(name: str) -> Any:
        def change(*args: Any, **keywords: Any) -> Any:
            nonlocal left
            if name != "open" or args[1] & os.O_CREAT:
                if left <= 0:
                    raise Crash(name)
                left -= 1
            return originals[name](*args, **keywords)

        return change

    for name in _CALLS:
        setattr(os, name, patched(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
