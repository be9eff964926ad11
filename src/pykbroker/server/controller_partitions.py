"""The controller and partitions: leaders are elected, brokers come and go, ISRs change. One reign's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from pykbroker.cluster.image import NO_LEADER, BrokerImage, PartitionState
from pykbroker.controller.leader_election import (
    elect,
    elect_for_shutdown,
    elect_preferred,
    first_state,
    without_replica,
)
from pykbroker.controller.requests import RequestBatch
from pykbroker.controller.states import PartitionPhase, ReplicaPhase
from pykbroker.metadata import znodes
from pykbroker.metadata.store import Create, Operation
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.controller_reign import Reign

log = logging.getLogger(__name__)

OPERATIONS_PER_WRITE = 1000
"""ZooKeeper takes a request of a megabyte."""
PREFERRED, UNCLEAN = 0, 1
"""The elections that ElectLeaders asks for (KIP-460)."""


class Partitions:
    """What one controller does with partitions and replicas."""

    def __init__(self, reign: Reign, is_unclean_allowed: Callable[[str], bool]) -> None:
        """`is_unclean_allowed` says a topic's `unclean.leader.election.enable`."""
        self._reign = reign
        self._context = reign.context
        self._is_unclean_allowed = is_unclean_allowed

    # ---- a new controller ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Says to every broker what it hosts, then has every partition led that can be."""
        context, batch = self._context, self._reign.batch()
        batch.update_metadata(context.reachable)
        for tp, state in context.partitions():
            live = context.live_for(tp)
            for broker in state.replicas:
                context.phases.move_replica(tp, broker, ReplicaPhase.ONLINE if broker in live else ReplicaPhase.OFFLINE)
            if state.partition_epoch < 0:
                context.phases.move(tp, PartitionPhase.NEW)
                continue
            led = state.leader in live
            context.phases.move(tp, PartitionPhase.ONLINE if led else PartitionPhase.OFFLINE)
            if led:
                batch.leader_and_isr((one for one in state.replicas if one in live), tp)
            else:
                batch.update_metadata(context.reachable, [tp])
        if len(context.reachable) > 1:
            first = self._reign.batch()  # They have to know each other's addresses before they follow each other.
            first.update_metadata(context.reachable)
            await self._reign.send(first)
        await self._reign.send(batch)
        await self.bring_online()
        await self._take_out_all_dead()

    async def _take_out_all_dead(self) -> None:
        """Brokers that went before this controller came leave the ISRs of partitions that others lead."""
        dead: dict[int, list[TopicPartition]] = {}
        for tp, state in self._context.partitions():
            live = self._context.live_for(tp)
            for broker in state.isr:
                if broker not in live and state.partition_epoch >= 0 and (len(state.isr) > 1 or state.leader == broker):
                    dead.setdefault(broker, []).append(tp)
        batch = self._reign.batch()
        for broker, tps in dead.items():
            await self._take_out(broker, tps, batch)
        await self._reign.send(batch)

    async def bring_online(self) -> None:
        """Tries all that are new or offline."""
        new, offline = [], []
        for tp, state in self._context.partitions():
            if state.partition_epoch < 0:
                new.append(tp)
            elif self._context.phases.partition(tp) is PartitionPhase.OFFLINE:
                offline.append(tp)
        batch = self._reign.batch()
        await self.make(new, batch)
        await self._elect_offline(offline, batch)
        await self._reign.send(batch)

    # ---- new partitions --------------------------------------------------------------------------------------------

    async def make(
        self, tps: Sequence[TopicPartition], batch: RequestBatch, before: Sequence[Operation] = ()
    ) -> list[TopicPartition]:
        """Gives new partitions their first leader and stores them, along with `before`; says which have one.

        One without any live replica stays new, and is tried again when a broker comes.
        """
        context = self._context
        made: dict[TopicPartition, PartitionState] = {}
        for tp in tps:
            state = context.state(tp)
            live = context.live_for(tp)
            if state is not None and any(node in live for node in state.replicas):
                first = first_state(state.replicas, live, context.epoch)
                made[tp] = first._replace(adding=state.adding, removing=state.removing)
        await self._store_first(made, before)
        context.update(made)
        for tp, state in made.items():
            for broker in state.replicas:
                online = ReplicaPhase.ONLINE if broker in state.isr else ReplicaPhase.OFFLINE
                if context.phases.replica(tp, broker) is not online:
                    context.phases.move_replica(tp, broker, online)
            context.phases.move(tp, PartitionPhase.ONLINE)
            batch.leader_and_isr(state.isr, tp, new=state.isr)
        return list(made)

    async def _store_first(self, made: Mapping[TopicPartition, PartitionState], before: Sequence[Operation]) -> None:
        operations: list[Operation] = list(before)
        parents = {f"{znodes.topic_path(tp.topic)}/partitions": None for tp in made}
        parents |= {znodes.partition_path(tp.topic, tp.partition): None for tp in made}
        there = await self._reign.store.find_many(list(parents)) if made and not before else {}
        for tp, state in made.items():
            for path in (f"{znodes.topic_path(tp.topic)}/partitions", znodes.partition_path(tp.topic, tp.partition)):
                if path in parents and path not in there:
                    operations.append(Create(path))
                parents.pop(path, None)
            operations.append(Create(znodes.state_path(tp.topic, tp.partition), znodes.encode_state(state)))
            if len(operations) >= OPERATIONS_PER_WRITE:
                await self._reign.write(operations)
                operations = []
        if operations:
            await self._reign.write(operations)

    # ---- elections -------------------------------------------------------------------------------------------------

    async def _elect_offline(
        self, tps: Iterable[TopicPartition], batch: RequestBatch, *, unclean: bool = False
    ) -> None:
        context = self._context

        def decide(tp: TopicPartition, state: PartitionState) -> PartitionState | None:
            allowed = unclean or self._is_unclean_allowed(tp.topic)
            return elect(state, context.live_for(tp), context.epoch, unclean=allowed)

        self._tell(await self._reign.change(tps, decide), batch)

    def _tell(self, changed: Mapping[TopicPartition, PartitionState], batch: RequestBatch) -> None:
        """Has the live replicas of partitions that changed, and everybody else, hear of it."""
        context = self._context
        for tp, state in changed.items():
            live = context.live_for(tp)
            led = state.leader != NO_LEADER
            context.phases.move(tp, PartitionPhase.ONLINE if led else PartitionPhase.OFFLINE)
            batch.leader_and_isr((one for one in state.replicas if one in live), tp)

    async def elect(self, tps: Iterable[TopicPartition], kind: int) -> dict[TopicPartition, KafkaError | None]:
        """ElectLeaders: the preferred leader, or any live replica for a partition that has none. None is success."""
        answers: dict[TopicPartition, KafkaError | None] = {}
        wanted = []
        for tp in tps:
            answers[tp] = self._refusal(tp, kind)
            if answers[tp] is None:
                wanted.append(tp)
        batch = self._reign.batch()
        if kind == PREFERRED:
            context = self._context
            changed = await self._reign.change(
                wanted, lambda tp, state: elect_preferred(state, context.live_for(tp), context.epoch)
            )
            self._tell(changed, batch)
        else:
            await self._elect_offline(wanted, batch, unclean=True)
        await self._reign.send(batch)
        return answers

    def _refusal(self, tp: TopicPartition, kind: int) -> KafkaError | None:
        context = self._context
        state = context.state(tp)
        if state is None:
            return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
        if tp.topic in context.doomed:
            return KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted")
        live = context.live_for(tp)
        preferred = state.replicas[0]
        if state.leader in live and (kind == UNCLEAN or state.leader == preferred):
            message = "Leader election not needed for topic partition."
            return KafkaError(ErrorCode.ELECTION_NOT_NEEDED, message)
        if kind == PREFERRED and not (preferred in live and preferred in state.isr):
            message = f"The preferred leader of partition {tp} is not alive or not in sync."
            return KafkaError(ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, message)
        if kind == UNCLEAN and not any(node in live for node in state.replicas):
            return KafkaError(ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, "No replica of the partition is alive.")
        return None

    # ---- brokers ---------------------------------------------------------------------------------------------------

    async def brokers_died(self, brokers: Sequence[int]) -> None:
        """Moves leaders away from brokers that are gone (from the image, too), and takes them out of ISRs."""
        context, batch = self._context, self._reign.batch()
        batch.update_metadata(context.reachable)
        for broker in brokers:
            hosted = context.hosted_by(broker)
            led = [tp for tp, state in hosted if state.leader == broker]
            for tp, _ in hosted:
                context.phases.move_replica(tp, broker, ReplicaPhase.OFFLINE)
            for tp in led:
                context.phases.move(tp, PartitionPhase.OFFLINE)
            await self._elect_offline(led, batch)
            await self._take_out(broker, [tp for tp, _ in hosted], batch)
        await self._reign.send(batch)

    async def _take_out(self, broker: int, tps: Iterable[TopicPartition], batch: RequestBatch) -> None:
        """Replicas of a broker leave the ISR, and leadership where nobody else could take it."""
        epoch = self._context.epoch
        self._tell(await self._reign.change(tps, lambda tp, state: without_replica(state, broker, epoch)), batch)

    async def brokers_joined(self, brokers: Sequence[BrokerImage]) -> None:
        """Tells new brokers everything and the others of them, then has their replicas follow or lead."""
        context = self._context
        ids = {broker.id for broker in brokers}
        news = self._reign.batch()
        news.update_metadata(one for one in context.reachable if one not in ids)
        news.update_metadata(ids, [tp for tp, _ in context.partitions()])
        await self._reign.send(news)
        batch = self._reign.batch()
        for broker in ids:
            for tp, state in context.hosted_by(broker):
                if broker in context.live_for(tp) and context.phases.replica(tp, broker) is not ReplicaPhase.NEW:
                    context.phases.move_replica(tp, broker, ReplicaPhase.ONLINE)
                if state.partition_epoch >= 0:
                    batch.leader_and_isr([broker], tp)
        await self._reign.send(batch)
        await self.bring_online()

    def brokers_changed(self) -> RequestBatch:
        """The list of brokers alone, for everybody."""
        batch = self._reign.batch()
        batch.update_metadata(self._context.reachable)
        return batch

    async def replicas_lost(self, lost: Sequence[tuple[int, TopicPartition]]) -> None:
        """Replicas whose data directory has failed: as if their broker had died, for them alone."""
        context, batch = self._context, self._reign.batch()
        for broker, tp in lost:
            state = context.state(tp)
            if state is None or tp.topic in context.doomed or broker in context.live_for(tp):
                continue
            log.warning("broker %d can't serve its replica of %s", broker, tp)
            context.phases.move_replica(tp, broker, ReplicaPhase.OFFLINE)
            if state.leader == broker:
                context.phases.move(tp, PartitionPhase.OFFLINE)
                await self._elect_offline([tp], batch)
            batch.update_metadata(context.reachable, [tp])
            await self._take_out(broker, [tp], batch)
        await self._reign.send(batch)

    async def shut_down(self, broker: int) -> list[TopicPartition]:
        """Moves leaders from a broker that is about to stop, and takes it out of ISRs; says what it still leads.

        Partitions of a single replica stay: nobody could take them.
        """
        context, batch = self._context, self._reign.batch()
        context.shutting_down.add(broker)
        hosted = [(tp, state) for tp, state in context.hosted_by(broker) if len(state.replicas) > 1]
        led = [tp for tp, state in hosted if state.leader == broker]
        changed = await self._reign.change(
            led, lambda tp, state: elect_for_shutdown(state, context.live_for(tp), context.epoch)
        )
        self._tell(changed, batch)
        followed = [tp for tp, state in hosted if tp not in led]
        for tp in (*changed, *followed):
            # Kafka has it follow where it led; it would only come into the ISR again, and go with it.
            batch.stop_replica(broker, tp, delete=False)
            context.phases.move_replica(tp, broker, ReplicaPhase.OFFLINE)
        await self._take_out(broker, followed, batch)
        await self._reign.send(batch)
        return [tp for tp, state in context.hosted_by(broker) if state.leader == broker and len(state.replicas) > 1]

    # ---- ISRs ------------------------------------------------------------------------------------------------------

    async def isr_changed(self, tps: Sequence[TopicPartition]) -> None:
        """Leaders have changed ISRs: read them, tell everybody."""
        known = [tp for tp in dict.fromkeys(tps) if self._context.state(tp) is not None]
        found = await self._reign.read_states(known)
        batch = self._reign.batch()
        batch.update_metadata(self._context.reachable, found)
        await self._reign.send(batch)
