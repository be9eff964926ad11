"""What brokers are told about one change, and in which order."""

from uuid import UUID

from pykbroker.cluster.image import BrokerImage, ClusterImage, Endpoint, PartitionState, TopicImage
from pykbroker.controller.balance import unbalanced
from pykbroker.controller.context import ControllerContext
from pykbroker.controller.requests import VERSIONS, RequestBatch
from pykbroker.protocol.messages.leader_and_isr import LeaderAndIsrRequest
from pykbroker.protocol.messages.stop_replica import StopReplicaRequest
from pykbroker.protocol.messages.update_metadata import UpdateMetadataRequest
from pykbroker.protocol.topic_partition import TopicPartition

TP = TopicPartition("t", 0)


def broker(number: int) -> BrokerImage:
    return BrokerImage(number, {"PLAINTEXT": Endpoint("h", 9000 + number, "PLAINTEXT")}, None, 100 + number)


def context(*states: PartitionState, brokers: tuple[int, ...] = (1, 2, 3)) -> ControllerContext:
    topic = TopicImage("t", UUID(int=5), dict(enumerate(states)))
    image = ClusterImage("c").with_brokers(*map(broker, brokers)).with_topics(topic)
    return ControllerContext(1, 7, image)


STATE = PartitionState(1, 4, (1, 2), (1, 2, 9), 8, 2)


def test_each_broker_hears_in_kafkas_order() -> None:
    batch = RequestBatch(context(STATE), "PLAINTEXT")
    batch.stop_replica(2, TP, delete=False)
    batch.leader_and_isr([1, 2, 9], TP, new=[2])
    requests = batch.requests()
    assert requests.keys() == {1, 2, 3}, "whoever is dead hears nothing"
    assert [type(one) for one in requests[2]] == [LeaderAndIsrRequest, UpdateMetadataRequest, StopReplicaRequest]
    assert [type(one) for one in requests[3]] == [UpdateMetadataRequest]
    for one in requests[2]:
        assert (one.controller_id, one.controller_epoch, one.broker_epoch) == (1, 7, 102)
        again = type(one).decode(memoryview(one.encode(VERSIONS[type(one)])), VERSIONS[type(one)])
        assert again == one


def test_a_leader_and_isr_has_the_decision_as_it_was_made() -> None:
    batch = RequestBatch(context(STATE), "PLAINTEXT")
    batch.leader_and_isr([1, 2], TP, new=[2])
    requests = batch.requests()
    ((one,),) = (topic.partition_states for topic in requests[2][0].topic_states)
    assert (one.controller_epoch, one.leader, one.leader_epoch, one.isr, one.partition_epoch) == (2, 1, 4, [1, 2], 8)
    assert one.is_new
    assert requests[2][0].live_leaders == [LeaderAndIsrRequest.LiveLeader(broker_id=1, host_name="h", port=9001)]
    ((old,),) = (topic.partition_states for topic in requests[1][0].topic_states)
    assert not old.is_new
    ((told,),) = (topic.partition_states for topic in requests[1][1].topic_states)
    assert told.offline_replicas == [9]


def test_a_doomed_topic_is_taken_from_everybody() -> None:
    doomed = context(STATE)
    doomed.doomed.add("t")
    batch = RequestBatch(doomed, "PLAINTEXT")
    batch.update_metadata([1], [TP])
    batch.stop_replica(1, TP, delete=True)
    update, stop = batch.requests()[1]
    assert update.topic_states[0].partition_states[0].leader == -2
    (partition,) = stop.topic_states[0].partition_states
    assert (partition.leader_epoch, partition.delete_partition) == (-2, True)


def test_partitions_away_from_their_preferred_leaders() -> None:
    away = PartitionState(2, 4, (1, 2), (1, 2), 8, 2)
    home = PartitionState(1, 4, (1, 2), (1, 2), 8, 2)
    out_of_sync = PartitionState(2, 4, (2,), (1, 2), 8, 2)
    changing = PartitionState(2, 4, (1, 2), (1, 2, 3), 8, 2, adding=(3,))
    found = unbalanced(context(away, home, out_of_sync, changing), 10)
    assert found == [TopicPartition("t", 0)]
    assert unbalanced(context(away, *[home] * 9), 10) == [], "a tenth is borne"
    stopping = context(away)
    stopping.shutting_down.add(1)
    assert unbalanced(stopping, 10) == []
