"""What a log answers to an append and to a read."""

from __future__ import annotations

from dataclasses import dataclass

from pykbroker.storage.file_slice import FileSlice


@dataclass(slots=True)
class AppendInfo:
    """What an append did. A duplicate has the offsets that the batch got when it came first."""

    first_offset: int
    last_offset: int
    max_timestamp: int
    log_append_time: int
    """The broker's time (ms) if the topic stamps it, else -1."""
    log_start_offset: int
    count: int
    duplicate: bool = False


@dataclass(slots=True)
class LogRead:
    """What a read found: whole batches from the one that holds `start_offset`, perhaps cut at the end."""

    records: FileSlice | None
    start_offset: int
    log_start_offset: int
    log_end_offset: int
    segment_base: int = -1
    """The base offset of the segment that `records` lie in."""
