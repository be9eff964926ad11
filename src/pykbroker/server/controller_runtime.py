"""The controller at work: writes what its rules decide to the metadata store, has the broker act on it, then publishes.

One change at a time. A topic can be asked about only once its leaders serve, and is gone from memory, disk and store
when its deletion is answered. It decides nothing about topics; `controller.topics` does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from pykbroker.controller.configs import Alteration, plan_alteration
from pykbroker.controller.topics import Draw, NewTopic, elect, first_state, internal_topic, plan_creation, plan_growth
from pykbroker.metadata import znodes
from pykbroker.metadata.store import Check, Create, Delete, MetadataStore, Node, Operation, Set, StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.clock import Clock
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica_manager import LeaderState, ReplicaManager

log = logging.getLogger(__name__)

DeletionCallback = Callable[[Sequence[TopicPartition]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GrowthRequest:
    """More partitions for a topic; `assignments` are the new partitions' replicas, where placed by hand."""

    name: str
    count: int
    assignments: Sequence[tuple[int, ...]] | None = None


class ControllerRuntime:
    """The cluster's controller, as far as this broker is it."""

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
        self._clock = clock
        self._random_bytes = random_bytes
        self._replicas: ReplicaManager | None = None
        self._change = trio.Lock()
        self._epoch = 0
        self._epoch_version: int | None = None
        self._doomed: dict[str, list[TopicPartition]] = {}
        self._on_deletion: list[DeletionCallback] = []

    # ---- start -----------------------------------------------------------------------------------------------------

    async def load(self, known_cluster_id: str | None = None) -> str:
        """Reads the store into the metadata cache, before logs are opened and anything is served; says the cluster id.

        A new store gets `known_cluster_id` (of data that is there already) or a random id. Raises StoreError.
        """
        tree = await self._store.subtree("/")
        paths = _with_parents((*znodes.PERSISTENT, *_partition_paths(tree)))
        operations: list[Operation] = [Create(path) for path in paths if path not in tree]
        if znodes.CLUSTER_ID in tree:
            cluster_id = znodes.decode_cluster_id(tree[znodes.CLUSTER_ID].data)
        else:
            cluster_id = known_cluster_id or uuid_text(uuid_from(self._random_bytes(16)))
            operations.append(Create(znodes.CLUSTER_ID, znodes.encode_cluster_id(cluster_id)))
        if znodes.CONTROLLER_EPOCH not in tree:
            operations.append(Create(znodes.CONTROLLER_EPOCH, b"0"))
        if znodes.FEATURES in tree:
            features = znodes.decode_features(tree[znodes.FEATURES].data, tree[znodes.FEATURES].stat.version)
        else:
            features = FinalizedFeatures(first_levels(), 0)
            operations.append(Create(znodes.FEATURES, znodes.encode_features(features.levels)))
        if operations:
            await self._store.multi(operations)
        topics = self._read_topics(tree)
        self._metadata.publish(ClusterImage(cluster_id, features=features).with_topics(*topics))
        return cluster_id

    def _read_topics(self, tree: Mapping[str, Node]) -> list[TopicImage]:
        prefix, marks = f"{znodes.TOPICS}/", f"{znodes.DELETE_TOPICS}/"
        doomed = {path[len(marks) :] for path in tree if path.startswith(marks)}
        topics = []
        for path, node in tree.items():
            name = path[len(prefix) :]
            if not path.startswith(prefix) or "/" in name:
                continue
            topic_node = znodes.decode_topic(node.data)
            if name in doomed or topic_node.topic_id is None:
                self._doomed[name] = [TopicPartition(name, index) for index in topic_node.replicas]
                continue
            states = {}
            for index, replicas in sorted(topic_node.replicas.items()):
                state = tree.get(znodes.state_path(name, index))
                if state is None:
                    states[index] = replace(first_state(replicas, (), self._epoch), partition_epoch=-1)
                else:
                    states[index] = znodes.decode_state(state.data, state.stat.version, topic_node, index)
            config = tree.get(znodes.config_path(name))
            overrides = znodes.decode_config(config.data) if config is not None else {}
            self._metadata.set_overrides(name, overrides)
            topics.append(TopicImage(name, topic_node.topic_id, states, overrides))
        return topics

    def strays(self, found: Mapping[TopicPartition, UUID | None]) -> list[TopicPartition]:
        """Which of the logs found on disk belong to no topic in the store: they must not be served.

        A log without an id is taken for its topic's, as those of releases before 2.8 have none.
        """
        doomed = {tp for tps in self._doomed.values() for tp in tps}
        strays = []
        for tp, topic_id in found.items():
            if tp in doomed:
                continue
            known = self._metadata.topic_id(tp.topic)
            if self._metadata.partition(tp) is None or topic_id not in (None, known):
                strays.append(tp)
        return strays

    async def start(self, replica_manager: ReplicaManager, broker: BrokerImage) -> None:
        """Registers this broker, becomes controller, finishes what a crash left half done, and leads its partitions.

        To be called once the sockets are bound, so that their ports are known, and before they are served.
        """
        self._replicas = replica_manager
        path = znodes.broker_path(broker.id)
        await self._store.create(path, znodes.encode_broker(broker, self._clock.now_ms()), ephemeral=True)
        live = []
        for name in await self._store.children(znodes.BROKER_IDS):
            node = await self._store.get(znodes.broker_path(int(name)))
            live.append(znodes.decode_broker(int(name), node.data, node.stat.czxid))
        controller_id = await self._become_controller(broker.id)
        image = replace(self._metadata.image.with_brokers(*live), controller_id=controller_id)
        image = await self._bring_online(image)
        await self._lead(image.topics.values())
        self._metadata.publish(image)
        # After the coordinators were elected: they forget the offsets of what is deleted.
        await self._finish_deletions()

    async def _become_controller(self, broker_id: int) -> int:
        found = await self._store.find(znodes.CONTROLLER)
        if found is not None:
            return znodes.decode_controller(found.data)
        epoch = await self._store.get(znodes.CONTROLLER_EPOCH)
        self._epoch = int(epoch.data) + 1
        await self._store.multi(
            [
                Create(znodes.CONTROLLER, znodes.encode_controller(broker_id, self._clock.now_ms()), ephemeral=True),
                Set(znodes.CONTROLLER_EPOCH, str(self._epoch).encode(), epoch.stat.version),
            ]
        )
        self._epoch_version = epoch.stat.version + 1
        return broker_id

    async def _bring_online(self, image: ClusterImage) -> ClusterImage:
        """Elects leaders for the partitions that have none alive, and writes them."""
        operations: list[Operation] = []
        changed = []
        for topic in image.topics.values():
            elected: dict[int, PartitionState] = {}
            for index, state in topic.partitions.items():
                if state.partition_epoch < 0:
                    elected[index] = first_state(state.replicas, image.brokers, self._epoch)
                    path = znodes.state_path(topic.name, index)
                    operations.append(Create(path, znodes.encode_state(elected[index])))
                elif state.leader not in image.brokers:
                    next_state = elect(state, image.brokers, self._epoch)
                    if next_state is not None:
                        path = znodes.state_path(topic.name, index)
                        operations.append(Set(path, znodes.encode_state(next_state), state.partition_epoch))
                        elected[index] = replace(next_state, partition_epoch=state.partition_epoch + 1)
            if elected:
                changed.append(replace(topic, partitions={**topic.partitions, **elected}))
        if operations:
            await self._write(operations)
        return image.with_topics(*changed)

    async def _finish_deletions(self) -> None:
        if self._doomed:
            log.info("finishing the deletion of %s", ", ".join(sorted(self._doomed)))
            doomed, self._doomed = self._doomed, {}
            for name, tps in doomed.items():
                await self._erase(name, tps)

    # ---- changes ---------------------------------------------------------------------------------------------------

    def on_deletion(self, deleted: DeletionCallback) -> None:
        """Has `deleted` called with the partitions of every topic that is deleted, before the deletion is answered."""
        self._on_deletion.append(deleted)

    async def create_topics(
        self, wanted: Sequence[NewTopic], *, validate_only: bool = False
    ) -> list[TopicImage | KafkaError]:
        """Creates topics and answers, for each, what it is or why it isn't; their leaders serve by then."""
        answers: list[TopicImage | KafkaError] = []
        async with self._change:
            with trio.CancelScope(shield=True):
                answers = await self._create_topics(wanted, validate_only)
        return answers

    async def _create_topics(self, wanted: Sequence[NewTopic], validate_only: bool) -> list[TopicImage | KafkaError]:
        image = self._metadata.image
        answers: list[TopicImage | KafkaError] = []
        planned: list[TopicImage] = []
        for new in wanted:
            try:
                topic = plan_creation(image, self._config, new, self._draw(image), self._epoch)
            except KafkaError as error:
                answers.append(error)
                continue
            answers.append(topic)
            planned.append(topic)
            image = image.with_topics(topic)
        if validate_only or not planned:
            return answers
        failed = await self._make(planned)
        return [failed.get(one.name, one) if isinstance(one, TopicImage) else one for one in answers]

    async def _make(self, topics: Sequence[TopicImage]) -> dict[str, KafkaError]:
        """Stores topics, leads them, publishes them; what can't be led is taken back."""
        operations: list[Operation] = []
        for topic in topics:
            if topic.config:
                operations.append(Create(znodes.config_path(topic.name), znodes.encode_config(topic.config)))
            operations.append(Create(znodes.topic_path(topic.name), znodes.encode_topic(topic)))
            operations.append(Create(f"{znodes.topic_path(topic.name)}/partitions"))
            for index, state in topic.partitions.items():
                operations += _create_partition(topic.name, index, state)
        try:
            await self._write(operations)
        except (StoreError, KafkaError) as error:
            refused = _refusal(error)
            log.error("can't store topics: %s", refused)
            return {topic.name: refused for topic in topics}
        for topic in topics:
            self._metadata.set_overrides(topic.name, topic.config)
        errors = await self._lead(topics, is_new=True)
        failed: dict[str, KafkaError] = {}
        for tp, code in errors.items():
            failed[tp.topic] = KafkaError(code, f"The log of partition {tp.partition} could not be made.")
        for topic in topics:
            if topic.name in failed:
                await self._erase(topic.name, _partitions(topic))
        made = [topic for topic in topics if topic.name not in failed]
        self._metadata.publish(self._metadata.image.with_topics(*made))
        for topic in made:
            log.info(
                "created topic %s, %d partition(s), id %s", topic.name, len(topic.partitions), uuid_text(topic.topic_id)
            )
        return failed

    async def create_partitions(
        self, wanted: Sequence[GrowthRequest], *, validate_only: bool = False
    ) -> list[KafkaError | None]:
        """Adds partitions to topics; answers for each None or why not. Their leaders serve by then."""
        answers: list[KafkaError | None] = []
        async with self._change:
            with trio.CancelScope(shield=True):
                answers = [await self._grow(growth, validate_only) for growth in wanted]
        return answers

    async def _grow(self, growth: GrowthRequest, validate_only: bool) -> KafkaError | None:
        image = self._metadata.image
        try:
            shift = self._number()
            added = plan_growth(image, growth.name, growth.count, growth.assignments, shift, self._epoch)
            if not validate_only:
                await self._add(image.topics[growth.name], added)
        except (StoreError, KafkaError) as error:
            return _refusal(error)
        return None

    async def _add(self, topic: TopicImage, added: Mapping[int, PartitionState]) -> None:
        grown = replace(topic, partitions={**topic.partitions, **added})
        operations: list[Operation] = [Set(znodes.topic_path(topic.name), znodes.encode_topic(grown))]
        for index, state in added.items():
            operations += _create_partition(topic.name, index, state)
        await self._write(operations)
        errors = await self._lead([replace(topic, partitions=added)], is_new=True)
        # The store has them: they appear even if a log couldn't be made, and the next start tries again.
        self._metadata.publish(self._metadata.image.with_topics(grown))
        for tp, code in errors.items():
            raise KafkaError(code, f"The log of partition {tp.partition} could not be made.")

    async def alter_configs(
        self, alterations: Sequence[Alteration], *, validate_only: bool = False
    ) -> list[KafkaError | None]:
        """Changes topics' configs; answers for each None or why not. A change is stored and in force by then."""
        answers: list[KafkaError | None] = []
        async with self._change:
            with trio.CancelScope(shield=True):
                answers = [await self._alter(alteration, validate_only) for alteration in alterations]
        return answers

    async def _alter(self, alteration: Alteration, validate_only: bool) -> KafkaError | None:
        image = self._metadata.image
        try:
            overrides = plan_alteration(image, self._config, alteration)
            topic = image.topics[alteration.topic]
            if not validate_only and overrides != topic.config:
                await self._configure(topic, overrides)
        except (StoreError, KafkaError) as error:
            return _refusal(error)
        return None

    async def _configure(self, topic: TopicImage, overrides: Mapping[str, str]) -> None:
        path, data = znodes.config_path(topic.name), znodes.encode_config(overrides)
        known = await self._store.find(path) is not None
        await self._write([Set(path, data) if known else Create(path, data)])
        config = self._metadata.set_overrides(topic.name, overrides)
        self._metadata.publish(self._metadata.image.with_topics(replace(topic, config=overrides)))
        self._manager.update_config(topic.name, config)
        changed = sorted(key for key, _ in topic.config.items() ^ overrides.items())
        log.info("changed the config of topic %s: %s", topic.name, ", ".join(dict.fromkeys(changed)))

    async def update_features(self, updates: Sequence[FeatureUpdate], *, validate_only: bool = False) -> None:
        """Changes feature levels, all or none; stored and in force by then. Raises KafkaError for the first refused."""
        async with self._change:
            with trio.CancelScope(shield=True):
                features = self._metadata.image.features
                levels = plan_update(features.levels, updates)
                if validate_only:
                    return
                try:
                    await self._write([Set(znodes.FEATURES, znodes.encode_features(levels), features.epoch)])
                except StoreError as error:
                    raise _refusal(error) from error
                changed = FinalizedFeatures(levels, features.epoch + 1)
                self._metadata.publish(replace(self._metadata.image, features=changed))
                log.info("feature levels are now %s", levels)

    async def delete_topics(self, names: Sequence[str]) -> list[KafkaError | None]:
        """Deletes topics; answers for each None when nothing of it is left, or why not."""
        answers: list[KafkaError | None] = []
        async with self._change:
            with trio.CancelScope(shield=True):
                answers = [await self._delete(name) for name in names]
        return answers

    async def _delete(self, name: str) -> KafkaError | None:
        topic = self._metadata.topic(name)
        if topic is None:
            return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.")
        try:
            await self._write([Create(znodes.deletion_path(name))])
            self._metadata.publish(self._metadata.image.without_topics(name))
            await self._erase(name, _partitions(topic))
        except (StoreError, KafkaError) as error:
            return _refusal(error)
        log.info("deleted topic %s", name)
        return None

    async def _erase(self, name: str, tps: Sequence[TopicPartition]) -> None:
        """Removes a topic's data, then what the store has of it; raises KafkaError where data can't be removed."""
        errors = await self._manager.stop_replicas(tps, delete=True)
        for tp, code in errors.items():
            if code is not ErrorCode.NONE:
                log.error("the data of %s could not be removed: %s; the next start tries again", tp, code.name)
                raise KafkaError(code, f"The data of partition {tp.partition} could not be removed.")
        for deleted in self._on_deletion:
            await deleted(tps)
        below = await self._store.subtree(znodes.topic_path(name))
        paths = [*reversed(below), znodes.topic_path(name), znodes.config_path(name), znodes.deletion_path(name)]
        await self._write([Delete(path) for path in paths if path in below or await self._store.find(path) is not None])

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
        """Creates topics with the broker's defaults, Kafka's own as they should be; one that is there is the answer."""
        names = list(names)
        live = len(self._metadata.image.brokers)
        wanted = [internal_topic(one, self._config, live) if one in INTERNAL_TOPICS else NewTopic(one) for one in names]
        for new in wanted:
            if new.name in INTERNAL_TOPICS:
                log.info("making %s with replication factor %d", new.name, new.replication_factor)
        answers = await self.create_topics(wanted)
        for at, answer in enumerate(answers):
            if isinstance(answer, KafkaError) and answer.code is ErrorCode.TOPIC_ALREADY_EXISTS:
                answers[at] = self._metadata.topic(names[at]) or answer
        return answers

    # ---- parts -----------------------------------------------------------------------------------------------------

    @property
    def _manager(self) -> ReplicaManager:
        if self._replicas is None:
            raise RuntimeError("the controller isn't started")
        return self._replicas

    async def _lead(self, topics: Iterable[TopicImage], *, is_new: bool = False) -> dict[TopicPartition, ErrorCode]:
        """Has this broker lead what it should of these topics; answers what failed."""
        states = [
            LeaderState(TopicPartition(topic.name, index), topic.topic_id, state, is_new)
            for topic in topics
            for index, state in topic.partitions.items()
            if state.leader == self._config.node_id
        ]
        if not states:
            return {}
        answers = await self._manager.apply_leader_and_isr(states)
        return {tp: code for tp, code in answers.items() if code is not ErrorCode.NONE}

    async def _write(self, operations: Sequence[Operation]) -> None:
        """Writes as controller: refused by the store once another broker is it."""
        if self._epoch_version is None:
            raise KafkaError(ErrorCode.NOT_CONTROLLER)
        await self._store.multi([Check(znodes.CONTROLLER_EPOCH, self._epoch_version), *operations])

    def _draw(self, image: ClusterImage) -> Draw:
        topic_id = uuid_from(self._random_bytes(16))
        while topic_id in image.topic_names:
            topic_id = uuid_from(self._random_bytes(16))
        return Draw(topic_id, self._number(), self._number())

    def _number(self) -> int:
        return int.from_bytes(self._random_bytes(2), "big")


def _refusal(error: StoreError | KafkaError) -> KafkaError:
    return error if isinstance(error, KafkaError) else KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error))


def _partition_paths(tree: Mapping[str, Node]) -> Iterator[str]:
    """The parents of all partition states that ought to be there."""
    for path, node in tree.items():
        if path.startswith(f"{znodes.TOPICS}/") and path.count("/") == 3:
            for index in znodes.decode_topic(node.data).replicas:
                yield znodes.partition_path(path[len(znodes.TOPICS) + 1 :], index)


def _partitions(topic: TopicImage) -> list[TopicPartition]:
    return [TopicPartition(topic.name, index) for index in topic.partitions]


def _create_partition(topic: str, index: int, state: PartitionState) -> list[Operation]:
    return [
        Create(znodes.partition_path(topic, index)),
        Create(znodes.state_path(topic, index), znodes.encode_state(state)),
    ]


def _with_parents(paths: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")
        for depth in range(2, len(parts) + 1):
            found["/".join(parts[:depth])] = None
    return list(found)
