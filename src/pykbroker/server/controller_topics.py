"""The controller and topics: they are made, they grow, they are deleted. One reign's.

What may be made is decided in `controller.topics`. A topic that appears in the store, or grows there, by another's hand
is taken up all the same: brokers create topics for clients that ask for metadata, and so do older tools.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

import trio

from pykbroker.cluster.image import PartitionState, TopicImage, uuid_text
from pykbroker.controller.leader_election import first_state
from pykbroker.controller.states import PartitionPhase, ReplicaPhase
from pykbroker.metadata import znodes
from pykbroker.metadata.store import BadVersion, Create, Delete, MetadataStore, Node, Operation, Set
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.controller_partitions import OPERATIONS_PER_WRITE, Partitions
from pykbroker.server.controller_reign import Reign
from pykbroker.server.metadata_cache import MetadataCache

log = logging.getLogger(__name__)

UNKNOWN_ID = UUID(int=0)


class _Deletion:
    """A topic that is being deleted: which replicas still have data, and who waits for its end."""

    def __init__(self, topic: TopicImage) -> None:
        self.waiting = {
            (TopicPartition(topic.name, index), broker)
            for index, state in topic.partitions.items()
            for broker in state.replicas
        }
        self.error: KafkaError | None = None
        self.done = trio.Event()


class Topics:
    """What one controller does with topics."""

    def __init__(self, reign: Reign, partitions: Partitions, metadata: MetadataCache) -> None:
        self._reign = reign
        self._context = reign.context
        self._partitions = partitions
        self._metadata = metadata
        self._deletions: dict[str, _Deletion] = {}

    # ---- made and grown --------------------------------------------------------------------------------------------

    async def make(self, topics: Sequence[TopicImage]) -> dict[str, KafkaError]:
        """Stores topics and has them led; says why not: what this broker alone was to host and can't is taken back."""
        before: list[Operation] = []
        for topic in topics:
            if topic.config:
                before.append(await _config_operation(self._reign.store, topic))
            before.append(Create(znodes.topic_path(topic.name), znodes.encode_topic(topic)))
        for topic in topics:
            self._metadata.set_overrides(topic.name, topic.config)
        self._adopt(topics)
        batch = self._reign.batch()
        tps = [TopicPartition(topic.name, index) for topic in topics for index in topic.partitions]
        try:
            await self._partitions.make(tps, batch, before)
        except BaseException:
            self._disown(topics)
            raise
        await self._reign.send(batch)
        failed = await self._take_back()
        for topic in topics:
            if topic.name not in failed:
                count, topic_id = len(topic.partitions), uuid_text(topic.topic_id)
                log.info("created topic %s, %d partition(s), id %s", topic.name, count, topic_id)
        return failed

    def _adopt(self, topics: Sequence[TopicImage]) -> None:
        self._context.add_topics(
            topic._replace(
                partitions={index: one._replace(partition_epoch=-1) for index, one in topic.partitions.items()},
            )
            for topic in topics
        )
        for topic in topics:
            self._enter(topic.name, topic.partitions)

    def _enter(self, name: str, states: Mapping[int, PartitionState]) -> None:
        phases = self._context.phases
        for index, state in states.items():
            tp = TopicPartition(name, index)
            phases.move(tp, PartitionPhase.NEW)
            for broker in state.replicas:
                phases.move_replica(tp, broker, ReplicaPhase.NEW)

    def _disown(self, topics: Sequence[TopicImage]) -> None:
        """What couldn't be stored was never there."""
        for topic in topics:
            for index, state in topic.partitions.items():
                self._forget(TopicPartition(topic.name, index), state)
            self._context.remove_topic(topic.name)

    def _forget(self, tp: TopicPartition, state: PartitionState) -> None:
        phases = self._context.phases
        if phases.partition(tp) is not PartitionPhase.OFFLINE:
            phases.move(tp, PartitionPhase.OFFLINE)
        for broker in state.replicas:
            phases.drop_replica(tp, broker)
        phases.move(tp, PartitionPhase.NON_EXISTENT)

    async def _take_back(self) -> dict[str, KafkaError]:
        """Topics that this broker alone was to host and can't."""
        me = self._context.controller_id
        failed: dict[str, KafkaError] = {}
        for broker, tp in self._reign.lost_replicas:
            state = self._context.state(tp)
            if broker == me and state is not None and state.replicas == (me,) and tp.topic not in failed:
                message = f"The log of partition {tp.partition} could not be made."
                failed[tp.topic] = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, message)
        self._reign.lost_replicas = [one for one in self._reign.lost_replicas if one[1].topic not in failed]
        for name in failed:
            await self._reign.write([Create(znodes.deletion_path(name))])
            await self.doom([name])
        return failed

    async def grow(self, name: str, added: Mapping[int, PartitionState]) -> None:
        """Adds partitions to a topic; raises KafkaError where one can't be led by this broker alone."""
        topic = self._context.image.topics[name]
        grown = topic._replace(partitions={**topic.partitions, **added})
        before = [Set(znodes.topic_path(name), znodes.encode_topic(grown))]
        batch = self._reign.batch()
        self._context.update({TopicPartition(name, index): _unstored(one) for index, one in added.items()})
        self._enter(name, added)
        tps = [TopicPartition(name, index) for index in added]
        parents = f"{znodes.topic_path(name)}/partitions"
        there = await self._reign.store.find(parents) is not None
        try:
            await self._reign.write(before if there else [*before, Create(parents)])
        except BaseException:
            for index, state in added.items():
                self._forget(TopicPartition(name, index), state)
            self._context.add_topics([topic])
            raise
        await self._partitions.make(tps, batch)
        await self._reign.send(batch)
        for broker, tp in self._reign.lost_replicas:
            if broker == self._context.controller_id and tp in tps:
                message = f"The log of partition {tp.partition} could not be made."
                raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, message)

    async def found(self, topics: Sequence[TopicImage]) -> None:
        """Topics that somebody else has put into the store, or has put partitions into."""
        for topic in topics:
            known = self._context.image.topics.get(topic.name)
            if known is None:
                self._adopt([topic])
                continue
            added = {index: one for index, one in topic.partitions.items() if index not in known.partitions}
            if added:
                states = {TopicPartition(topic.name, index): _unstored(one) for index, one in added.items()}
                self._context.update(states)
                self._enter(topic.name, added)
        await self._partitions.bring_online()

    # ---- deleted ---------------------------------------------------------------------------------------------------

    async def doom(self, names: Sequence[str]) -> None:
        """Begins to delete topics whose mark is stored."""
        batch = self._reign.batch()
        for name in names:
            topic = self._context.image.topics.get(name)
            if topic is None:
                await self._erase(name)
            elif name not in self._context.doomed:
                self._context.doomed.add(name)
                self._deletions[name] = _Deletion(topic)
                tps = [TopicPartition(name, index) for index in topic.partitions]
                for tp in tps:
                    for broker in topic.partitions[tp.partition].replicas:
                        if self._context.phases.replica(tp, broker) is not ReplicaPhase.OFFLINE:
                            self._context.phases.move_replica(tp, broker, ReplicaPhase.OFFLINE)
                    self._context.phases.move(tp, PartitionPhase.OFFLINE)
                batch.update_metadata(self._context.reachable, tps)
        await self._reign.send(batch)
        await self.resume_deletions()

    async def resume_deletions(self) -> None:
        """Has every replica of a doomed topic deleted, where all its brokers are there."""
        batch = self._reign.batch()
        phases = self._context.phases
        for name, deletion in list(self._deletions.items()):
            if not deletion.waiting:
                await self._finish(name)
                continue
            if any(broker not in self._context.image.brokers for _, broker in deletion.waiting):
                continue
            for tp, broker in sorted(deletion.waiting):
                if phases.replica(tp, broker) is ReplicaPhase.DELETION_INELIGIBLE:
                    phases.move_replica(tp, broker, ReplicaPhase.OFFLINE)
                if phases.replica(tp, broker) is ReplicaPhase.OFFLINE:
                    phases.move_replica(tp, broker, ReplicaPhase.DELETION_STARTED)
                    batch.stop_replica(broker, tp, delete=True)
        await self._reign.send(batch)
        await self.replicas_deleted()

    async def replicas_deleted(self) -> None:
        """Takes answers to deletions in; what has no replica left is taken out of the store."""
        answers, self._reign.deleted_replicas = self._reign.deleted_replicas, []
        phases = self._context.phases
        for broker, tp, code in answers:
            deletion = self._deletions.get(tp.topic)
            if deletion is None or phases.replica(tp, broker) is not ReplicaPhase.DELETION_STARTED:
                continue
            if code is ErrorCode.NONE:
                phases.move_replica(tp, broker, ReplicaPhase.DELETION_SUCCESSFUL)
                deletion.waiting.discard((tp, broker))
                continue
            log.error("broker %d can't remove the data of %s: %s; a later try may", broker, tp, code.name)
            phases.move_replica(tp, broker, ReplicaPhase.DELETION_INELIGIBLE)
            message = f"The data of partition {tp.partition} could not be removed."
            deletion.error = KafkaError(code, message)
            deletion.done.set()
        for name, deletion in list(self._deletions.items()):
            if not deletion.waiting:
                await self._finish(name)

    async def _finish(self, name: str) -> None:
        deletion, topic = self._deletions.pop(name), self._context.image.topics[name]
        await self._erase(name)
        for index, state in topic.partitions.items():
            tp = TopicPartition(name, index)
            for broker in state.replicas:
                self._context.phases.move_replica(tp, broker, ReplicaPhase.NON_EXISTENT)
            self._context.phases.move(tp, PartitionPhase.NON_EXISTENT)
        self._context.remove_topic(name)
        deletion.done.set()
        log.info("deleted topic %s", name)

    async def _erase(self, name: str) -> None:
        """Takes what the store has of a topic away, its mark last."""
        below = await self._reign.store.subtree(znodes.topic_path(name))
        last = [znodes.topic_path(name), znodes.config_path(name), znodes.deletion_path(name)]
        there = await self._reign.store.find_many(last)
        paths = [*reversed(below), *(one for one in last if one in there)]
        for first in range(0, len(paths), OPERATIONS_PER_WRITE):
            await self._reign.write([Delete(path) for path in paths[first : first + OPERATIONS_PER_WRITE]])

    async def wait_for_deletion(self, name: str, timeout: float) -> KafkaError | None:
        """How a deletion ended; REQUEST_TIMED_OUT where it goes on after `timeout` seconds."""
        deletion = self._deletions.get(name)
        if deletion is None:
            return None
        with trio.move_on_after(timeout):
            await deletion.done.wait()
            return deletion.error
        return KafkaError(ErrorCode.REQUEST_TIMED_OUT, "A replica of the topic can't be deleted yet; it will be.")

    def failure(self, name: str) -> KafkaError | None:
        """Why the data of a topic being deleted couldn't be removed, if it has failed so far."""
        deletion = self._deletions.get(name)
        return None if deletion is None else deletion.error

    def brokers_died(self, brokers: Sequence[int]) -> None:
        """What they were deleting waits until they are back."""
        for deletion in self._deletions.values():
            for tp, broker in deletion.waiting:
                if broker in brokers and self._context.phases.replica(tp, broker) is ReplicaPhase.DELETION_STARTED:
                    self._context.phases.move_replica(tp, broker, ReplicaPhase.DELETION_INELIGIBLE)

    def end(self) -> None:
        """The reign is over: whoever waits for a deletion is told to ask the next controller."""
        for deletion in self._deletions.values():
            deletion.error = KafkaError(ErrorCode.NOT_CONTROLLER)
            deletion.done.set()


