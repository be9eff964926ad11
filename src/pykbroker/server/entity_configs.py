"""What stands below `/config` in the metadata store: written with Kafka's change notifications, and followed by them.

Entities are named by their path there: `topics/T`, `brokers/<default>`, `users/U/clients/C`, with names escaped as
`znodes.entity` does. It knows no key and checks no value; who reads an entity has it told by `on_change`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import trio

from pykbroker.metadata import znodes
from pykbroker.metadata.store import (
    BadVersion,
    Check,
    Create,
    Delete,
    MetadataStore,
    Node,
    NodeExists,
    NoNode,
    NotEmpty,
    Operation,
    Set,
    StoreError,
)
from pykbroker.server.clock import Clock

log = logging.getLogger(__name__)

CHANGE_KEPT_S = 15 * 60.0
"""How long a notification stays for brokers that were away; whoever sees an older one removes it."""
TOPICS = "topics"
_DELETED_WHEN_EMPTY = ("users", "clients", "ips")

Changed = Callable[[str, Mapping[str, str]], None]


class EntityConfigs:
    """The dynamic configs of every entity, as this broker knows them. Topics' are not kept here: see MetadataCache."""

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._configs: dict[str, dict[str, str]] = {}
        self._listeners: dict[str, list[Changed]] = {}
        self._seen: dict[str, float] = {}
        self._news = trio.Event()
        self._writing = trio.Lock()

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads all there is, before anything is served; listeners are told. Raises StoreError."""
        tree = await self._store.subtree(znodes.CONFIG)
        now = self._clock.monotonic()
        prefix = f"{znodes.CONFIG}/"
        for path, node in tree.items():
            entity = path[len(prefix) :]
            if path.startswith(f"{znodes.CONFIG_CHANGES}/"):
                self._seen[path] = now
            elif "/" in entity and not entity.startswith(f"{TOPICS}/") and node.data:
                self._apply(entity, znodes.decode_config(node.data))

    def get(self, entity: str) -> Mapping[str, str]:
        """An entity's config; empty where there is none."""
        return self._configs.get(entity, {})

    def below(self, kind: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Every entity of a kind (`users`, `groups`, …) that has a config, with it."""
        prefix = f"{kind}/"
        return ((entity, config) for entity, config in sorted(self._configs.items()) if entity.startswith(prefix))

    def on_change(self, kind: str, changed: Changed) -> None:
        """Has `changed` called with an entity's path and whole config: now for all there is, then after each change."""
        self._listeners.setdefault(kind, []).append(changed)
        for entity, config in list(self.below(kind)):
            changed(entity, config)

    # ---- changing --------------------------------------------------------------------------------------------------

    async def change(self, entity: str, plan: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Stores what `plan` makes of an entity's config and tells all brokers; this one's listeners know on return.

        `plan` is called again where somebody else was faster; what it raises passes through. Raises StoreError.
        """
        path = znodes.entity_path(entity)
        async with self._writing:
            with trio.CancelScope(shield=True):
                failed: StoreError | None = None
                before: Node | None = None
                while True:
                    node = await self._store.find(path)
                    if failed is not None and node == before:
                        raise failed  # It isn't for somebody else's change.
                    before = node
                    current = {} if node is None else znodes.decode_config(node.data)
                    wanted = dict(plan(current))
                    if wanted == current:
                        self._apply(entity, wanted)
                        return
                    data = znodes.encode_config(wanted)
                    operations: list[Operation] = [
                        Create(path, data) if node is None else Set(path, data, node.stat.version)
                    ]
                    try:
                        if node is None:
                            await self._store.ensure_path(path.rpartition("/")[0])
                        await self._store.multi([*operations, _notification(entity)])
                    except (BadVersion, NodeExists, NoNode) as error:
                        failed = error
                        continue
                    break
                if not wanted and entity.startswith(_DELETED_WHEN_EMPTY):
                    await self._remove_empty(entity)
                self._apply(entity, wanted)

    async def _remove_empty(self, entity: str) -> None:
        """Kafka leaves no node behind for a quota's entity that has no quota any more."""
        path = znodes.entity_path(entity)
        try:
            node = await self._store.get(path)
            if not znodes.decode_config(node.data):
                await self._store.multi([Check(path, node.stat.version), Delete(path)])
        except (NotEmpty, NoNode, BadVersion):
            return

    # ---- following -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows what other brokers change, until cancelled."""
        stop = self._store.watch(znodes.CONFIG_CHANGES, self._changed)
        try:
            while True:
                self._news = trio.Event()
                try:
                    await self._read_changes()
                except StoreError as error:  # ZooKeeper is away: a new connection sets the watch again, and calls it.
                    log.warning("can't read changed configs now: %s", error)
                await self._news.wait()
        finally:
            stop()

    def _changed(self) -> None:
        self._news.set()

    async def _read_changes(self) -> None:
        """Reads the entities of new notifications, in their order, and removes the notifications that are old."""
        names = await self._store.children(znodes.CONFIG_CHANGES)
        now = self._clock.monotonic()
        paths = [f"{znodes.CONFIG_CHANGES}/{name}" for name in names]
        entities: dict[str, None] = {}
        fresh = [path for path in paths if path not in self._seen]
        for path in fresh:
            node = await self._store.find(path)
            entity = None if node is None else znodes.decode_config_change(node.data)
            if entity is not None:
                entities[entity] = None
        for entity in entities:
            async with self._writing:  # What was read must not come after a change that is made here meanwhile.
                node = await self._store.find(znodes.entity_path(entity))
                self._apply(entity, {} if node is None else znodes.decode_config(node.data))
        self._seen |= dict.fromkeys(fresh, now)  # Not before: where the store fails meanwhile they are read again.
        await self._forget_old(paths, now)

    async def _forget_old(self, paths: list[str], now: float) -> None:
        there = set(paths)
        self._seen = {path: since for path, since in self._seen.items() if path in there}
        for path, since in list(self._seen.items()):
            if now - since >= CHANGE_KEPT_S:
                try:
                    await self._store.delete(path)
                except NoNode:
                    continue

    def _apply(self, entity: str, config: dict[str, str]) -> None:
        kind = entity.partition("/")[0]
        if kind != TOPICS:
            if self._configs.get(entity, {}) == config:
                return
            if config:
                self._configs[entity] = config
            else:
                self._configs.pop(entity, None)
        for changed in self._listeners.get(kind, ()):
            changed(entity, config)


def _notification(entity: str) -> Create:
    return Create(f"{znodes.CONFIG_CHANGES}/config_change_", znodes.encode_config_change(entity), sequential=True)
