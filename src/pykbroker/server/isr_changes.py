"""Carries the ISR changes that leaders propose to where ISRs are stored, one at a time for each partition.

`cluster.partition` decides what to propose and what an answer means for it; here stands how often to ask again. What
stores an ISR, and for whom, is the `IsrStore`'s: the controller, by AlterPartition or in its own process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import trio

from pykbroker.cluster.image import PartitionState
from pykbroker.cluster.partition import Partition, Proposal
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock

log = logging.getLogger(__name__)

RETRY_S = 0.05
"""How long Kafka waits before it asks again after an error of the whole request."""

REFUSALS = frozenset((ErrorCode.INELIGIBLE_REPLICA, ErrorCode.OPERATION_NOT_ATTEMPTED))
"""A member that is shutting down or gone: the ISR stays what it is."""
SUPERSEDED = frozenset(
    (
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NEW_LEADER_ELECTED,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    )
)
"""The controller knows something newer: this leader waits until it is told, with the maximal ISR meanwhile."""


class IsrStore(Protocol):
    """Where ISRs are stored."""

    async def propose(self, tp: TopicPartition, state: PartitionState) -> PartitionState:
        """Stores `state.isr` if the epochs are those of `state`; the state with its new partition epoch.

        Raises KafkaError (see `REFUSALS`, `SUPERSEDED`; any other code is asked again) or OSError (asked again).
        """
        ...


class IsrChanges:
    """The proposals of this broker's leaders that are on their way."""

    def __init__(self, clock: Clock, changed: Callable[[Partition], None]) -> None:
        """`changed` is called after an answer that moved the high watermark or may have completed a wait."""
        self._clock = clock
        self._changed = changed
        self._waiting: list[tuple[Partition, Proposal]] = []
        self._news = trio.Event()
        self.store: IsrStore | None = None
        """Set by whoever builds the broker; without one no ISR ever changes."""

    def submit(self, partition: Partition, proposal: Proposal) -> None:
        """Has a proposal carried out; never waits."""
        old, new = set(partition.isr), set(proposal.state.isr)
        change = f"{sorted(new - old)} back in" if new > old else f"{sorted(old - new)} out"
        log.info("the ISR of %s: %s", partition.topic_partition, change)
        self._waiting.append((partition, proposal))
        self._news.set()

    async def run(self) -> None:
        """Carries proposals out until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                while self._waiting and self.store is not None:
                    nursery.start_soon(self._propose, self.store, *self._waiting.pop())

    async def _propose(self, store: IsrStore, partition: Partition, proposal: Proposal) -> None:
        tp = proposal.topic_partition
        while partition.is_pending(proposal):
            try:
                stored = await store.propose(tp, proposal.state)
            except KafkaError as error:
                if error.code in SUPERSEDED:
                    log.info("the ISR change of %s came too late: %s", tp, error.code.name)
                    return
                if error.code in REFUSALS:
                    log.info("the ISR of %s stays as it is: %s", tp, error.code.name)
                    partition.refused(proposal, self._clock.monotonic())
                    self._changed(partition)
                    return
                log.debug("the ISR change of %s is tried again: %s", tp, error)
            except OSError as error:
                log.debug("the ISR change of %s is tried again: %s", tp, error)
            else:
                partition.stored(proposal, stored.partition_epoch, self._clock.monotonic())
                self._changed(partition)
                return
            await trio.sleep(RETRY_S)
