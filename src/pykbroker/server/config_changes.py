"""News of changed configs: whoever changes an entity's leaves a node, every broker reads the entity again.

It knows no config; who understands one asks to be told of its kind of entity (`topics`, `brokers`, `users` …).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from pykbroker.metadata import znodes
from pykbroker.metadata.store import Create, MetadataStore, StoreError

log = logging.getLogger(__name__)

Changed = Callable[[str], Awaitable[None]]
PREFIX = "config_change_"


class ConfigChanges:
    """The changes that other brokers have made, in their order."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._told: dict[str, list[Changed]] = {}
        self._last = -1
        self._news = trio.Event()

    def on_change(self, kind: str, changed: Changed) -> None:
        """Has `changed` called with the rest of an entity's path: `on_change("topics", …)` with a topic's name."""
        self._told.setdefault(kind, []).append(changed)

    def announcement(self, path: str) -> Create:
        """What to write along with a changed entity, `path` being its own below `/config`: `topics/orders`."""
        return Create(f"{znodes.CONFIG_CHANGES}/{PREFIX}", znodes.encode_config_change(path), sequential=True)

    async def catch_up(self) -> None:
        """Takes what is there for known: to be called before configs are read for the first time."""
        self._last = max(map(_number, await self._store.children(znodes.CONFIG_CHANGES)), default=-1)

    async def run(self) -> None:
        """Passes changes on until cancelled."""
        end = self._store.watch(znodes.CONFIG_CHANGES, lambda: self._news.set())
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                try:
                    await self._pass_on()
                except StoreError as error:
                    log.warning("can't read changed configs now: %s", error)
        finally:
            end()

    async def _pass_on(self) -> None:
        for name in await self._store.children(znodes.CONFIG_CHANGES):
            number = _number(name)
            if number <= self._last:
                continue
            node = await self._store.find(f"{znodes.CONFIG_CHANGES}/{name}")
            self._last = number
            if node is None:
                continue
            kind, _, entity = znodes.decode_config_change(node.data).partition("/")
            for changed in self._told.get(kind, ()):
                await changed(entity)


def _number(name: str) -> int:
    return int(name.removeprefix(PREFIX))
