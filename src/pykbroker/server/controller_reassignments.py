"""The controller and reassignments: replicas are added, awaited, and others taken away. One reign's.

Which replicas a partition may get, and when it has them, is decided in `controller.reassignment`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from pykbroker.cluster.image import PartitionState
from pykbroker.controller.leader_election import elect_for_reassignment
from pykbroker.controller.reassignment import begun, check_target, ended, is_caught_up, origin, target
from pykbroker.controller.requests import RequestBatch
from pykbroker.controller.states import PartitionPhase, ReplicaPhase
from pykbroker.metadata import znodes
from pykbroker.metadata.store import Delete, Set
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.controller_reign import Reign

log = logging.getLogger(__name__)

Answers = dict[TopicPartition, KafkaError | None]
Wanted = Mapping[TopicPartition, tuple[int, ...] | None]
"""New replicas by partition; None cancels."""


class Reassignments:
    """What one controller does with partitions whose replicas change."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._context = reign.context

    def under_way(self) -> dict[TopicPartition, PartitionState]:
        """Every partition whose replicas are changing."""
        return {tp: state for tp, state in self._context.partitions() if state.adding or state.removing}

    async def alter(self, wanted: Wanted, *, allow_factor_change: bool = True) -> Answers:
        """Begins, replaces or cancels reassignments; answers for each None or why not."""
        answers: Answers = {}
        for tp, replicas in wanted.items():
            try:
                await self._begin(tp, self._target(tp, replicas, allow_factor_change))
                answers[tp] = None
            except KafkaError as error:
                answers[tp] = error
        await self.advance([tp for tp, error in answers.items() if error is None])
        return answers

    def _target(
        self, tp: TopicPartition, replicas: tuple[int, ...] | None, allow_factor_change: bool
    ) -> tuple[int, ...]:
        state = self._context.state(tp)
        if state is None or tp.topic in self._context.doomed:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
        if replicas is None:
            if not (state.adding or state.removing):
                raise KafkaError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress.")
            return origin(state)
        check_target(state, replicas, self._context.live, allow_factor_change=allow_factor_change)
        return replicas

    async def _begin(self, tp: TopicPartition, wanted: tuple[int, ...]) -> None:
        """Stores old and new replicas; has the old ones keep on and the new ones begin."""
        context, batch = self._context, self._reign.batch()
        before = context.state(tp)
        if before is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        planned = begun(before, wanted, context.epoch)
        await self._store_topic(tp, planned)
        changed = await self._reign.change([tp], lambda _, state: begun(state, wanted, context.epoch))
        state = changed[tp]
        log.info("the replicas of %s become %s", tp, list(wanted))
        for broker in before.replicas:
            if broker not in state.replicas:
                batch.stop_replica(broker, tp, delete=True)
                context.phases.drop_replica(tp, broker)
        for broker in state.adding:
            if context.phases.replica(tp, broker) is ReplicaPhase.NON_EXISTENT:
                context.phases.move_replica(tp, broker, ReplicaPhase.NEW)
        if state.leader not in state.replicas and not is_caught_up(state):
            await self._elect(tp, state.replicas)
        batch.leader_and_isr(state.replicas, tp, new=state.adding)
        await self._reign.send(batch)

    async def _elect(self, tp: TopicPartition, replicas: tuple[int, ...]) -> None:
        """A cancelled reassignment's new replica may lead by now: one that stays takes over."""
        context = self._context
        live = context.live_for(tp)
        await self._reign.change([tp], lambda _, state: elect_for_reassignment(state, replicas, live, context.epoch))

    async def _store_topic(self, tp: TopicPartition, state: PartitionState) -> None:
        topic = self._context.image.topics[tp.topic]
        after = topic._replace(partitions={**topic.partitions, tp.partition: state})
        await self._reign.write([Set(znodes.topic_path(tp.topic), znodes.encode_topic(after))])

    async def advance(self, tps: Sequence[TopicPartition]) -> None:
        """Ends those reassignments whose new replicas are all in sync by now."""
        for tp in tps:
            state = self._context.state(tp)
            if state is None or tp.topic in self._context.doomed or not is_caught_up(state):
                continue
            if state.adding or state.removing or state.leader not in state.replicas:
                await self._end(tp, state)

    async def _end(self, tp: TopicPartition, state: PartitionState) -> None:
        context, batch = self._context, self._reign.batch()
        final, going = target(state), state.removing
        live = context.live_for(tp)
        changed = await self._reign.change(
            [tp], lambda _, current: elect_for_reassignment(current, final, live, context.epoch)
        )
        if tp not in changed:
            log.warning("the reassignment of %s has to wait: none of %s can lead", tp, list(final))
            return
        context.update({tp: ended(changed[tp])})
        if context.phases.partition(tp) is PartitionPhase.OFFLINE:
            context.phases.move(tp, PartitionPhase.ONLINE)
        self._settle(tp, final, going, batch)
        await self._reign.send(batch)
        await self._store_topic(tp, ended(changed[tp]))
        await self._prune_legacy(tp)
        log.info("the replicas of %s are now %s", tp, list(final))

    def _settle(self, tp: TopicPartition, final: Sequence[int], going: Sequence[int], batch: RequestBatch) -> None:
        phases = self._context.phases
        for broker in final:
            if phases.replica(tp, broker) in (ReplicaPhase.NEW, ReplicaPhase.OFFLINE):
                phases.move_replica(tp, broker, ReplicaPhase.ONLINE)
        batch.leader_and_isr(final, tp)
        for broker in going:
            batch.stop_replica(broker, tp, delete=True)
            phases.drop_replica(tp, broker)

    # ---- the way of tools before 2.4 -------------------------------------------------------------------------------

    async def read_legacy(self) -> None:
        """Takes up what `/admin/reassign_partitions` asks for; what can't be is dropped from it."""
        node = await self._reign.store.find(znodes.REASSIGN)
        if node is None:
            return
        wanted = znodes.decode_reassignments(node.data)
        fresh = {tp: replicas for tp, replicas in wanted.items() if not self._is_for(tp, replicas)}
        for tp, error in (await self.alter(fresh)).items():
            if error is not None:
                log.warning("can't reassign %s as asked for: %s", tp, error.message or error.code.name)
                await self._prune_legacy(tp)

    def _is_for(self, tp: TopicPartition, replicas: tuple[int, ...]) -> bool:
        state = self._context.state(tp)
        return state is not None and bool(state.adding or state.removing) and target(state) == replicas

    async def _prune_legacy(self, tp: TopicPartition) -> None:
        node = await self._reign.store.find(znodes.REASSIGN)
        if node is None:
            return
        left = {one: replicas for one, replicas in znodes.decode_reassignments(node.data).items() if one != tp}
        data = znodes.encode_reassignments(left)
        await self._reign.write([Set(znodes.REASSIGN, data) if left else Delete(znodes.REASSIGN)])
