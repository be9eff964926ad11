"""A controller of several brokers, and topics: made anywhere, deleted with all replicas, moved to other brokers."""

import pytest
import trio
from tests.server.brokers import Brokers, brokers

from pykbroker.cluster.image import PartitionState, TopicImage
from pykbroker.controller.topics import NewTopic
from pykbroker.metadata import znodes
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.controller_partitions import PREFERRED, UNCLEAN
from pykbroker.server.controller_runtime import GrowthRequest

TP = TopicPartition("t", 0)
Clock = trio.testing.MockClock


async def made(cluster: Brokers, *replicas: int, name: str = "t") -> None:
    (answer,) = await cluster.controller.controller.create_topics([NewTopic(name, assignments=[(0, replicas)])])
    assert isinstance(answer, TopicImage), answer
    await cluster.settle()


async def caught_up(cluster: Brokers, *isr: int) -> None:
    """The leader takes these into the ISR."""
    state = cluster.state("t")
    leader = cluster.running[state.leader]
    known = leader.hosted.states[TP]
    stored = await leader.controller.isr_store.propose(TP, known._replace(isr=isr))
    leader.hosted.states[TP] = stored
    await cluster.settle()


async def reassigned(cluster: Brokers, *replicas: int) -> KafkaError | None:
    answers = await cluster.controller.controller.alter_reassignments({TP: replicas or None})
    await cluster.settle()
    return answers[TP]


def replicas(state: PartitionState) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return state.replicas, state.isr


# ---- topics ------------------------------------------------------------------------------------------------------


async def test_any_broker_has_a_topic_made(autojump_clock: Clock) -> None:
    async with brokers(1, 2, default_replication_factor=2) as cluster:
        other = cluster.running[2]
        (refused,) = await other.controller.create_topics([NewTopic("t")])
        assert isinstance(refused, KafkaError)
        assert refused.code is ErrorCode.NOT_CONTROLLER
        (answer,) = await other.controller.auto_create(["t"])
        assert isinstance(answer, TopicImage)
        await cluster.settle()
        assert set(cluster.state("t").isr) == {1, 2}
        topic = await other.controller.ensure_internal_topic("__consumer_offsets")
        assert len(topic.partitions) == 50
        assert other.metadata.overrides("__consumer_offsets")["cleanup.policy"] == "compact"


