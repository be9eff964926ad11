"""The controller's requests: every version that there ever was, and none of it for a broker alone."""

from typing import Any
from uuid import UUID

import pytest

from pykbroker.apis import CLUSTER_ALONE
from pykbroker.apis.inter_broker import controlled_shutdown, leader_and_isr, stop_replica, update_metadata
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrRequest
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest
from pykbroker.protocol.messages.update_metadata import UpdateMetadataRequest
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 0)
ID = UUID(int=5)


def decision(version: int, *, leader: int = 1, epoch: int = 3) -> LeaderAndIsrRequest:
    state = LeaderAndIsrRequest.PartitionState(
        partition_index=0, controller_epoch=1, leader=leader, leader_epoch=epoch, isr=[1, 2], replicas=[1, 2]
    )
    request = LeaderAndIsrRequest(controller_id=1, controller_epoch=1)
    if version < 2:
        state.topic_name = "t"
        request.ungrouped_partition_states = [state]
    else:
        topic = LeaderAndIsrRequest.TopicState(topic_name="t", topic_id=ID, partition_states=[state])
        request.topic_states = [topic]
    return request


@pytest.mark.parametrize("version", range(8))
async def test_a_partition_is_led_then_not_by_an_older_decision(one_broker: Any, version: int) -> None:
    answer = await one_broker.ask(leader_and_isr, decision(version), version)
    assert answer.error_code == ErrorCode.NONE
    errors = answer.partition_errors if version < 5 else answer.topics[0].partition_errors
    assert [one.error_code for one in errors] == [ErrorCode.NONE]
    replica = one_broker.services.replica_manager.find(TP)
    assert replica is not None
    assert replica.partition.leader_epoch == 3
    answer = await one_broker.ask(leader_and_isr, decision(version, epoch=2), version)
    errors = answer.partition_errors if version < 5 else answer.topics[0].partition_errors
    assert [one.error_code for one in errors] == [ErrorCode.STALE_CONTROLLER_EPOCH]


@pytest.mark.parametrize("version", range(9))
async def test_what_clients_are_told(one_broker: Any, version: int) -> None:
    live = UpdateMetadataRequest.LiveBroker(id=7, v0_host="h", v0_port=9, rack="r" if version >= 2 else None)
    if version >= 1:
        live.endpoints = [UpdateMetadataRequest.LiveBroker.Endpoint(port=9, host="h", listener="PLAINTEXT")]
    state = UpdateMetadataRequest.PartitionState(partition_index=0, leader=7, leader_epoch=3, isr=[7], replicas=[7])
    request = UpdateMetadataRequest(controller_id=7, controller_epoch=1, live_brokers=[live])
    if version < 5:
        state.topic_name = "t"
        request.ungrouped_partition_states = [state]
    else:
        request.topic_states = [UpdateMetadataRequest.TopicState(topic_name="t", topic_id=ID, partition_states=[state])]
    assert (await one_broker.ask(update_metadata, request, version)).error_code == ErrorCode.NONE
    image = one_broker.services.metadata.image
    assert image.controller_id == 7
    assert [(one.id, one.endpoints["PLAINTEXT"].port) for one in image.brokers.values()] == [(7, 9)]
    assert image.topics["t"].partitions[0].leader == 7
    state.leader = -2
    await one_broker.ask(update_metadata, request, version)
    assert one_broker.services.metadata.topic("t") is None


@pytest.mark.parametrize("version", range(5))
async def test_a_replica_is_given_up(one_broker: Any, version: int) -> None:
    await one_broker.ask(leader_and_isr, decision(7), 7)
    request = StopReplicaRequest(controller_id=1, controller_epoch=1)
    if version == 0:
        request.ungrouped_partitions = [StopReplicaRequest.UngroupedPartition(topic_name="t", partition_index=0)]
    elif version < 3:
        request.topics = [StopReplicaRequest.Topic(name="t", partition_indexes=[0])]
    else:
        one = StopReplicaRequest.TopicState.PartitionState(partition_index=0, leader_epoch=2)
        request.topic_states = [StopReplicaRequest.TopicState(topic_name="t", partition_states=[one])]
        (error,) = (await one_broker.ask(stop_replica, request, version)).partition_errors
        assert error.error_code == ErrorCode.FENCED_LEADER_EPOCH
        one.leader_epoch = 3
    (error,) = (await one_broker.ask(stop_replica, request, version)).partition_errors
    assert (error.topic_name, error.partition_index, error.error_code) == ("t", 0, ErrorCode.NONE)
    assert one_broker.services.replica_manager.find(TP) is None


async def test_a_broker_that_nobody_knows_cannot_stop(one_broker: Any) -> None:
    from pykbroker.protocol.errors import KafkaError

    with pytest.raises(KafkaError) as caught:
        await one_broker.ask(controlled_shutdown, ControlledShutdownRequest(broker_id=9), 3)
    assert caught.value.code is ErrorCode.BROKER_NOT_AVAILABLE
    answer = await one_broker.ask(controlled_shutdown, ControlledShutdownRequest(broker_id=1), 3)
    assert answer.remaining_partitions == []


def test_a_broker_alone_takes_no_orders(wire: Any) -> None:
    answer = wire.request(ApiVersionsRequest(client_software_name="test", client_software_version="1"), 4)
    assert not CLUSTER_ALONE & {one.api_key for one in answer.api_keys}
    with pytest.raises(ConnectionError):
        wire.request(decision(7), 7)
