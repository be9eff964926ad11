"""This broker among the others: its registration and its epoch.

A registration is an ephemeral node and ends with the session; one of somebody else is waited for, never deleted. What
the registered brokers do is the controller's business.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

import trio

from pykbroker.cluster.image import BrokerImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listeners import endpoint_text
from pykbroker.metadata import znodes
from pykbroker.metadata.store import Create, MetadataStore, Node, NodeExists, NoNode, Set, Stat, StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannels
from pykbroker.server.clock import Clock
from pykbroker.server.metadata_cache import MetadataCache

log = logging.getLogger(__name__)

SPARE_SECONDS = 2.0
"""How much longer than a session an earlier registration is waited for."""
SLOW_CLOCK_MS = 60_000
"""Clocks of brokers that are further apart than this are told of."""
LEAVE_SECONDS = 20.0
"""How long a broker that was told to stop tries to hand over; what a supervisor allows for stopping is mostly 30 s."""


ShutDown = Callable[[int, int], Awaitable[list[TopicPartition]]]
CONTROLLED_SHUTDOWN_VERSION = 3


class RegistrationRefused(StoreError):
    """Another broker is in the way: one of this id, or one at this address."""


class BrokerLifecycle:
    """The registration of one broker."""

    def __init__(self, config: BrokerConfig, store: MetadataStore, metadata: MetadataCache, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._metadata = metadata
        self._clock = clock
        self._earlier_sessions: set[int] = set()

    async def register(self, broker: BrokerImage) -> None:
        """Registers a broker in this session; its epoch is the metadata cache's from then on.

        Raises RegistrationRefused for a broker of the same id that doesn't go, or another at the same address.
        """
        await self._check_addresses(broker)
        path = znodes.broker_path(broker.id)
        data = znodes.encode_broker(broker, self._clock.now_ms())
        while True:
            try:
                results = await self._store.multi([Create(path, ephemeral=True), Set(path, data, 0)])
            except NodeExists:
                if await self._is_there(path, data):
                    break
                continue
            stat = results[-1]
            assert isinstance(stat, Stat)
            self._metadata.broker_epoch = stat.czxid
            break
        self._earlier_sessions.add(self._store.session_id)
        log.info("registered as broker %d with epoch %d", broker.id, self._metadata.broker_epoch)

    async def move(self, broker: BrokerImage) -> None:
        """Says where a registered broker is now; its epoch stays. Raises StoreError."""
        await self._store.set(znodes.broker_path(broker.id), znodes.encode_broker(broker, self._clock.now_ms()))
        log.info("broker %d is at %s now", broker.id, _addresses(broker))

    async def leave(self, channels: BrokerChannels, shut_down: ShutDown) -> None:
        """Asks the controller to move this broker's leaders away; `shut_down` does so where this broker is it.

        Tries `controlled.shutdown.max.retries` times more where that fails or some are left; after that, or without a
        store to write the next leaders into, the broker stops all the same.
        """
        with trio.move_on_after(LEAVE_SECONDS) as trying:
            await self._try_to_leave(channels, shut_down)
        if trying.cancelled_caught:
            log.warning("leaderships could not be handed over within %.0f s", LEAVE_SECONDS)

    async def _try_to_leave(self, channels: BrokerChannels, shut_down: ShutDown) -> None:
        config = self._config
        for attempt in range(config.controlled_shutdown_max_retries + 1):
            if attempt:
                await trio.sleep(config.controlled_shutdown_retry_backoff_ms / 1000)
            if len(self._metadata.image.brokers) < 2:
                return
            if not self._store.connected:
                log.warning("no connection to ZooKeeper: this broker stops without handing its leaderships over")
                return
            try:
                left = await self._hand_over(channels, shut_down)
            except (KafkaError, OSError) as error:
                log.warning("can't hand leaderships over: %s", error)
                continue
            if not left:
                log.info("this broker leads nothing any more that others could")
                return
            log.warning("no other broker can lead %s", ", ".join(map(str, left)))

    async def _hand_over(self, channels: BrokerChannels, shut_down: ShutDown) -> list[TopicPartition]:
        me, controller = self._config.node_id, self._metadata.image.controller_id
        if controller == me:
            return await shut_down(me, self._metadata.broker_epoch)
        request = ControlledShutdownRequest(broker_id=me, broker_epoch=self._metadata.broker_epoch)
        answer = await channels.channel(controller, "lifecycle").request(request, CONTROLLED_SHUTDOWN_VERSION)
        if answer.error_code != ErrorCode.NONE:
            raise KafkaError(ErrorCode(answer.error_code))
        return [TopicPartition(one.topic_name, one.partition_index) for one in answer.remaining_partitions]

    async def _is_there(self, path: str, data: bytes) -> bool:
        """Whether the node that is in the way is this session's own; makes sure that it isn't, or goes, otherwise."""
        node = await self._store.find(path)
        if node is None:
            return False
        if node.stat.owner == self._store.session_id:
            await self._store.set(path, data)
            self._metadata.broker_epoch = node.stat.czxid
            return True
        if node.stat.owner in self._earlier_sessions:
            try:
                await self._store.delete(path, node.stat.version)
            except NoNode:
                pass
            return False
        await self._wait_for_end(path, node)
        return False

    async def _wait_for_end(self, path: str, node: Node) -> None:
        """An earlier process of this broker, killed, keeps its session for a while; a living one keeps it for good."""
        seconds = self._config.zookeeper_session_timeout_ms / 1000 + SPARE_SECONDS
        log.info(
            "broker %d is registered already: waiting %.0f s for that session to end", self._config.node_id, seconds
        )
        news = trio.Event()
        end = self._store.watch(path, lambda: news.set())
        try:
            with trio.move_on_after(seconds):
                while True:
                    await news.wait()
                    news = trio.Event()
                    now = await self._store.find(path)
                    if now is None or now.stat.owner != node.stat.owner:
                        return
        finally:
            end()
        other = znodes.decode_broker(self._config.node_id, node.data, node.stat.czxid)
        reason = (
            f"another broker with node id {other.id} is running at {_addresses(other)}: start with another --node-id"
        )
        raise RegistrationRefused(path, reason)

    async def _check_addresses(self, broker: BrokerImage) -> None:
        """Two brokers at one address can't both be reached (as where a config was copied); clocks apart are told of."""
        ids = [int(name) for name in await self._store.children(znodes.BROKER_IDS)]
        paths = {znodes.broker_path(one): one for one in ids if one != broker.id}
        mine = {(one.host, one.port) for one in broker.endpoints.values()}
        now_ms = self._clock.now_ms()
        for path, node in (await self._store.find_many(list(paths))).items():
            if not node.data:
                continue
            other = znodes.decode_broker(paths[path], node.data, node.stat.czxid)
            if mine & {(one.host, one.port) for one in other.endpoints.values()}:
                raise RegistrationRefused(path, f"broker {other.id} advertises the same address, {_addresses(other)}")
            ahead_ms = znodes.decode_broker_time(node.data) - now_ms
            if ahead_ms > SLOW_CLOCK_MS:
                seconds = ahead_ms // 1000
                log.warning(
                    "broker %d registered %d s from now: the clocks of its machine and this one differ",
                    other.id,
                    seconds,
                )


def _addresses(broker: BrokerImage) -> str:
    return ", ".join(endpoint_text(one.host, one.port) for one in broker.endpoints.values())


async def read_brokers(store: MetadataStore) -> list[BrokerImage]:
    """The brokers that are registered, with their epochs."""
    paths = {znodes.broker_path(one): one for one in _ids(await store.children(znodes.BROKER_IDS))}
    found = await store.find_many(list(paths))
    return [znodes.decode_broker(paths[path], node.data, node.stat.czxid) for path, node in found.items() if node.data]


def _ids(names: Iterable[str]) -> list[int]:
    return [int(name) for name in names]
