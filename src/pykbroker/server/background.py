"""The broker's jobs by the clock: flushes by time, checkpoints, retention, expiry. Each sleeps until it is due.

They run in threads by way of `Disk` where they may wait for it; an I/O error is logged and the next round tries again.
A directory that fails for good is the replica manager's to take offline.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from pykbroker.config.broker import BrokerConfig
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_cleaner import CleaningFailed, LogCleaner
from pykbroker.storage.log_manager import LogManager

log = logging.getLogger(__name__)

FIRST_RETENTION_S = 30.0
"""How long after the start retention is first looked at, where its interval isn't shorter (Kafka's initial delay)."""
PRODUCER_EXPIRY_CHECK_S = 600.0


class Jobs:
    """What runs in the background of one broker."""

    def __init__(
        self, config: BrokerConfig, logs: LogManager, replicas: ReplicaManager, disk: Disk, clock: Clock
    ) -> None:
        self._config = config
        self._logs = logs
        self._replicas = replicas
        self._disk = disk
        self._clock = clock
        self._deletions = trio.Event()
        self._backoff_changed = trio.Event()
        self.cleaner = LogCleaner(logs)
        self._set_cleaner()
        config.subscribe(self._config_changed)

    def _config_changed(self, changed: frozenset[str]) -> None:
        self._set_cleaner()
        if "log.cleaner.backoff.ms" in changed:
            self._backoff_changed.set()

    def _set_cleaner(self) -> None:
        """A round that is under way goes on as it began."""
        config, cleaner = self._config, self.cleaner
        cleaner.dedupe_buffer_size = config.log_cleaner_dedupe_buffer_size
        cleaner.load_factor = config.log_cleaner_io_buffer_load_factor
        cleaner.io_buffer_size = config.log_cleaner_io_buffer_size
        cleaner.max_bytes_per_second = config.log_cleaner_io_max_bytes_per_second

    async def run(self) -> None:
        """Runs all jobs at Kafka's intervals until cancelled."""
        config = self._config
        retention_s = config.log_retention_check_interval_ms / 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._replicas.run)
            nursery.start_soon(self._delete_files)
            nursery.start_soon(_every, retention_s, self.run_retention, min(FIRST_RETENTION_S, retention_s))
            for job, interval_ms in (
                (self._flush_dirty, config.log_flush_scheduler_interval_ms),
                (self._checkpoint_recovery_points, config.log_flush_offset_checkpoint_interval_ms),
                (self._checkpoint_log_starts, config.log_flush_start_offset_checkpoint_interval_ms),
                (self._checkpoint_high_watermarks, config.replica_high_watermark_checkpoint_interval_ms),
            ):
                nursery.start_soon(_every, interval_ms / 1000, job)
            if config.log_cleaner_enable:
                nursery.start_soon(self._clean_when_due)
            nursery.start_soon(_every, PRODUCER_EXPIRY_CHECK_S, self.expire_producers)

    async def run_retention(self) -> None:
        """Looks at retention now; what is deleted without a delay is gone when this returns."""
        if await self._replicas.run_retention():
            await self._disk.run(self._logs.delete_due_files, self._clock.now_ms())
            self._deletions.set()

    def stop(self) -> None:
        """Gives up a compaction that is under way; `run` is cancelled next."""
        self.cleaner.stop()

    async def _clean_when_due(self) -> None:
        while True:
            self._backoff_changed = trio.Event()
            with trio.move_on_after(self._config.log_cleaner_backoff_ms / 1000) as waiting:
                await self._backoff_changed.wait()
            if waiting.cancelled_caught:
                await _try(self.clean)

    async def clean(self) -> None:
        """Compacts logs, the filthiest first, until none is due."""
        try:
            while await self._disk.run(self.cleaner.run_once, self._clock.now_ms(), self._replicas.high_watermarks()):
                await trio.lowlevel.checkpoint()
        except CleaningFailed as failed:
            self._logs.report(failed.directory, failed.error)
            log.error("can't clean %s: %s", failed.directory, failed.error.strerror or failed.error)

    async def expire_producers(self) -> None:
        """Forgets the producers that were idle for `producer.id.expiration.ms`."""
        self._logs.expire_producers(self._clock.now_ms(), self._config.producer_id_expiration_ms)

    async def _delete_files(self) -> None:
        """Removes the files of deleted segments when their delay is over; sleeps while there are none."""
        while True:
            self._deletions = trio.Event()
            due = self._logs.next_deletion_ms
            left = float("inf") if due is None else max(0.0, (due - self._clock.now_ms()) / 1000)
            with trio.move_on_after(left):
                await self._deletions.wait()
            await self._disk.run(self._logs.delete_due_files, self._clock.now_ms())

    async def _flush_dirty(self) -> None:
        await self._disk.run(self._logs.flush_dirty, self._clock.now_ms())

    async def _checkpoint_recovery_points(self) -> None:
        await self._disk.run(self._logs.checkpoint_recovery_points)

    async def _checkpoint_log_starts(self) -> None:
        await self._disk.run(self._logs.checkpoint_log_starts)

    async def _checkpoint_high_watermarks(self) -> None:
        await self._disk.run(self._logs.checkpoint_high_watermarks, self._replicas.high_watermarks())


async def _every(seconds: float, job: Callable[[], Awaitable[None]], first: float | None = None) -> None:
    await trio.sleep(seconds if first is None else first)
    while True:
        await _try(job)
        await trio.sleep(seconds)


async def _try(job: Callable[[], Awaitable[None]]) -> None:
    try:
        await job()
    except OSError as error:
        log.error("%s failed, trying again: %s", getattr(job, "__name__", "job").lstrip("_"), error)
