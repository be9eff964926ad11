"""What this broker makes of the cluster's metadata: reads it at start, joins in, changes it for clients.

Topics are the controller's to change, and are refused with NOT_CONTROLLER while another broker is it; those that a
client's Metadata asks for any broker may store. What is allowed is decided in `controller`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import trio

from pykbroker.cluster.features import FeatureUpdate, FinalizedFeatures, first_levels, plan_update
from pykbroker.cluster.image import (
    INTERNAL_TOPICS,
    BrokerImage,
    ClusterImage,
    PartitionState,
    TopicImage,
    uuid_from,
    uuid_text,
)
from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.balance import unbalanced
from pykbroker.controller.topics import Draw, NewTopic, internal_topic, plan_creation, plan_growth
from pykbroker.metadata import znodes
from pykbroker.metadata.store import (
    Create,
    MetadataStore,
    NodeExists,
    Set,
    StoreError,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannels
from pykbroker.server.broker_lifecycle import BrokerLifecycle, read_brokers
from pykbroker.server.clock import Clock
from pykbroker.server.control_requests import ControlRequests, DeletionCallback
from pykbroker.server.controller_office import CONTROLLER, ControllerOffice, Office
from pykbroker.server.controller_partitions import PREFERRED
from pykbroker.server.controller_reassignments import Wanted
from pykbroker.server.controller_reign import Fenced
from pykbroker.server.isr_store import IsrStore
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

FIRST_BALANCE_SECONDS = 5.0
REQUEST_SECONDS = 30.0
LEADER_SECONDS = 5.0
"""How long a topic that another broker's controller has to make is waited for."""


@dataclass(frozen=True, slots=True)
class GrowthRequest:
    """More partitions for a topic; `assignments` are the new partitions' replicas, where placed by hand."""

    name: str
    count: int
    assignments: Sequence[tuple[int, ...]] | None = None


