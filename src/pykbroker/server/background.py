"""The broker's jobs by the clock: flushes by time and the checkpoints. Each sleeps until it is due.

They run in threads by way of `Disk`; an I/O error is logged and the next round tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_manager import LogManager

log = logging.getLogger(__name__)


async def run_jobs(config: BrokerConfig, logs: LogManager, replicas: ReplicaManager, disk: Disk, clock: Clock) -> None:
    """Runs all jobs at Kafka's intervals until cancelled."""
    checkpointed: dict[TopicPartition, int] = {}

    async def flush_dirty() -> None:
        await disk.run(logs.flush_dirty, clock.now_ms())

    async def checkpoint_recovery_points() -> None:
        await disk.run(logs.checkpoint_recovery_points)

    async def checkpoint_high_watermarks() -> None:
        nonlocal checkpointed
        current = replicas.high_watermarks()
        if current != checkpointed:
            await disk.run(logs.checkpoint_high_watermarks, current)
            checkpointed = current

    async with trio.open_nursery() as nursery:
        for job, interval_ms in (
            (flush_dirty, config.log_flush_scheduler_interval_ms),
            (checkpoint_recovery_points, config.log_flush_offset_checkpoint_interval_ms),
            (checkpoint_high_watermarks, config.replica_high_watermark_checkpoint_interval_ms),
        ):
            nursery.start_soon(_every, interval_ms / 1000, job)


async def _every(seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        await trio.sleep(seconds)
        try:
            await job()
        except OSError as error:
            log.error("%s failed: %s", getattr(job, "__name__", "job"), error)
