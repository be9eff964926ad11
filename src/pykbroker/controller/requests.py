"""What brokers have to be told: LeaderAndIsr, UpdateMetadata and StopReplica, collected over one change.

Each broker gets them in this order; whatever is in a LeaderAndIsr is in everybody's UpdateMetadata, too.
It sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pykbroker.cluster.image import BrokerImage, PartitionState
from pykbroker.controller.context import ControllerContext
from pykbroker.protocol.message import ZERO_UUID, Message
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrPartitionState, LeaderAndIsrRequest
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest
from pykbroker.protocol.messages.update_metadata import UpdateMetadataPartitionState, UpdateMetadataRequest
from pykbroker.protocol.topic_partition import TopicPartition

LEADER_DURING_DELETE = -2
EPOCH_DURING_DELETE = -2
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
"""By Kafka's number."""

VERSIONS = {LeaderAndIsrRequest: 7, UpdateMetadataRequest: 8, StopReplicaRequest: 4}
"""Those of inter.broker.protocol.version 3.4 to 3.9."""


class RequestBatch:
    """The requests that come of one change."""

    def __init__(self, context: ControllerContext, listener: str) -> None:
        """`listener` is the name of the one between brokers."""
        self._context = context
        self._listener = listener
        self._leader_and_isr: dict[int, dict[TopicPartition, bool]] = {}
        self._metadata: dict[int, dict[TopicPartition, None]] = {}
        self._stop: dict[int, dict[TopicPartition, tuple[int, bool]]] = {}

    def leader_and_isr(self, brokers: Iterable[int], tp: TopicPartition, *, new: Iterable[int] = ()) -> None:
        """Tells brokers that are reachable about a partition's leader; for those in `new` the replica is a new one."""
        new = set(new)
        for broker in brokers:
            if broker in self._context.image.brokers:
                told = self._leader_and_isr.setdefault(broker, {})
                told[tp] = told.get(tp, False) or broker in new
        self.update_metadata(self._context.reachable, [tp])

    def update_metadata(self, brokers: Iterable[int], tps: Iterable[TopicPartition] = ()) -> None:
        """Tells brokers about partitions; about the list of brokers in any case."""
        tps = list(tps)
        for broker in brokers:
            if broker in self._context.image.brokers:
                self._metadata.setdefault(broker, {}).update(dict.fromkeys(tps))

    def stop_replica(self, broker: int, tp: TopicPartition, *, delete: bool) -> None:
        """Has a broker that is reachable give a replica up, or delete it."""
        if broker not in self._context.image.brokers:
            return
        state = self._context.state(tp)
        epoch = EPOCH_DURING_DELETE if tp.topic in self._context.doomed else -1 if state is None else state.leader_epoch
        self._stop.setdefault(broker, {})[tp] = epoch, delete

    def requests(self) -> dict[int, list[Message]]:
        """What each broker is sent, in order."""
        found: dict[int, list[Message]] = {}
        for broker, told in self._leader_and_isr.items():
            found.setdefault(broker, []).append(self._make_leader_and_isr(broker, told))
        for broker, tps in self._metadata.items():
            found.setdefault(broker, []).append(self._make_update_metadata(broker, tps))
        for broker, stops in self._stop.items():
            found.setdefault(broker, []).append(self._make_stop_replica(broker, stops))
        return found

    def _make_leader_and_isr(self, broker: int, told: Mapping[TopicPartition, bool]) -> LeaderAndIsrRequest:
        context = self._context
        topics: dict[str, LeaderAndIsrRequest.TopicState] = {}
        leaders: set[int] = set()
        for tp, is_new in told.items():
            state, topic = context.state(tp), context.image.topics.get(tp.topic)
            if state is None or topic is None:
                continue
            leaders.add(state.leader)
            one = topics.get(tp.topic)
            if one is None:
                one = LeaderAndIsrRequest.TopicState(topic_name=tp.topic, topic_id=topic.topic_id)
                topics[tp.topic] = one
            one.partition_states.append(_leader_state(tp.partition, state, is_new))
        return LeaderAndIsrRequest(
            controller_id=context.controller_id,
            controller_epoch=context.epoch,
            broker_epoch=context.image.brokers[broker].epoch,
            topic_states=list(topics.values()),
            live_leaders=[
                self._live_leader(context.image.brokers[one]) for one in leaders & context.image.brokers.keys()
            ],
        )

    def _live_leader(self, broker: BrokerImage) -> LeaderAndIsrRequest.LiveLeader:
        endpoint = broker.endpoints.get(self._listener)
        if endpoint is None:
            return LeaderAndIsrRequest.LiveLeader(broker_id=broker.id, host_name="", port=-1)
        return LeaderAndIsrRequest.LiveLeader(broker_id=broker.id, host_name=endpoint.host, port=endpoint.port)

    def _make_update_metadata(self, broker: int, tps: Iterable[TopicPartition]) -> UpdateMetadataRequest:
        context = self._context
        topics: dict[str, UpdateMetadataRequest.TopicState] = {}
        for tp in tps:
            state, topic = context.state(tp), context.image.topics.get(tp.topic)
            one = topics.get(tp.topic)
            if one is None:
                topic_id = ZERO_UUID if topic is None else topic.topic_id
                one = topics[tp.topic] = UpdateMetadataRequest.TopicState(topic_name=tp.topic, topic_id=topic_id)
            one.partition_states.append(self._metadata_state(tp, state))
        return UpdateMetadataRequest(
            controller_id=context.controller_id,
            controller_epoch=context.epoch,
            broker_epoch=context.image.brokers[broker].epoch,
            topic_states=list(topics.values()),
            live_brokers=[_live_broker(one) for one in context.image.brokers.values()],
        )

    def _metadata_state(self, tp: TopicPartition, state: PartitionState | None) -> UpdateMetadataPartitionState:
        if state is None or tp.topic in self._context.doomed:
            return UpdateMetadataPartitionState(
                partition_index=tp.partition, controller_epoch=self._context.epoch, leader=LEADER_DURING_DELETE
            )
        live = self._context.live_for(tp) | self._context.shutting_down
        return UpdateMetadataPartitionState(
            partition_index=tp.partition,
            controller_epoch=state.controller_epoch,
            leader=state.leader,
            leader_epoch=state.leader_epoch,
            isr=list(state.isr),
            zk_version=state.partition_epoch,
            replicas=list(state.replicas),
            offline_replicas=[node for node in state.replicas if node not in live],
        )

    def _make_stop_replica(self, broker: int, stops: Mapping[TopicPartition, tuple[int, bool]]) -> StopReplicaRequest:
        topics: dict[str, StopReplicaRequest.TopicState] = {}
        for tp, (epoch, delete) in stops.items():
            one = topics.setdefault(tp.topic, StopReplicaRequest.TopicState(topic_name=tp.topic))
            one.partition_states.append(
                StopReplicaRequest.TopicState.PartitionState(
                    partition_index=tp.partition, leader_epoch=epoch, delete_partition=delete
                )
            )
        return StopReplicaRequest(
            controller_id=self._context.controller_id,
            controller_epoch=self._context.epoch,
            broker_epoch=self._context.image.brokers[broker].epoch,
            topic_states=list(topics.values()),
        )


def _leader_state(index: int, state: PartitionState, is_new: bool) -> LeaderAndIsrPartitionState:
    return LeaderAndIsrPartitionState(
        partition_index=index,
        controller_epoch=state.controller_epoch,
        leader=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        partition_epoch=state.partition_epoch,
        replicas=list(state.replicas),
        adding_replicas=list(state.adding),
        removing_replicas=list(state.removing),
        is_new=is_new,
    )


def _live_broker(broker: BrokerImage) -> UpdateMetadataRequest.LiveBroker:
    return UpdateMetadataRequest.LiveBroker(
        id=broker.id,
        endpoints=[
            UpdateMetadataRequest.LiveBroker.Endpoint(
                port=one.port,
                host=one.host,
                listener=name,
                security_protocol=SECURITY_PROTOCOLS.index(one.security_protocol),
            )
            for name, one in broker.endpoints.items()
        ],
        rack=broker.rack,
    )
