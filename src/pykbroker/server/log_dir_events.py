"""Tells the controller that a data directory of this broker has failed, so that others lead what was in it.

A node below `/log_dir_event_notification`, as Kafka makes it; what follows from it is the controller's to decide.
"""

from __future__ import annotations

import logging

import trio

from pykbroker.metadata import znodes
from pykbroker.metadata.store import MetadataStore, StoreError

log = logging.getLogger(__name__)

RETRY_S = 1.0


class LogDirEvents:
    """The notifications of one broker."""

    def __init__(self, store: MetadataStore, node_id: int) -> None:
        self._store = store
        self._node_id = node_id
        self._lost = trio.Event()

    def directory_lost(self) -> None:
        """A directory has failed; never waits."""
        self._lost.set()

    async def run(self) -> None:
        """Makes the nodes until cancelled; while the store can't be reached it is tried again."""
        path, data = f"{znodes.LOG_DIR_EVENTS}/log_dir_event_", znodes.encode_log_dir_event(self._node_id)
        while True:
            await self._lost.wait()
            self._lost = trio.Event()
            try:
                await self._store.create(path, data, sequential=True)
            except StoreError as error:
                log.warning("the controller can't be told of a failed data directory, trying again: %s", error)
                self._lost.set()
                await trio.sleep(RETRY_S)
