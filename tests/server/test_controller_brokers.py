"""A controller of several brokers: elected, fenced and replaced; and what it makes of brokers that come and go."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from tests.server.brokers import Brokers, brokers

from pykbroker.cluster.image import BrokerImage, Endpoint, PartitionState, TopicImage
from pykbroker.controller.topics import NewTopic
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import EmbeddedStore
from pykbroker.metadata.store import MetadataStore, Operation, StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server import controller_runtime, controller_topics
from pykbroker.server.broker_lifecycle import LEAVE_SECONDS, RegistrationRefused, read_brokers
from pykbroker.server.controller_partitions import Partitions

TP = TopicPartition("t", 0)


async def made(cluster: Brokers, *replicas: int, name: str = "t", **config: str) -> TopicImage:
    new = NewTopic(name, assignments=[(0, replicas)], config=config)
    (answer,) = await cluster.controller.controller.create_topics([new])
    assert isinstance(answer, TopicImage), answer
    await cluster.settle()
    return answer


def short(state: PartitionState) -> tuple[int, int, tuple[int, ...]]:
    return state.leader, state.leader_epoch, state.isr


async def test_one_is_elected_and_all_know_all(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        assert cluster.controller.node_id == 1
        for one in cluster.running.values():
            assert one.metadata.image.controller_id == 1
            assert list(one.metadata.image.brokers) == [1, 2, 3]
        await made(cluster, 2, 3, 1)
        assert short(cluster.state("t")) == (2, 0, (2, 3, 1))
        assert cluster.leaders(TP) == {1: (2, 0), 2: (2, 0), 3: (2, 0)}
        assert all(one.hosted.told[0].is_new for one in cluster.running.values())


async def test_a_topics_config_is_read_by_whoever_hosts_it(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 2, **{"retention.ms": "5"})
        assert cluster.running[2].metadata.log_config("t").retention_ms == 5
        assert cluster.running[2].metadata.overrides("t") == {"retention.ms": "5"}


async def test_a_leader_dies_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(2)
        assert short(cluster.state("t")) == (3, 1, (3, 1))
        assert cluster.leaders(TP) == {1: (3, 1), 3: (3, 1)}
        await cluster.start(2)
        assert short(cluster.state("t")) == (3, 1, (3, 1))
        assert cluster.leaders(TP)[2] == (3, 1), "it follows"


async def test_what_a_broker_is_told_while_it_starts_is_newer_than_what_it_reads(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(store: MetadataStore) -> list[BrokerImage]:
        found = await read_brokers(store)
        await trio.sleep(1)
        return found

    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(2)
        monkeypatch.setattr(controller_runtime, "read_brokers", slow)
        await cluster.start(2)
        assert list(cluster.running[2].metadata.image.topics) == ["t"]


async def test_a_follower_dies(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(3)
        assert short(cluster.state("t")) == (2, 1, (2, 1))


async def test_the_last_of_the_isr_dies_and_nobody_else_may_lead(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3)
        await cluster.kill(3)
        await cluster.kill(2)
        assert short(cluster.state("t")) == (-1, 2, (2,))
        await cluster.start(3)
        assert short(cluster.state("t")) == (-1, 2, (2,))
        await cluster.start(2)
        assert short(cluster.state("t")) == (2, 3, (2,))


async def test_with_unclean_elections_anybody_leads(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, **{"unclean.leader.election.enable": "true"})
        await cluster.kill(3)
        await cluster.kill(2)
        await cluster.start(3)
        assert short(cluster.state("t")) == (3, 3, (3,))


async def test_the_controller_dies(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2, 3)
        await made(cluster, 2, 1, 3, name="u")
        await cluster.kill(1)
        assert cluster.controller.node_id in (2, 3)
        assert (await cluster.store.get("/controller_epoch")).data == b"2"
        assert short(cluster.state("t"))[0::2] == (2, (2, 3))
        assert short(cluster.state("u"))[0::2] == (2, (2, 3)), "who died with it is out of ISRs, too"
        assert all(one.metadata.image.controller_id == cluster.controller.node_id for one in cluster.running.values())


async def test_a_session_ends_and_the_broker_registers_again(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        before = cluster.running[2].metadata.broker_epoch
        await cluster.expire(2)
        assert cluster.running[2].metadata.broker_epoch > before
        assert short(cluster.state("t")) == (3, 1, (3, 1))
        assert cluster.leaders(TP) == dict.fromkeys((1, 2, 3), (3, 1))
        await cluster.expire(1)
        assert cluster.controller.node_id in (1, 2, 3)
        assert (await cluster.store.get("/controller_epoch")).data == b"2"
        assert list(cluster.running[3].metadata.image.brokers) == [1, 2, 3]


async def test_an_old_controller_can_write_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        old = cluster.running[1]
        epoch = await cluster.store.get("/controller_epoch")
        await cluster.store.set("/controller_epoch", b"9", epoch.stat.version)
        (refused,) = await old.controller.create_topics([NewTopic("u")])
        assert isinstance(refused, KafkaError)
        assert refused.code is ErrorCode.NOT_CONTROLLER
        await cluster.settle()
        assert cluster.controller.is_controller
        assert (await cluster.store.get("/controller_epoch")).data == b"10"
        await made(cluster, 2, 1, name="u")


async def test_an_old_controllers_requests_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        control = cluster.running[2].controller.control
        assert control is not None
        current = cluster.controller.controller.office.current
        assert current is not None
        batch = current.reign.batch()
        batch.update_metadata([2])
        (request,) = batch.requests()[2]
        request.controller_epoch = 0
        assert (await control.handle(request, 8)).error_code == ErrorCode.STALE_CONTROLLER_EPOCH
        request.controller_epoch = 99
        assert (await control.handle(request, 8)).error_code == ErrorCode.STALE_CONTROLLER_EPOCH, "it never was"
        request.controller_epoch, request.broker_epoch = 1, 1
        assert (await control.handle(request, 8)).error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_a_broker_that_stops_hands_over_first(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await made(cluster, 3, 2, name="u")
        await made(cluster, 2, name="alone")
        await cluster.running[2].controller.leave()
        await cluster.settle()
        assert short(cluster.state("t")) == (3, 1, (3, 1))
        assert short(cluster.state("u")) == (3, 1, (3,))
        assert list(cluster.running[2].hosted.states) == [TopicPartition("alone", 0)], "nobody could take that one"
        await cluster.kill(2)
        assert short(cluster.state("alone")) == (-1, 1, (2,))


async def test_the_controller_itself_stops(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 1, 2, 3)
        await cluster.running[1].controller.leave()
        await cluster.settle()
        assert cluster.controller.node_id in (2, 3), "before the broker is gone"
        assert short(cluster.state("t"))[0] == 2


async def test_nobody_is_left_to_take_over(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 2, 1)
        await cluster.kill(1)
        began = trio.current_time()
        await cluster.running[2].controller.leave()
        assert trio.current_time() == began, "the last broker waits for nobody"


async def test_a_broker_without_its_store_does_not_wait_for_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 2, 1)
        began = trio.current_time()
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedStore, "connected", False)
            await cluster.running[2].controller.leave()
        assert trio.current_time() == began
        assert cluster.state("t").leader == 2


async def test_what_cannot_be_handed_over_in_time_is_left(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 2, 1)
        one = cluster.running[1]
        await made(cluster, 1, 2, name="u")

        async def never(broker_id: int, epoch: int) -> list[TopicPartition]:
            await trio.sleep_forever()
            raise AssertionError

        began = trio.current_time()
        assert one.controller._channels is not None
        await one.controller.lifecycle.leave(one.controller._channels, never)
        assert trio.current_time() - began == LEAVE_SECONDS


async def test_a_link_that_is_cut_delays_what_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        cluster.cut.add(frozenset((1, 3)))
        await made(cluster, 2, 3)
        assert cluster.running[3].metadata.topic("t") is None
        cluster.cut.clear()
        await trio.sleep(0.2)
        await cluster.settle()
        assert cluster.leaders(TP) == {2: (2, 0), 3: (2, 0)}


async def test_a_leaders_isr_change_reaches_everybody(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        leader = cluster.running[2]
        state = leader.hosted.states[TP]
        changed = await leader.controller.isr_store.propose(TP, _with_isr(state, 2, 1))
        assert changed.partition_epoch == state.partition_epoch + 1
        await cluster.settle()
        assert short(cluster.state("t")) == (2, 0, (2, 1))
        assert await cluster.store.children(znodes.ISR_CHANGES) == []
        with pytest.raises(KafkaError) as caught:
            await leader.controller.isr_store.propose(TP, _with_isr(state, 2))
        assert caught.value.code is ErrorCode.INVALID_UPDATE_VERSION


def _with_isr(state: PartitionState, *isr: int) -> PartitionState:

    return state._replace(isr=isr)


async def test_an_isr_change_that_the_controller_has_not_heard_of_is_no_hindrance(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        path = znodes.state_path("t", 0)
        node = await cluster.store.get(path)
        await cluster.store.set(path, node.data.replace(b"[2,3,1]", b"[2,1]"))
        await cluster.kill(2)
        assert short(cluster.state("t")) == (1, 1, (1,))


async def test_two_brokers_of_one_id(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        with pytest.raises(RegistrationRefused, match=r"another broker with node id 2 is running at 127.0.0.1:9002"):
            await cluster.start(2)
        assert list(cluster.running[1].metadata.image.brokers) == [1, 2]


async def test_an_earlier_self_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2) as cluster:
        old = cluster.running[2]

        async def end() -> None:
            await trio.sleep(10)
            old.scope.cancel()
            await old.store.close()

        cluster.nursery.start_soon(end)
        await cluster.start(2)
        assert trio.current_time() >= 10
        assert cluster.running[2].metadata.image.controller_id == 1


async def test_two_brokers_at_one_address(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1) as cluster:
        path = znodes.broker_path(7)
        node = await cluster.store.get(znodes.broker_path(1))
        await cluster.store.create(path, node.data.replace(b"9001", b"9002"), ephemeral=True)
        with pytest.raises(RegistrationRefused, match="broker 7 advertises the same address"):
            await cluster.start(2)


async def test_a_broker_that_moves_is_the_same_elsewhere(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        for number in (2, 1):  # The controller itself, too.
            epoch = cluster.running[number].metadata.broker_epoch
            moved = BrokerImage(number, {"PLAINTEXT": Endpoint("elsewhere", number, "PLAINTEXT")})
            cluster.running[number].controller.move(moved)
            await cluster.settle()
            for one in cluster.running.values():
                assert one.metadata.image.brokers[number].endpoints == moved.endpoints
            assert cluster.running[number].metadata.broker_epoch == epoch
        await cluster.expire(2)
        assert cluster.running[3].metadata.image.brokers[2].endpoints["PLAINTEXT"].host == "elsewhere"


async def test_clocks_apart_are_told_of(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with brokers(1) as cluster:
        node = await cluster.store.get(znodes.broker_path(1))
        late = node.data.replace(b'"timestamp":"', b'"timestamp":"99999').replace(b"9001", b"9007")
        await cluster.store.create(znodes.broker_path(7), late, ephemeral=True)
        await cluster.start(2)
        assert "broker 7 registered 999 s from now: the clocks of its machine and this one differ" in caplog.text


async def test_a_disk_that_fails_costs_one_replica(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3)
        cluster.running[2].hosted.failed.add(TP)
        data = znodes.encode_log_dir_event(2)
        await cluster.store.create(f"{znodes.LOG_DIR_EVENTS}/log_dir_event_", data, sequential=True)
        await cluster.settle()
        assert short(cluster.state("t")) == (3, 1, (3,))
        assert await cluster.store.children(znodes.LOG_DIR_EVENTS) == []
        assert 2 in cluster.running[1].metadata.image.brokers


async def test_preferred_leaders_come_back_by_themselves(autojump_clock: trio.testing.MockClock) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(2)
        await cluster.start(2)
        leader = cluster.running[3]
        await leader.controller.isr_store.propose(TP, _with_isr(leader.hosted.states[TP], 3, 1, 2))
        await cluster.settle()
        await trio.sleep(301)
        await cluster.settle()
        assert short(cluster.state("t"))[0] == 2


async def test_a_store_that_fails_under_the_balance_ends_no_more_than_the_reign(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with brokers(1, 2, 3) as cluster:
        await made(cluster, 2, 3, 1)
        await cluster.kill(2)
        await cluster.start(2)
        leader = cluster.running[3]
        await leader.controller.isr_store.propose(TP, _with_isr(leader.hosted.states[TP], 3, 1, 2))
        await cluster.settle()
        original, failures = Partitions.elect, [StoreError("/", "no answer")]

        async def elect(partitions: Partitions, *args: Any) -> Any:
            if failures:
                raise failures.pop()
            return await original(partitions, *args)

        monkeypatch.setattr(Partitions, "elect", elect)
        await trio.sleep(700)
        await cluster.settle()
        assert not failures
        assert short(cluster.state("t"))[0] == 2


async def test_a_topic_of_many_partitions_goes_in_parts(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_topics, "OPERATIONS_PER_WRITE", 5)
    async with brokers(1) as cluster:
        controller = cluster.controller.controller
        await controller.create_topics([NewTopic("t", partitions=7)])
        original, sizes = EmbeddedStore.multi, []

        async def multi(store: EmbeddedStore, operations: Sequence[Operation]) -> Any:
            sizes.append(len(operations))
            return await original(store, operations)

        monkeypatch.setattr(EmbeddedStore, "multi", multi)
        assert await controller.delete_topics(["t"]) == [None]
        assert max(sizes) == 6
        assert await cluster.store.children(znodes.TOPICS) == []


async def test_a_store_that_fails_ends_a_reign_and_another_begins(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with brokers(1, 2) as cluster:
        await made(cluster, 1, 2)
        real = EmbeddedStore.find_many
        failures: list[int] = [1]

        async def fail(store: EmbeddedStore, paths: Sequence[str]) -> Any:
            if failures and store is cluster.running[1].store:
                failures.pop()
                raise RuntimeError("a mistake")
            return await real(store, paths)

        monkeypatch.setattr(EmbeddedStore, "find_many", fail)
        await cluster.kill(2)
        await trio.sleep(2)
        await cluster.settle()
        assert cluster.controller.node_id == 1
        assert short(cluster.state("t")) == (1, 1, (1,))