async def test_what_others_write_into_the_store_is_taken_up(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await cluster.store.create("/brokers/topics/old", b'{"version":1,"partitions":{"0":[2,1]}}')
        await cluster.settle()
        assert cluster.state("old").leader == 2
        node = await cluster.store.get("/brokers/topics/old")
        topic = znodes.decode_topic(node.data)
        assert topic.topic_id is not None, "it has an id by now"
        grown = node.data.replace(b'{"0":[2,1]}', b'{"0":[2,1],"1":[1,2]}')
        await cluster.store.set("/brokers/topics/old", grown)
        await cluster.settle()
        assert cluster.state("old", 1).leader == 1


async def test_a_topic_grows_over_several_brokers(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        assert await cluster.controller.controller.create_partitions([GrowthRequest("t", 4)]) == [None]
        await cluster.settle()
        assert {cluster.state("t", index).leader for index in range(4)} == {1, 2}


async def test_replicas_stand_in_different_racks(autojump_clock: Clock) -> None:
    async with brokers(1, 2, broker_rack="a") as cluster:
        await cluster.start(3, 4, broker_rack="b")
        (answer,) = await cluster.controller.controller.create_topics([NewTopic("t", 8, 2)])
        assert isinstance(answer, TopicImage)
        for state in answer.partitions.values():
            assert len({node <= 2 for node in state.replicas}) == 2, state.replicas


async def test_a_topic_is_deleted_from_all_brokers(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 2, 1)
        assert await cluster.controller.controller.delete_topics(["t"]) == [None]
        for one in cluster.running.values():
            assert one.metadata.topic("t") is None
            assert one.hosted.data == set()
        assert await cluster.store.children("/brokers/topics") == []
        assert await cluster.store.children("/admin/delete_topics") == []


async def test_a_deletion_waits_for_a_broker_that_is_down(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        await cluster.kill(2)
        (error,) = await cluster.controller.controller.delete_topics(["t"], timeout=5)
        assert error is not None
        assert error.code is ErrorCode.REQUEST_TIMED_OUT
        assert cluster.running[1].metadata.topic("t") is None
        assert await cluster.store.children("/brokers/topics") == ["t"]
        (again,) = await cluster.controller.controller.create_topics([NewTopic("t")])
        assert isinstance(again, KafkaError)
        assert again.code is ErrorCode.TOPIC_ALREADY_EXISTS
        await cluster.start(2)
        assert await cluster.store.children("/brokers/topics") == []
        assert cluster.running[2].hosted.data == set()


async def test_a_deletion_outlives_its_controller(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3)
        cluster.running[3].hosted.undeletable.add(TP)
        (error,) = await cluster.controller.controller.delete_topics(["t"], timeout=5)
        assert error is not None
        assert error.code is ErrorCode.KAFKA_STORAGE_ERROR
        cluster.running[3].hosted.undeletable.clear()
        await cluster.kill(1)
        assert await cluster.store.children("/brokers/topics") == []
        assert cluster.running[3].hosted.data == set()


async def test_a_tool_marks_a_topic(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        await cluster.store.create(znodes.deletion_path("t"))
        await cluster.store.create(znodes.deletion_path("none"))
        await cluster.settle()
        assert await cluster.store.children("/brokers/topics") == []
        assert await cluster.store.children("/admin/delete_topics") == []


async def test_a_mark_is_no_use_where_topics_must_not_be_deleted(autojump_clock: Clock) -> None:
    async with brokers(1, delete_topic_enable=False) as cluster:
        await made(cluster, 1)
        await cluster.store.create(znodes.deletion_path("t"))
        await cluster.settle()
        assert await cluster.store.children("/brokers/topics") == ["t"]
        assert await cluster.store.children("/admin/delete_topics") == []


# ---- elections ---------------------------------------------------------------------------------------------------


async def test_the_preferred_leader_is_asked_for(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(2)
        elect = cluster.controller.controller.elect_leaders
        unknown = TopicPartition("none", 0)
        answers = await elect([TP, unknown], PREFERRED)
        codes = {tp: error.code for tp, error in answers.items() if error is not None}
        assert codes == {
            TP: ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
            unknown: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        await cluster.start(2)
        await caught_up(cluster, 3, 1, 2)
        assert await elect(None, PREFERRED) == {TP: None}
        await cluster.settle()
        assert cluster.state("t").leader == 2
        (again,) = (await elect([TP], PREFERRED)).values()
        assert again is not None
        assert again.code is ErrorCode.ELECTION_NOT_NEEDED


async def test_an_unclean_leader_is_asked_for(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3)
        await cluster.kill(3)
        await cluster.kill(2)
        (nobody,) = (await cluster.controller.controller.elect_leaders([TP], UNCLEAN)).values()
        assert nobody is not None
        assert nobody.code is ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
        await cluster.start(3)
        assert await cluster.controller.controller.elect_leaders([TP], UNCLEAN) == {TP: None}
        await cluster.settle()
        assert (cluster.state("t").leader, cluster.state("t").isr) == (3, (3,))


async def test_an_election_by_the_old_tools(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3)
        await cluster.kill(2)
        await cluster.start(2)
        await caught_up(cluster, 3, 2)
        await cluster.store.create(znodes.PREFERRED_ELECTION, znodes.encode_partitions([TP]))
        await cluster.settle()
        assert cluster.state("t").leader == 2
        assert await cluster.store.find(znodes.PREFERRED_ELECTION) is None


# ---- reassignments -----------------------------------------------------------------------------------------------


async def test_a_partition_moves_to_other_brokers(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2)
        assert await reassigned(cluster, 3, 2) is None
        assert replicas(cluster.state("t")) == ((3, 2, 1), (1, 2))
        assert cluster.running[3].hosted.told[-1].is_new
        assert cluster.controller.controller.reassignments()[TP].adding == (3,)
        node = znodes.decode_topic((await cluster.store.get("/brokers/topics/t")).data)
        assert (node.replicas, node.adding, node.removing) == ({0: (3, 2, 1)}, {0: (3,)}, {0: (1,)})
        await caught_up(cluster, 1, 2, 3)
        state = cluster.state("t")
        assert (state.leader, *replicas(state)) == (3, (3, 2), (2, 3))
        assert TP not in cluster.running[1].hosted.data
        assert cluster.controller.controller.reassignments() == {}
        node = znodes.decode_topic((await cluster.store.get("/brokers/topics/t")).data)
        assert (node.replicas, node.adding, node.removing) == ({0: (3, 2)}, {}, {})
        assert cluster.leaders(TP) == dict.fromkeys((2, 3), (3, state.leader_epoch))


async def test_fewer_replicas_at_once(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2, 3)
        assert await reassigned(cluster, 2) is None
        state = cluster.state("t")
        assert (state.leader, *replicas(state)) == (2, (2,), (2,))
        assert cluster.running[1].hosted.data == cluster.running[3].hosted.data == set()


async def test_a_reassignment_is_cancelled(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2)
        nothing = await reassigned(cluster)
        assert nothing is not None
        assert nothing.code is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
        await reassigned(cluster, 3)
        assert await reassigned(cluster) is None
        assert replicas(cluster.state("t")) == ((1, 2), (1, 2))
        assert cluster.running[3].hosted.data == set()
        assert cluster.controller.controller.reassignments() == {}


async def test_what_cannot_be_reassigned(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        answers = await cluster.controller.controller.alter_reassignments({TopicPartition("none", 0): (1,), TP: (9,)})
        codes = [error.code for error in answers.values() if error is not None]
        assert codes == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_REPLICA_ASSIGNMENT]
        with pytest.raises(KafkaError) as caught:
            await cluster.running[2].controller.alter_reassignments({TP: (1,)})
        assert caught.value.code is ErrorCode.NOT_CONTROLLER


async def test_a_reassignment_outlives_its_controller(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3, 4) as cluster:
        await made(cluster, 2, 3)
        await reassigned(cluster, 4, 3)
        await cluster.kill(1)
        assert cluster.controller.controller.reassignments()[TP].removing == (2,)
        await caught_up(cluster, 2, 3, 4)
        assert cluster.state("t").replicas == (4, 3)
        assert TP not in cluster.running[2].hosted.data


async def test_a_reassignment_by_the_old_tools(autojump_clock: Clock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2)
        wanted = {TP: (2, 3), TopicPartition("none", 0): (1,)}
        await cluster.store.create(znodes.REASSIGN, znodes.encode_reassignments(wanted))
        await cluster.settle()
        assert znodes.decode_reassignments((await cluster.store.get(znodes.REASSIGN)).data) == {TP: (2, 3)}
        await caught_up(cluster, 1, 2, 3)
        assert cluster.state("t").replicas == (2, 3)
        assert await cluster.store.find(znodes.REASSIGN) is None


async def test_a_broker_that_will_not_come_back(autojump_clock: Clock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        controller = cluster.controller.controller
        for broker, code in ((2, ErrorCode.INVALID_REQUEST), (9, ErrorCode.BROKER_ID_NOT_REGISTERED)):
            with pytest.raises(KafkaError) as caught:
                controller.check_unregistered(broker)
            assert caught.value.code is code
        await cluster.kill(2)
        controller.check_unregistered(2)
