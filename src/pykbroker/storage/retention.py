"""Which of a log's oldest segments go: by log start offset, by time, by size.

It decides from what it is told and touches no file. Whole segments go, oldest first, none above the high watermark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pykbroker.config.topic import LogConfig

UNLIMITED = -1
"""Of `retention.ms` and `retention.bytes`; every negative value is."""


class Segment(Protocol):
    """What counts of a segment."""

    @property
    def base_offset(self) -> int:
        """Its first offset."""
        ...

    @property
    def size(self) -> int:
        """Bytes of records."""
        ...

    def largest_timestamp(self) -> int:
        """Of its records (ms); where they have none, when the file was last written."""
        ...


class Expired(NamedTuple):
    """So many of the oldest segments go, for these reasons."""

    oldest: int
    reasons: tuple[str, ...]


def expired(
    segments: Sequence[Segment],
    config: LogConfig,
    now_ms: int,
    *,
    log_start_offset: int,
    log_end_offset: int,
    high_watermark: int,
) -> Expired:
    """What Kafka's three rules come to; the last segment is among them where all of it has expired, unless it is empty.

    A log that is compacted and not deleted loses only what lies below its log start offset. A record stamped in the
    future keeps its segment, as in Kafka.
    """
    limit = _below(segments, high_watermark, log_end_offset)
    count = _below_start(segments, limit, log_start_offset)
    reasons = ["the log start offset"] if count else []
    if "delete" in config.cleanup_policy:
        by_size = _over_size(segments, limit, count, config.retention_bytes)
        if by_size > count:
            count = by_size
            reasons.append(f"retention.bytes={config.retention_bytes}")
        by_time = _over_time(segments, limit, count, config.retention_ms, now_ms)
        if by_time > count:
            count = by_time
            reasons.append(f"retention.ms={config.retention_ms}")
    return Expired(count, tuple(reasons))


def _below(segments: Sequence[Segment], high_watermark: int, log_end_offset: int) -> int:
    """How many segments end at or below the high watermark; an empty last one never goes."""
    ends = [following.base_offset for following in segments[1:]]
    if segments[-1].size:
        ends.append(log_end_offset)
    return next((place for place, end in enumerate(ends) if end > high_watermark), len(ends))


def _below_start(segments: Sequence[Segment], limit: int, log_start_offset: int) -> int:
    count = 0
    while count < min(limit, len(segments) - 1) and segments[count + 1].base_offset <= log_start_offset:
        count += 1
    return count


def _over_size(segments: Sequence[Segment], limit: int, count: int, retention_bytes: int) -> int:
    if retention_bytes < 0:
        return count
    surplus = sum(segment.size for segment in segments[count:]) - retention_bytes
    while count < limit and surplus >= segments[count].size:
        surplus -= segments[count].size
        count += 1
    return count


def _over_time(segments: Sequence[Segment], limit: int, count: int, retention_ms: int, now_ms: int) -> int:
    if retention_ms < 0:
        return count
    while count < limit and now_ms - segments[count].largest_timestamp() > retention_ms:
        count += 1
    return count