def _unstored(state: PartitionState) -> PartitionState:
    return state._replace(partition_epoch=-1)


async def _config_operation(store: MetadataStore, topic: TopicImage) -> Operation:
    """Stores a new topic's config, over one that a topic of this name has left."""
    path, data = znodes.config_path(topic.name), znodes.encode_config(topic.config)
    return Set(path, data) if await store.find(path) is not None else Create(path, data)


async def read_topics(store: MetadataStore, names: Sequence[str]) -> list[TopicImage]:
    """Topics as the store has them, with ids and states; -1 is the partition epoch where there is no state yet."""
    nodes = await store.find_many([znodes.topic_path(name) for name in names])
    topics = {name: znodes.decode_topic(node.data) for name in names if (node := nodes.get(znodes.topic_path(name)))}
    paths = [znodes.state_path(name, index) for name, topic in topics.items() for index in topic.replicas]
    states = await store.find_many(paths)
    return [_image(name, topic, states) for name, topic in topics.items()]


def _image(name: str, topic: znodes.TopicNode, states: Mapping[str, Node]) -> TopicImage:
    partitions = {}
    for index, replicas in sorted(topic.replicas.items()):
        adding, removing = topic.adding.get(index, ()), topic.removing.get(index, ())
        node = states.get(znodes.state_path(name, index))
        if node is None:
            partitions[index] = _unstored(first_state(replicas, (), 0))._replace(adding=adding, removing=removing)
        else:
            partitions[index] = znodes.decode_state(node.data, node.stat.version, replicas, adding, removing)
    return TopicImage(name, topic.topic_id or UNKNOWN_ID, partitions)


async def give_ids(reign: Reign, topics: Sequence[TopicImage], draw: Sequence[UUID]) -> list[TopicImage]:
    """Topics of releases before 2.8 get their ids now; raises what `write` does."""
    ids = iter(draw)
    named = []
    for topic in topics:
        if topic.topic_id != UNKNOWN_ID:
            named.append(topic)
            continue
        topic = topic._replace(topic_id=next(ids))
        try:
            await reign.write([Set(znodes.topic_path(topic.name), znodes.encode_topic(topic))])
        except BadVersion:
            continue
        named.append(topic)
    return named
