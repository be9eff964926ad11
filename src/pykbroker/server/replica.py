"""A hosted partition: its rules and its log, side by side."""

from __future__ import annotations

from pykbroker.cluster.partition import Partition
from pykbroker.storage.log import UnifiedLog


class Replica:
    """A hosted partition: its rules and its log."""

    __slots__ = (
        "failed_flushes",
        "failing",
        "flush_all",
        "flush_at_ms",
        "flush_failing",
        "flushing",
        "log",
        "partition",
    )

    def __init__(self, partition: Partition, log: UnifiedLog) -> None:
        self.partition = partition
        self.log = log
        self.failing = False
        """Whether the last append met a disk that is full or broken: said once, not for each retry."""
        self.flush_failing = False
        self.flushing = False
        self.flush_all = False
        """Whether the flush that is due is one by time, of the active segment too."""
        self.flush_at_ms = 0
        """When `flush.ms` has the log flushed; 0 while nothing new is in it."""
        self.failed_flushes = 0

    @property
    def last_stable_offset(self) -> int:
        """Up to here no transaction is undecided; never above the high watermark."""
        return self.log.last_stable_offset(self.partition.high_watermark)
