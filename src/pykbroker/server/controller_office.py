"""Who is controller: the election, a reign's beginning and end, and the news that a reign acts on.

One event at a time: whoever acts as controller holds `change`. A watch only leaves a mark; what it stands for is read
when its turn comes. After anything that can't be true, or a write of somebody else's reign, this one ends, and the next
controller, perhaps this very broker, begins with what the store holds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import trio

from pykbroker.cluster.image import BrokerImage, ClusterImage, uuid_from
from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.context import ControllerContext
from pykbroker.metadata import znodes
from pykbroker.metadata.store import (
    BadVersion,
    Create,
    Delete,
    MetadataStore,
    NodeExists,
    NoNode,
    SessionExpired,
    Set,
    StoreError,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import Message
from pykbroker.server.broker_channel import BrokerChannels
from pykbroker.server.broker_lifecycle import read_brokers
from pykbroker.server.clock import Clock
from pykbroker.server.control_requests import ControlRequests
from pykbroker.server.controller_channels import ControllerChannels
from pykbroker.server.controller_partitions import PREFERRED, Partitions
from pykbroker.server.controller_reassignments import Reassignments
from pykbroker.server.controller_reign import Fenced, Reign
from pykbroker.server.controller_topics import UNKNOWN_ID, Topics, give_ids, read_topics
from pykbroker.server.metadata_cache import MetadataCache

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0
CONTROLLER, BROKERS, TOPICS, DELETIONS, ISRS, LOG_DIRS, REASSIGN, ELECTIONS, ANSWERS = (
    "controller",
    "brokers",
    "topics",
    "deletions",
    "isrs",
    "log dirs",
    "reassign",
    "elections",
    "answers",
)
"""What there can be news of, in the order in which it is acted upon."""
WATCHED = {
    znodes.BROKER_IDS: BROKERS,
    znodes.TOPICS: TOPICS,
    znodes.DELETE_TOPICS: DELETIONS,
    znodes.ISR_CHANGES: ISRS,
    znodes.LOG_DIR_EVENTS: LOG_DIRS,
    znodes.REASSIGN: REASSIGN,
    znodes.PREFERRED_ELECTION: ELECTIONS,
}


@dataclass
class Office:
    """A reign with all its parts."""

    reign: Reign
    partitions: Partitions
    topics: Topics
    reassignments: Reassignments
    watches: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What ends them, by path."""