class ControllerRuntime:
    """The cluster's metadata, as this broker reads and changes it."""

    def __init__(
        self,
        config: BrokerConfig,
        store: MetadataStore,
        metadata: MetadataCache,
        clock: Clock,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._config = config
        self._store = store
        self._metadata = metadata
        self._random_bytes = random_bytes
        self._replicas: ReplicaManager | None = None
        self._broker: BrokerImage | None = None
        self._channels: BrokerChannels | None = None
        self._assigned: dict[str, znodes.TopicNode] = {}
        self._doomed: set[str] = set()
        self._on_deletion: list[DeletionCallback] = []
        self._session_news = trio.Event()
        self._moved = trio.Event()
        self._joined = trio.Event()
        self.isr_store = IsrStore(store)
        self.lifecycle = BrokerLifecycle(config, store, metadata, clock)
        self.office = ControllerOffice(config, store, metadata, clock, random_bytes)
        self.control: ControlRequests | None = None
        """Takes the controller's requests, once started."""

    # ---- start -----------------------------------------------------------------------------------------------------

    async def load(self, known_cluster_id: str | None = None) -> str:
        """Reads what a broker has to know before it opens its logs: ids, assignments, configs; says the cluster id.

        A new store gets `known_cluster_id` (of data that is there already) or a random id. Raises StoreError.
        """
        await self._make_paths(known_cluster_id or uuid_text(uuid_from(self._random_bytes(16))))
        cluster_id = znodes.decode_cluster_id((await self._store.get(znodes.CLUSTER_ID)).data)
        features = await self._store.get(znodes.FEATURES)
        names = await self._store.children(znodes.TOPICS)
        nodes = await self._store.find_many([znodes.topic_path(name) for name in names])
        configs = await self._store.find_many([znodes.config_path(name) for name in names])
        self._doomed = set(await self._store.children(znodes.DELETE_TOPICS))
        for name in names:
            config = configs.get(znodes.config_path(name))
            self._assigned[name] = znodes.decode_topic(nodes[znodes.topic_path(name)].data)
            self._metadata.set_overrides(name, {} if config is None else znodes.decode_config(config.data))
        levels = znodes.decode_features(features.data, features.stat.version)
        self._metadata.publish(ClusterImage(cluster_id, features=levels))
        return cluster_id

    async def _make_paths(self, cluster_id: str) -> None:
        """Makes what Kafka has in an empty store; other brokers may be at it, too."""
        wanted = dict.fromkeys(_with_parents(znodes.PERSISTENT), b"")
        wanted[znodes.CLUSTER_ID] = znodes.encode_cluster_id(cluster_id)
        wanted[znodes.CONTROLLER_EPOCH] = b"0"
        wanted[znodes.FEATURES] = znodes.encode_features(first_levels())
        there = await self._store.find_many(list(wanted))
        missing = [Create(path, data) for path, data in wanted.items() if path not in there]
        try:
            if missing:
                await self._store.multi(missing)
        except NodeExists:
            for one in missing:
                try:
                    await self._store.create(one.path, one.data)
                except NodeExists:
                    pass

    def strays(self, found: Mapping[TopicPartition, UUID | None]) -> list[TopicPartition]:
        """Which of the logs found on disk this broker must not serve: of no topic in the store, or not assigned to it.

        A log without an id is taken for its topic's, as those of releases before 2.8 have none.
        """
        strays = []
        for tp, topic_id in found.items():
            if tp.topic in self._doomed:
                continue
            topic, known = self._assigned.get(tp.topic), self._metadata.partition(tp)
            if topic is not None:
                known_id, replicas = topic.topic_id, topic.replicas.get(tp.partition, ())
            else:
                known_id, replicas = self._metadata.topic_id(tp.topic), () if known is None else known.replicas
            if self._config.node_id not in replicas or topic_id not in (None, known_id):
                strays.append(tp)
        return strays

    async def start(
        self, replica_manager: ReplicaManager, broker: BrokerImage, channels: BrokerChannels | None = None
    ) -> None:
        """Registers this broker and runs for controller; one that is becomes leader of what it should before this ends.

        To be called once the sockets are bound, so that their ports are known. Raises StoreError, RegistrationRefused.
        """
        self._assigned.clear()
        self._replicas, self._broker, self._channels = replica_manager, broker, channels
        self.control = ControlRequests(
            self._config.node_id, self._store, self._metadata, replica_manager, self._on_deletion, self._joined
        )
        self.office.attach(self.control, channels)
        await self.lifecycle.register(broker)
        self._store.on_session(self._session_lost, self._session_renewed)
        async with self.office.change:
            await self.office.elect()
        if self.office.current is None:
            await self._first_image()

    async def _first_image(self) -> None:
        """Who is there, for what is asked until the controller tells more; if it has told meanwhile, that is newer."""
        controller = await self._store.find(znodes.CONTROLLER)
        brokers = await read_brokers(self._store)
        if not self._joined.is_set():
            controller_id = -1 if controller is None else znodes.decode_controller(controller.data)
            image = self._metadata.image.with_brokers(*brokers)
            self._metadata.publish(image._replace(controller_id=controller_id))

    def move(self, broker: BrokerImage) -> None:
        """This broker has other addresses now: its registration says so shortly, and in sessions to come."""
        self._broker = broker
        self._moved.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follows what happens in the cluster until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.office.run, nursery)
            nursery.start_soon(self._follow_features)
            nursery.start_soon(self._follow_session)
            nursery.start_soon(self._follow_moves)
            nursery.start_soon(self._balance)
            task_status.started()

    async def wait_until_joined(self, timeout: float = LEADER_SECONDS) -> bool:
        """Waits until the controller has told this broker about the cluster; False after `timeout` seconds."""
        if not self._joined.is_set():
            with trio.move_on_after(timeout):
                await self._joined.wait()
        return self._joined.is_set()

    async def leave(self) -> None:
        """Hands leaderships and controllership over before the broker stops, where there are others to take them."""
        if len(self._metadata.image.brokers) < 2:
            return
        if self._channels is not None and self._config.controlled_shutdown_enable:
            await self.lifecycle.leave(self._channels, self.shut_down_broker)
        with trio.move_on_after(LEADER_SECONDS):
            await self.office.step_down()

    def _session_lost(self) -> None:
        self.office.resign()

    def _session_renewed(self) -> None:
        self._session_news.set()

    async def _follow_session(self) -> None:
        """Registers again in every new session, with a new epoch, and runs for controller."""
        while True:
            await self._session_news.wait()
            self._session_news = trio.Event()
            try:
                if self._broker is not None:
                    await self.lifecycle.register(self._broker)
            except StoreError as error:
                log.error("can't register again: %s", error)
                self._session_news.set()
                await trio.sleep(1)
            self.office.mark(CONTROLLER)

    async def _follow_moves(self) -> None:
        """Tells of this broker's new addresses; who is without a session registers with them in the next."""
        while True:
            await self._moved.wait()
            self._moved = trio.Event()
            if self._broker is not None:
                try:
                    await self.lifecycle.move(self._broker)
                except StoreError as error:
                    log.warning("the new addresses are told with the next session: %s", error)

    async def _follow_features(self) -> None:
        news = trio.Event()
        self._store.watch(znodes.FEATURES, lambda: news.set())
        while True:
            await news.wait()
            news = trio.Event()
            try:
                node = await self._store.get(znodes.FEATURES)
            except StoreError as error:
                log.warning("can't read the feature levels now: %s", error)
                continue
            features = znodes.decode_features(node.data, node.stat.version)
            if features.epoch > self._metadata.image.features.epoch:
                self._metadata.publish(self._metadata.image._replace(features=features))

    async def _balance(self) -> None:
        """Gives preferred leaders their partitions back, by and by."""
        config = self._config
        seconds = FIRST_BALANCE_SECONDS
        while config.auto_leader_rebalance_enable:
            await trio.sleep(seconds)
            seconds = config.leader_imbalance_check_interval_seconds
            async with self.office.change:
                office = self.office.current
                if office is None:
                    continue
                tps = unbalanced(office.reign.context, config.leader_imbalance_per_broker_percentage)
                if tps:
                    log.info("giving %d partitions back to their preferred leaders", len(tps))
                    try:
                        await self.office.guard(office, office.partitions.elect(tps, PREFERRED))
                    except KafkaError as error:  # The reign has ended with it, as was said.
                        log.info("preferred leaders have to wait: %s", error)

    # ---- changes ---------------------------------------------------------------------------------------------------

    def on_deletion(self, deleted: DeletionCallback) -> None:
        """Has `deleted` called with the partitions of every topic that is deleted, before the deletion is answered."""
        self._on_deletion.append(deleted)

    async def create_topics(
        self, wanted: Sequence[NewTopic], *, validate_only: bool = False, timeout: float = REQUEST_SECONDS
    ) -> list[TopicImage | KafkaError]:
        """Creates topics and answers, for each, what it is or why it isn't; their leaders serve by then.

        Leaders that haven't answered after `timeout` seconds are not waited for.
        """
        answers: list[TopicImage | KafkaError] = []
        async with self.office.change:
            with trio.CancelScope(shield=True):
                answers = await self._create_topics(wanted, validate_only)
        await self._delivered(timeout)
        return answers

    async def _create_topics(self, wanted: Sequence[NewTopic], validate_only: bool) -> list[TopicImage | KafkaError]:
        office = self.office.current
        if office is None:
            return [KafkaError(ErrorCode.NOT_CONTROLLER) for _ in wanted]
        context = office.reign.context
        image = context.image.with_brokers(*(one for one in context.image.brokers.values() if one.id in context.live))
        answers: list[TopicImage | KafkaError] = []
        planned: list[TopicImage] = []
        for new in wanted:
            try:
                topic = plan_creation(image, self._config, new, self._draw(image), context.epoch)
            except KafkaError as error:
                answers.append(error)
                continue
            answers.append(topic)
            planned.append(topic)
            image = image.with_topics(topic)
        if validate_only or not planned:
            return answers
        try:
            failed = await office.topics.make(planned)
            await self.office.settle(office)
        except (StoreError, Fenced) as error:
            refused = self._refusal(error)
            log.error("can't store topics: %s", refused)
            return [refused if isinstance(one, TopicImage) else one for one in answers]
        made = [failed.get(one.name, one) if isinstance(one, TopicImage) else one for one in answers]
        return [self._metadata.topic(one.name) or one if isinstance(one, TopicImage) else one for one in made]

    async def create_partitions(
        self, wanted: Sequence[GrowthRequest], *, validate_only: bool = False, timeout: float = REQUEST_SECONDS
    ) -> list[KafkaError | None]:
        """Adds partitions to topics; answers for each None or why not. Their leaders serve by then."""
        answers: list[KafkaError | None] = []
        async with self.office.change:
            with trio.CancelScope(shield=True):
                answers = [await self._grow(growth, validate_only) for growth in wanted]
        await self._delivered(timeout)
        return answers

    async def _grow(self, growth: GrowthRequest, validate_only: bool) -> KafkaError | None:
        try:
            office = self._controller()
            context = office.reign.context
            shift = self._number()
            image = context.image.without_topics(*context.doomed)
            added = plan_growth(image, growth.name, growth.count, growth.assignments, shift, context.epoch)
            if any(state.adding or state.removing for state in image.topics[growth.name].partitions.values()):
                raise KafkaError(ErrorCode.REASSIGNMENT_IN_PROGRESS, "A partition reassignment is in progress.")
            if not validate_only:
                await office.topics.grow(growth.name, added)
        except (StoreError, KafkaError, Fenced) as error:
            return self._refusal(error)
        finally:
            if self.office.current is not None:
                await self.office.settle(self.office.current)
        return None

    async def delete_topics(self, names: Sequence[str], *, timeout: float = REQUEST_SECONDS) -> list[KafkaError | None]:
        """Deletes topics; answers for each None when nothing of it is left, or why not.

        What is left after `timeout` seconds, as where a broker with a replica is down, goes on to be deleted.
        """
        answers: list[KafkaError | None] = []
        async with self.office.change:
            with trio.CancelScope(shield=True):
                answers = [await self._delete(name) for name in names]
        for index, name in enumerate(names):
            office = self.office.current
            if answers[index] is None and office is not None:
                answers[index] = await office.topics.wait_for_deletion(name, timeout)
        return answers

    async def _delete(self, name: str) -> KafkaError | None:
        try:
            office = self._controller()
            topic = office.reign.context.image.topics.get(name)
            if topic is None:
                message = "This server does not host this topic-partition."
                return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message)
            if name not in office.reign.context.doomed:
                await office.reign.write([Create(znodes.deletion_path(name))])
            await office.topics.doom([name])
            return office.topics.failure(name)
        except (StoreError, KafkaError, Fenced) as error:
            return self._refusal(error)

    async def update_features(self, updates: Sequence[FeatureUpdate], *, validate_only: bool = False) -> None:
        """Changes feature levels, all or none; stored and in force by then. Raises KafkaError for the first refused."""
        async with self.office.change:
            with trio.CancelScope(shield=True):
                features = self._metadata.image.features
                levels = plan_update(features.levels, updates)
                if validate_only:
                    return
                try:
                    data = znodes.encode_features(levels)
                    await self._controller().reign.write([Set(znodes.FEATURES, data, features.epoch)])
                except (StoreError, Fenced) as error:
                    raise self._refusal(error) from error
                changed = FinalizedFeatures(levels, features.epoch + 1)
                self._metadata.publish(self._metadata.image._replace(features=changed))
                log.info("feature levels are now %s", levels)

    async def ensure_internal_topic(self, name: str) -> TopicImage:
        """One of Kafka's own topics, made if it isn't there; raises KafkaError."""
        topic = self._metadata.topic(name)
        if topic is None:
            answer = (await self.auto_create([name]))[0]
            if isinstance(answer, KafkaError):
                raise answer
            topic = answer
        return topic

    async def auto_create(self, names: Iterable[str]) -> list[TopicImage | KafkaError]:
        """Creates topics with the broker's defaults, Kafka's own as they should be; one that is there is the answer.

        Where another broker is controller this one stores the topic, and LEADER_NOT_AVAILABLE is the answer if it is
        not led soon.
        """
        names = list(names)
        live = len(self._metadata.image.brokers)
        wanted = [internal_topic(one, self._config, live) if one in INTERNAL_TOPICS else NewTopic(one) for one in names]
        for new in wanted:
            if new.name in INTERNAL_TOPICS:
                log.info("making %s with replication factor %d", new.name, new.replication_factor)
        if self.office.current is None:
            return [await self._hand_in(new) for new in wanted]
        answers = await self.create_topics(wanted)
        for at, answer in enumerate(answers):
            if isinstance(answer, KafkaError) and answer.code is ErrorCode.TOPIC_ALREADY_EXISTS:
                answers[at] = self._metadata.topic(names[at]) or answer
        return answers

    async def _hand_in(self, new: NewTopic) -> TopicImage | KafkaError:
        """Stores a topic for another broker's controller to take up, and waits for it."""
        image = self._metadata.image
        try:
            topic = plan_creation(image, self._config, new, self._draw(image), 0)
            operations = [Create(znodes.topic_path(topic.name), znodes.encode_topic(topic))]
            if topic.config and await self._store.find(znodes.config_path(topic.name)) is None:
                operations.insert(0, Create(znodes.config_path(topic.name), znodes.encode_config(topic.config)))
            await self._store.multi(operations)
        except NodeExists:
            pass
        except (StoreError, KafkaError) as error:
            return self._refusal(error)
        await self._metadata.wait_until(lambda known: new.name in known.topics, LEADER_SECONDS)
        return self._metadata.topic(new.name) or KafkaError(ErrorCode.LEADER_NOT_AVAILABLE)

    # ---- partitions ------------------------------------------------------------------------------------------------

    async def elect_leaders(
        self, tps: Sequence[TopicPartition] | None, kind: int
    ) -> dict[TopicPartition, KafkaError | None]:
        """ElectLeaders, None for all partitions; raises NOT_CONTROLLER."""
        async with self.office.change:
            with trio.CancelScope(shield=True):
                office = self._controller()
                if tps is None:
                    tps = [tp for tp, _ in office.reign.context.partitions()]
                answers = await self.office.guard(office, office.partitions.elect(tps, kind))
        return answers

    async def alter_reassignments(
        self, wanted: Wanted, *, allow_factor_change: bool = True
    ) -> dict[TopicPartition, KafkaError | None]:
        """AlterPartitionReassignments; answers once they have begun. Raises NOT_CONTROLLER."""
        async with self.office.change:
            with trio.CancelScope(shield=True):
                office = self._controller()
                begun = office.reassignments.alter(wanted, allow_factor_change=allow_factor_change)
                answers = await self.office.guard(office, begun)
        return answers

    def reassignments(self) -> dict[TopicPartition, PartitionState]:
        """What is being reassigned; raises NOT_CONTROLLER."""
        return self._controller().reassignments.under_way()

    async def shut_down_broker(self, broker: int, epoch: int) -> list[TopicPartition]:
        """ControlledShutdown: moves a broker's leaders, says what it still leads.

        Raises KafkaError: NOT_CONTROLLER, BROKER_NOT_AVAILABLE, STALE_BROKER_EPOCH.
        """
        async with self.office.change:
            with trio.CancelScope(shield=True):
                office = self._controller()
                known = office.reign.context.image.brokers.get(broker)
                if known is None:
                    raise KafkaError(ErrorCode.BROKER_NOT_AVAILABLE)
                if epoch != -1 and epoch < known.epoch:
                    raise KafkaError(ErrorCode.STALE_BROKER_EPOCH)
                left = await self.office.guard(office, office.partitions.shut_down(broker))
        await self._delivered(LEADER_SECONDS)
        return left

    def check_unregistered(self, broker: int) -> None:
        """UnregisterBroker: with ZooKeeper a broker is forgotten with its session, so there is nothing left to do.

        Raises KafkaError: NOT_CONTROLLER, BROKER_ID_NOT_REGISTERED; INVALID_REQUEST for one that is running.
        """
        context = self._controller().reign.context
        if broker in context.image.brokers:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Broker {broker} is running: stop it first.")
        if not any(broker in state.replicas for _, state in context.partitions()):
            raise KafkaError(ErrorCode.BROKER_ID_NOT_REGISTERED, f"Broker ID {broker} is not currently registered")

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _controller(self) -> Office:
        if self.office.current is None:
            raise KafkaError(ErrorCode.NOT_CONTROLLER)
        return self.office.current

    async def _delivered(self, timeout: float) -> None:
        """Waits until the others have done as they were told."""
        office = self.office.current
        if office is not None and office.reign.channels is not None:
            await office.reign.channels.delivered(min(timeout, LEADER_SECONDS))

    def _refusal(self, error: StoreError | KafkaError | Fenced) -> KafkaError:
        if isinstance(error, KafkaError):
            return error
        if isinstance(error, Fenced):
            self.office.resign()
            self.office.mark(CONTROLLER)
            return KafkaError(ErrorCode.NOT_CONTROLLER)
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error))

    def _draw(self, image: ClusterImage) -> Draw:
        topic_id = uuid_from(self._random_bytes(16))
        while topic_id in image.topic_names:
            topic_id = uuid_from(self._random_bytes(16))
        return Draw(topic_id, self._number(), self._number())

    def _number(self) -> int:
        return int.from_bytes(self._random_bytes(2), "big")


def _with_parents(paths: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")
        for depth in range(2, len(parts) + 1):
            found["/".join(parts[:depth])] = None
    return list(found)
