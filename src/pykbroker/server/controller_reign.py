"""One broker's time as controller: what it knows, its conditional writes, and its word to the brokers.

Every write is refused by the store once another broker is controller; then, and where something can't be true, the
reign is over and nothing of it is kept. What to do in which case stands in the `controller_*` modules beside this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from pykbroker.cluster.image import PartitionState
from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.context import ControllerContext
from pykbroker.controller.requests import VERSIONS, RequestBatch
from pykbroker.metadata import znodes
from pykbroker.metadata.store import BadVersion, Check, MetadataStore, Operation, Result, Set
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.control_requests import ControlRequests
from pykbroker.server.controller_channels import ControllerChannels

log = logging.getLogger(__name__)

STATES_PER_WRITE = 200

Decide = Callable[[TopicPartition, PartitionState], PartitionState | None]
"""The next state of a partition, None where it stays."""


class Fenced(Exception):
    """Another broker is controller."""


class Reign:
    """What all parts of an active controller share; used by one event at a time."""

    def __init__(
        self,
        config: BrokerConfig,
        store: MetadataStore,
        context: ControllerContext,
        epoch_version: int,
        control: ControlRequests,
        channels: ControllerChannels | None,
    ) -> None:
        """`epoch_version` is that of `/controller_epoch` as this controller left it; `control` is this very broker."""
        self.config = config
        self.store = store
        self.context = context
        self.channels = channels
        self._epoch_version = epoch_version
        self._control = control
        self.lost_replicas: list[tuple[int, TopicPartition]] = []
        """Broker and partition of replicas whose data directory turned out to have failed."""
        self.deleted_replicas: list[tuple[int, TopicPartition, ErrorCode]] = []
        """Answers to deletions."""

    @property
    def epoch(self) -> int:
        """The controller epoch."""
        return self.context.epoch

    # ---- the store -------------------------------------------------------------------------------------------------

    async def write(self, operations: Sequence[Operation]) -> list[Result]:
        """Writes as controller; raises Fenced once another broker is it, else what the store does."""
        try:
            results = await self.store.multi([Check(znodes.CONTROLLER_EPOCH, self._epoch_version), *operations])
        except BadVersion as error:
            if error.path == znodes.CONTROLLER_EPOCH:
                raise Fenced from None
            raise
        return results[1:]

    async def change(self, tps: Iterable[TopicPartition], decide: Decide) -> dict[TopicPartition, PartitionState]:
        """Stores the next states of some partitions; says those that changed.

        One that a leader has changed meanwhile is read and decided upon again.
        """
        changed: dict[TopicPartition, PartitionState] = {}
        waiting = {tp: state for tp in tps if (state := self.context.state(tp)) is not None}
        while waiting:
            decided = [(tp, new) for tp, state in waiting.items() if (new := decide(tp, state)) is not None]
            waiting = {}
            for first in range(0, len(decided), STATES_PER_WRITE):
                chunk = decided[first : first + STATES_PER_WRITE]
                try:
                    await self.write([_set(tp, state) for tp, state in chunk])
                except BadVersion:
                    waiting |= await self.read_states([tp for tp, _ in chunk])
                    continue
                written = {tp: state._replace(partition_epoch=state.partition_epoch + 1) for tp, state in chunk}
                self.context.update(written)
                changed |= written
        return changed

    async def read_states(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, PartitionState]:
        """Takes over what the store says of some partitions; raises Fenced where a later controller has been at it."""
        paths = {znodes.state_path(tp.topic, tp.partition): tp for tp in tps}
        found: dict[TopicPartition, PartitionState] = {}
        for path, node in (await self.store.find_many(list(paths))).items():
            tp = paths[path]
            known = self.context.state(tp)
            if known is None:
                continue
            stored = znodes.decode_state(node.data, node.stat.version, known.replicas)
            if stored.controller_epoch > self.epoch:
                raise Fenced
            found[tp] = stored._replace(adding=known.adding, removing=known.removing)
        self.context.update(found)
        return found

    # ---- brokers ---------------------------------------------------------------------------------------------------

    def batch(self) -> RequestBatch:
        """What brokers have to be told, to be filled."""
        return RequestBatch(self.context, self.config.inter_broker_listener)

    async def send(self, batch: RequestBatch) -> None:
        """Tells the others by and by, and this broker now."""
        own: list[Message] = []
        for broker, requests in batch.requests().items():
            if broker == self.context.controller_id:
                own = requests
            elif self.channels is not None:
                self.channels.send(broker, requests)
        for request in own:
            answer = await self._control.handle(request, VERSIONS[type(request)])
            self.answered(self.context.controller_id, request, answer)

    def answered(self, broker: int, request: Message, answer: Message) -> None:
        """Takes note of an answer; raises Fenced where a broker knows a later controller."""
        code = getattr(answer, "error_code", ErrorCode.NONE)
        if code == ErrorCode.STALE_CONTROLLER_EPOCH:
            raise Fenced
        if code != ErrorCode.NONE:
            log.info("broker %d answers %s to %s", broker, ErrorCode(code).name, type(request).__name__)
            return
        if isinstance(request, LeaderAndIsrRequest) and isinstance(answer, LeaderAndIsrResponse):
            self._leader_and_isr_answered(broker, request, answer)
        if isinstance(request, StopReplicaRequest) and isinstance(answer, StopReplicaResponse):
            deleted = {
                TopicPartition(topic.topic_name, one.partition_index)
                for topic in request.topic_states
                for one in topic.partition_states
                if one.delete_partition
            }
            for error in answer.partition_errors:
                tp = TopicPartition(error.topic_name, error.partition_index)
                if tp in deleted:
                    self.deleted_replicas.append((broker, tp, ErrorCode(error.error_code)))

    def _leader_and_isr_answered(self, broker: int, request: LeaderAndIsrRequest, answer: LeaderAndIsrResponse) -> None:
        names = {topic.topic_id: topic.topic_name for topic in request.topic_states}
        offline = self.context.offline_replicas.setdefault(broker, set())
        for topic in answer.topics:
            for error in topic.partition_errors:
                tp = TopicPartition(names[topic.topic_id], error.partition_index)
                if error.error_code == ErrorCode.KAFKA_STORAGE_ERROR:
                    if tp not in offline:
                        offline.add(tp)
                        self.lost_replicas.append((broker, tp))
                elif error.error_code == ErrorCode.NONE:
                    offline.discard(tp)
                elif error.error_code != ErrorCode.STALE_CONTROLLER_EPOCH:
                    log.warning("broker %d answers %s for %s", broker, ErrorCode(error.error_code).name, tp)


def _set(tp: TopicPartition, state: PartitionState) -> Set:
    return Set(znodes.state_path(tp.topic, tp.partition), znodes.encode_state(state), state.partition_epoch)