class ControllerOffice:
    """The controllership as this broker has to do with it."""

    def __init__(
        self,
        config: BrokerConfig,
        store: MetadataStore,
        metadata: MetadataCache,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._config = config
        self._store = store
        self._metadata = metadata
        self._clock = clock
        self._random_bytes = random_bytes
        self._marks: set[str] = set()
        self._news = trio.Event()
        self._channels: BrokerChannels | None = None
        self._nursery: trio.Nursery | None = None
        self._control: ControlRequests | None = None
        self._closed = False
        self.change = trio.Lock()
        self.current: Office | None = None
        """While this broker is controller."""

    def mark(self, what: str) -> None:
        """Has something looked at when its turn comes."""
        self._marks.add(what)
        self._news.set()

    # ---- election --------------------------------------------------------------------------------------------------

    def attach(self, control: ControlRequests, channels: BrokerChannels | None) -> None:
        """Says how this broker itself and the others are told; before the first election."""
        self._control = control
        self._channels = channels

    async def run(self, nursery: trio.Nursery) -> None:
        """Acts on news until cancelled."""
        self._nursery = nursery
        self._store.watch(znodes.CONTROLLER, lambda: self.mark(CONTROLLER))
        while True:
            await self._news.wait()
            self._news = trio.Event()
            async with self.change:
                with trio.CancelScope(shield=True):
                    await self._act()

    async def elect(self) -> None:
        """Becomes controller where nobody is; holding `change`."""
        if self._closed or self.current is not None:
            return
        found = await self._store.find(znodes.CONTROLLER)
        if found is not None and found.stat.owner == self._store.session_id:
            await self._store.delete(znodes.CONTROLLER)  # This broker's own, from a reign that ended early.
        elif found is not None:
            return
        me = self._config.node_id
        epoch = await self._store.get(znodes.CONTROLLER_EPOCH)
        number = int(epoch.data) + 1
        try:
            await self._store.multi(
                [
                    Create(znodes.CONTROLLER, znodes.encode_controller(me, self._clock.now_ms()), ephemeral=True),
                    Set(znodes.CONTROLLER_EPOCH, str(number).encode(), epoch.stat.version),
                ]
            )
        except (NodeExists, BadVersion):
            return  # Another broker was faster.
        await self._begin(number, epoch.stat.version + 1)

    async def _begin(self, epoch: int, epoch_version: int) -> None:
        """Takes over from what the store holds."""
        assert self._control is not None
        me = self._config.node_id
        if len(self._metadata.image.brokers) > 1 or epoch > 1:
            log.info("this broker is controller now, with epoch %d", epoch)
        context = ControllerContext(me, epoch, ClusterImage(self._metadata.image.cluster_id))
        channels = None
        if self._channels is not None and self._nursery is not None:
            seconds = self._config.controller_socket_timeout_ms / 1000
            channels = ControllerChannels(self._channels, self._nursery, seconds, self._answered)
        reign = Reign(self._config, self._store, context, epoch_version, self._control, channels)
        partitions = Partitions(reign, lambda topic: self._metadata.log_config(topic).unclean_leader_election_enable)
        topics = Topics(reign, partitions, self._metadata)
        office = self.current = Office(reign, partitions, topics, Reassignments(reign))
        try:
            await self._take_over(office)
        except BaseException as error:
            await self._fail(office, error)

    async def _take_over(self, office: Office) -> None:
        reign, context = office.reign, office.reign.context
        for path, mark in WATCHED.items():
            self._watch(office, path, mark)
        for parent in (znodes.ISR_CHANGES, znodes.LOG_DIR_EVENTS):
            stale = [f"{parent}/{name}" for name in await self._store.children(parent)]
            if stale:
                await reign.write([Delete(path) for path in stale])
        context.set_brokers(await read_brokers(self._store))
        for broker in context.image.brokers.values():
            self._open(office, broker)
        names = await self._store.children(znodes.TOPICS)
        topics = await read_topics(self._store, names)
        topics = await give_ids(reign, topics, [self._draw() for one in topics if one.topic_id == UNKNOWN_ID])
        context.add_topics(topics)
        for topic in topics:
            self._watch(office, znodes.topic_path(topic.name), TOPICS)
        await office.partitions.start()
        await office.reassignments.advance(list(office.reassignments.under_way()))
        await office.topics.doom(await self._store.children(znodes.DELETE_TOPICS))
        await self.settle(office)

    def _draw(self) -> UUID:
        return uuid_from(self._random_bytes(16))

    def _watch(self, office: Office, path: str, mark: str) -> None:
        if path not in office.watches:
            office.watches[path] = self._store.watch(path, lambda: self.mark(mark))

    def _open(self, office: Office, broker: BrokerImage) -> None:
        self._watch(office, znodes.broker_path(broker.id), BROKERS)
        self.mark(BROKERS)  # It may have moved since it was read.
        if broker.id != self._config.node_id and office.reign.channels is not None:
            office.reign.channels.open(broker.id, broker.endpoints.get(self._config.inter_broker_listener))

    async def guard(self, office: Office, work: Awaitable[T]) -> T:
        """Does something as controller, holding `change`; raises NOT_CONTROLLER where the reign ended meanwhile.

        The store's errors end the reign, too: what was only half done is read again by the next.
        """
        try:
            done = await work
            await self.settle(office)
        except KafkaError:
            raise
        except Exception as error:
            await self._fail(office, error)
            raise KafkaError(ErrorCode.NOT_CONTROLLER) from error
        return done

    # ---- the end ---------------------------------------------------------------------------------------------------

    def resign(self) -> None:
        """Ends the reign, if there is one: nothing of it is kept."""
        office, self.current = self.current, None
        if office is None:
            return
        for end in office.watches.values():
            end()
        if office.reign.channels is not None:
            office.reign.channels.close_all()
        office.topics.end()
        self._marks.clear()

    async def step_down(self) -> None:
        """Ends the reign for good, as the broker stops: another broker needn't wait for this one's session to end."""
        self._closed = True
        office = self.current
        self.resign()
        if office is not None:
            await self._vacate(office)

    async def _fail(self, office: Office, error: BaseException) -> None:
        """What went wrong ends the reign; somebody begins anew."""
        if self.current is office:
            self.resign()
        self.mark(CONTROLLER)
        if isinstance(error, Fenced):
            log.info("another broker is controller by now")
        elif isinstance(error, SessionExpired):
            log.info("the session ended, and this broker's time as controller with it")
        elif isinstance(error, StoreError):
            log.error("the controller can't reach its store: %s", error)
            await trio.sleep(RETRY_SECONDS)
        elif isinstance(error, Exception):
            log.error("the controller failed and begins anew", exc_info=error)
            await self._vacate(office)
            await trio.sleep(RETRY_SECONDS)
        else:
            raise error

    async def _vacate(self, office: Office) -> None:
        """Takes this broker's `/controller` away, which has others run for it."""
        try:
            await office.reign.write([Delete(znodes.CONTROLLER)])
        except (Fenced, StoreError):
            pass

    # ---- news ------------------------------------------------------------------------------------------------------

    async def _act(self) -> None:
        marks, self._marks = self._marks, set()
        if CONTROLLER in marks:
            try:
                await self._see_controller()
            except StoreError as error:
                await self._retry(error)
                return
        office = self.current
        if office is None:
            return
        try:
            for mark, act in self._acts(office):
                if mark in marks and self.current is office:
                    await act()
            if self.current is office:
                await self.settle(office)
        except BaseException as error:
            await self._fail(office, error)

    async def _retry(self, error: StoreError) -> None:
        log.warning("can't look after the controllership: %s", error)
        self.mark(CONTROLLER)
        await trio.sleep(RETRY_SECONDS)

    def _acts(self, office: Office) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        async def brokers() -> None:
            await self._brokers_changed(office)

        async def topics() -> None:
            await self._topics_changed(office)

        async def deletions() -> None:
            await self._deletions_changed(office)

        async def isrs() -> None:
            await self._isrs_changed(office)

        async def log_dirs() -> None:
            await self._log_dirs_failed(office)

        async def elections() -> None:
            await self._elections_asked_for(office)

        return [
            (BROKERS, brokers),
            (TOPICS, topics),
            (DELETIONS, deletions),
            (ISRS, isrs),
            (LOG_DIRS, log_dirs),
            (REASSIGN, office.reassignments.read_legacy),
            (ELECTIONS, elections),
        ]

    async def _see_controller(self) -> None:
        found = await self._store.find(znodes.CONTROLLER)
        if self.current is not None:
            if found is not None and found.stat.owner == self._store.session_id:
                return
            self.resign()
        await self.elect()

    async def settle(self, office: Office) -> None:
        """What turned out while brokers were told: failed directories, deletions that are done."""
        reign = office.reign
        while reign.lost_replicas or reign.deleted_replicas:
            lost, reign.lost_replicas = reign.lost_replicas, []
            if lost:
                await office.partitions.replicas_lost(lost)
            await office.topics.replicas_deleted()

    def _answered(self, broker: int, request: Message, answer: Message) -> None:
        office = self.current
        if office is None:
            return
        try:
            office.reign.answered(broker, request, answer)
        except Fenced:
            log.info("broker %d knows a later controller", broker)
            self.resign()
            self.mark(CONTROLLER)
            return
        if office.reign.lost_replicas or office.reign.deleted_replicas:
            self.mark(ANSWERS)

    async def _brokers_changed(self, office: Office) -> None:
        context, reign = office.reign.context, office.reign
        before = context.image.brokers
        after = {broker.id: broker for broker in await read_brokers(self._store)}
        bounced = {one for one in before.keys() & after.keys() if after[one].epoch != before[one].epoch}
        dead = sorted((before.keys() - after.keys()) | bounced)
        joined = [after[one] for one in sorted((after.keys() - before.keys()) | bounced)]
        moved = [one for one in after if one in before and one not in bounced and after[one] != before[one]]
        if dead:
            log.info("brokers %s are gone", dead)
            for one in dead:
                if reign.channels is not None:
                    reign.channels.close(one)
                office.watches.pop(znodes.broker_path(one), lambda: None)()
            context.set_brokers(broker for one, broker in after.items() if one in before and one not in bounced)
            office.topics.brokers_died(dead)
            await office.partitions.brokers_died(dead)
        if joined or moved:
            for broker in joined:
                self._open(office, broker)
            for one in moved:
                if reign.channels is not None:
                    reign.channels.move(one, after[one].endpoints.get(self._config.inter_broker_listener))
            context.set_brokers(after.values())
        if joined:
            log.info("brokers %s have come", [broker.id for broker in joined])
            await office.partitions.brokers_joined(joined)
            await office.reassignments.advance(list(office.reassignments.under_way()))
            await office.topics.resume_deletions()
        elif moved:
            await reign.send(office.partitions.brokers_changed())

    async def _topics_changed(self, office: Office) -> None:
        """Topics or partitions that others have made."""
        context = office.reign.context
        names = await self._store.children(znodes.TOPICS)
        nodes = await self._store.find_many([znodes.topic_path(name) for name in names])
        fresh = []
        for name in names:
            node, known = nodes.get(znodes.topic_path(name)), context.image.topics.get(name)
            self._watch(office, znodes.topic_path(name), TOPICS)
            if node is not None and (
                known is None or znodes.decode_topic(node.data).replicas.keys() - known.partitions.keys()
            ):
                fresh.append(name)
        for path in [one for one in office.watches if one.startswith(f"{znodes.TOPICS}/") and one not in nodes]:
            office.watches.pop(path)()
        if fresh:
            topics = await read_topics(self._store, [name for name in fresh if name not in context.doomed])
            topics = await give_ids(office.reign, topics, [self._draw() for _ in topics])
            await office.topics.found(topics)

    async def _deletions_changed(self, office: Office) -> None:
        names = await self._store.children(znodes.DELETE_TOPICS)
        fresh = [name for name in names if name not in office.reign.context.doomed]
        if fresh and not self._config.delete_topic_enable:
            await office.reign.write([Delete(znodes.deletion_path(name)) for name in fresh])
        elif fresh:
            await office.topics.doom(fresh)

    async def _isrs_changed(self, office: Office) -> None:
        paths = [f"{znodes.ISR_CHANGES}/{name}" for name in await self._store.children(znodes.ISR_CHANGES)]
        if not paths:
            return
        nodes = await self._store.find_many(paths)
        tps = [tp for node in nodes.values() for tp in znodes.decode_partitions(node.data)]
        await office.partitions.isr_changed(tps)
        await office.reign.write([Delete(path) for path in nodes])
        await office.reassignments.advance(tps)

    async def _log_dirs_failed(self, office: Office) -> None:
        """A broker has lost a directory: it is told everything again, and its answer says what it can't serve."""
        paths = [f"{znodes.LOG_DIR_EVENTS}/{name}" for name in await self._store.children(znodes.LOG_DIR_EVENTS)]
        if not paths:
            return
        nodes = await self._store.find_many(paths)
        batch = office.reign.batch()
        for broker in {znodes.decode_log_dir_event(node.data) for node in nodes.values()}:
            for tp, _ in office.reign.context.hosted_by(broker):
                batch.leader_and_isr([broker], tp)
        await office.reign.send(batch)
        await office.reign.write([Delete(path) for path in nodes])

    async def _elections_asked_for(self, office: Office) -> None:
        """Preferred leaders, in the way of tools before 2.4."""
        node = await self._store.find(znodes.PREFERRED_ELECTION)
        if node is None:
            return
        await office.partitions.elect(znodes.decode_partitions(node.data), PREFERRED)
        try:
            await office.reign.write([Delete(znodes.PREFERRED_ELECTION)])
        except NoNode:
            pass
