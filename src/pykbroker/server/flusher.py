"""Flushes that a log asks for when it is appended to: `flush.messages`, `flush.ms`, and segments that were rolled.

They run in threads, one at a time for each log, so that the event loop never waits for an fsync. Who waits for a flush
does so in the purgatory, on the partition's key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import trio

from pykbroker.config.keys import MAX_LONG
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk

if TYPE_CHECKING:
    from pykbroker.server.replica import Replica

log = logging.getLogger(__name__)


class Flusher:
    """Runs flushes; `done` is called in the loop after each, whether it succeeded or not."""

    def __init__(self, disk: Disk, clock: Clock, done: Callable[[Replica], None]) -> None:
        self._disk = disk
        self._clock = clock
        self._done = done
        self._wanted: dict[Replica, None] = {}
        self._deadlines: list[tuple[int, int, Replica]] = []
        self._count = 0
        self._news = trio.Event()

    def appended(self, replica: Replica) -> bool:
        """Sees to what an append makes necessary; True if the append may be answered only after a flush."""
        target = replica.log
        if target.must_flush:
            self._want(replica)
            return True
        if target.rolled:
            self._want(replica)
        flush_ms = target.config.flush_ms
        if flush_ms < MAX_LONG and not replica.flush_at_ms:
            replica.flush_at_ms = self._clock.now_ms() + flush_ms
            self._count += 1
            heappush(self._deadlines, (replica.flush_at_ms, self._count, replica))
            self._news.set()
        return False

    def _want(self, replica: Replica) -> None:
        if not replica.flushing:
            self._wanted[replica] = None
            self._news.set()

    async def run(self) -> None:
        """Flushes until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._news = trio.Event()
                for replica in self._due():
                    replica.flushing = True
                    nursery.start_soon(self._flush, replica)
                with trio.move_on_after(self._seconds_left()):
                    await self._news.wait()

    def _due(self) -> list[Replica]:
        now_ms = self._clock.now_ms()
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            replica = heappop(self._deadlines)[2]
            replica.flush_at_ms = 0
            if not replica.flushing and replica.log.recovery_point < replica.log.log_end_offset:
                replica.flush_all = True
                self._wanted[replica] = None
        due = [replica for replica in self._wanted if not replica.log.closed]
        self._wanted.clear()
        return due

    def _seconds_left(self) -> float:
        if not self._deadlines:
            return float("inf")
        return max(0.0, (self._deadlines[0][0] - self._clock.now_ms()) / 1000)

    async def _flush(self, replica: Replica) -> None:
        target = replica.log
        failure: OSError | None = None
        rolled_only = not (target.must_flush or replica.flush_all)
        replica.flush_all = False
        try:
            await self._disk.run(_flush_log, replica, self._clock.now_ms(), rolled_only)
        except OSError as error:
            failure = error
            replica.failed_flushes += 1
        finally:
            replica.flushing = False
        self._done(replica)
        if target.closed:
            return  # With its directory, which was said, or on purpose.
        if failure is None:
            if replica.flush_failing:
                log.info("flushes of %s succeed again", replica.partition.topic_partition)
            if target.must_flush:
                self._want(replica)
        elif not replica.flush_failing:
            log.error("can't flush %s: %s", replica.partition.topic_partition, failure.strerror or failure)
        replica.flush_failing = failure is not None


def _flush_log(replica: Replica, now_ms: int, rolled_only: bool) -> None:
    replica.log.flush(now_ms, rolled_only=rolled_only)
