"""The controller at work on a store of its own, with a broker that only takes notes."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple
from uuid import UUID

import pytest
import trio

from pykbroker.cluster.image import BrokerImage, Endpoint, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.controller.topics import NewTopic
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.controller_runtime import ControllerRuntime, GrowthRequest
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ME = BrokerImage(1, {"PLAINTEXT": Endpoint("127.0.0.1", 9092, "PLAINTEXT")})


class Inline:
    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        return work(*args)


class Notes:
    """Stands for the replica manager: what it leads and what it removed, and errors to order."""

    def __init__(self, metadata: MetadataCache) -> None:
        self.metadata = metadata
        self.led: dict[TopicPartition, LeaderState] = {}
        self.removed: list[TopicPartition] = []
        self.failing: dict[str, ErrorCode] = {}
        self.seen_early: list[str] = []

    async def apply_leader_and_isr(self, states: Sequence[LeaderState]) -> dict[TopicPartition, ErrorCode]:
        await trio.lowlevel.checkpoint()
        answers = {}
        for state in states:
            tp = state.topic_partition
            if state.is_new and self.metadata.partition(tp) is not None:
                self.seen_early.append(str(tp))
            answers[tp] = self.failing.get(str(tp), ErrorCode.NONE)
            if answers[tp] is ErrorCode.NONE:
                self.led[tp] = state
        return answers

    async def stop_replicas(self, tps: Sequence[TopicPartition], delete: bool) -> dict[TopicPartition, ErrorCode]:
        await trio.lowlevel.checkpoint()
        assert delete
        for tp in tps:
            self.led.pop(tp, None)
            self.removed.append(tp)
        return {tp: self.failing.get(f"delete {tp}", ErrorCode.NONE) for tp in tps}

    def find(self, tp: TopicPartition) -> None:
        return None


class Clock:
    def now_ms(self) -> int:
        return 1000

    def monotonic(self) -> float:
        return 1.0


class Broker:
    """A controller that runs, and what stands around it."""

    def __init__(self, path: Path | None = None, **values: Any) -> None:
        self.config = BrokerConfig(**values)
        self.store = EmbeddedStore(Database(path), Inline())
        self.metadata = MetadataCache(self.config)
        self.notes: Any = Notes(self.metadata)
        numbers = itertools.count(1)
        self.controller = ControllerRuntime(
            self.config,
            self.store,
            self.metadata,
            Clock(),
            random_bytes=lambda size: next(numbers).to_bytes(size, "big"),
        )

    async def start(self) -> "Broker":
        await self.controller.load()
        await self.controller.start(self.notes, ME)
        return self


async def started(path: Path | None = None, **values: Any) -> Broker:
    return await Broker(path, **values).start()


async def made(broker: Broker, name: str = "t", **fields: Any) -> TopicImage:
    answer = (await broker.controller.create_topics([NewTopic(name, **fields)]))[0]
    assert isinstance(answer, TopicImage), answer
    return answer


async def test_a_new_store_gets_kafkas_paths_and_a_cluster_id() -> None:
    broker = await started()
    tree = await broker.store.subtree("/")
    assert set(znodes.PERSISTENT) <= tree.keys()
    cluster_id = znodes.decode_cluster_id(tree["/cluster/id"].data)
    assert broker.metadata.image.cluster_id == cluster_id
    assert len(cluster_id) == 22
    assert tree["/controller_epoch"].data == b"1"
    assert broker.metadata.image.controller_id == 1
    assert list(broker.metadata.image.brokers) == [1]
    assert broker.metadata.image.brokers[1].epoch == tree["/brokers/ids/1"].stat.czxid


async def test_the_cluster_id_of_data_that_is_there_already() -> None:
    broker = Broker()
    assert await broker.controller.load("known") == "known"


async def test_a_topic_is_stored_then_led_then_seen() -> None:
    broker = await started()
    topic = await made(broker, partitions=2, config={"retention.ms": "5"})
    assert broker.notes.seen_early == []
    assert broker.metadata.topic("t") == topic
    assert broker.metadata.log_config("t").retention_ms == 5
    assert [state.topic_id for state in broker.notes.led.values()] == [topic.topic_id] * 2
    tree = await broker.store.subtree("/brokers/topics")
    assert znodes.decode_topic(tree["/brokers/topics/t"].data).topic_id == topic.topic_id
    assert "/brokers/topics/t/partitions/1/state" in tree
    assert znodes.decode_config((await broker.store.get("/config/topics/t")).data) == {"retention.ms": "5"}


async def test_several_topics_and_each_ones_error() -> None:
    broker = await started()
    wanted = [NewTopic("a"), NewTopic("a"), NewTopic("b", replication_factor=3), NewTopic("c")]
    first, again, too_wide, last = await broker.controller.create_topics(wanted)
    assert isinstance(first, TopicImage)
    assert isinstance(again, KafkaError)
    assert again.code is ErrorCode.TOPIC_ALREADY_EXISTS
    assert isinstance(too_wide, KafkaError)
    assert isinstance(last, TopicImage)
    assert broker.metadata.image.topics.keys() == {"a", "c"}


async def test_validating_makes_nothing() -> None:
    broker = await started()
    answers = await broker.controller.create_topics([NewTopic("t")], validate_only=True)
    assert isinstance(answers[0], TopicImage)
    assert broker.metadata.topic("t") is None
    assert await broker.store.children("/brokers/topics") == []


async def test_a_topic_that_cannot_be_led_is_taken_back() -> None:
    broker = await started()
    broker.notes.failing["t-1"] = ErrorCode.KAFKA_STORAGE_ERROR
    bad, good = await broker.controller.create_topics([NewTopic("t", 2), NewTopic("u")])
    assert isinstance(bad, KafkaError)
    assert bad.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert isinstance(good, TopicImage)
    assert await broker.store.children("/brokers/topics") == ["u"]
    assert broker.metadata.image.topics.keys() == {"u"}
    assert TopicPartition("t", 0) in broker.notes.removed


async def test_concurrent_creations_of_one_topic_make_one() -> None:
    broker = await started()
    answers: list[TopicImage | KafkaError] = []

    async def create() -> None:
        answers.extend(await broker.controller.auto_create(["t"]))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create)
    assert answers == [broker.metadata.topic("t")] * 5


async def test_a_cancelled_creation_is_finished_or_never_begun() -> None:
    broker = await started()
    with trio.CancelScope() as scope:
        scope.cancel()
        await broker.controller.create_topics([NewTopic("t")])
    stored = await broker.store.children("/brokers/topics")
    assert stored == list(broker.metadata.image.topics)


async def test_partitions_are_added() -> None:
    broker = await started()
    await made(broker)
    errors = await broker.controller.create_partitions([GrowthRequest("t", 3), GrowthRequest("none", 3)])
    assert errors[0] is None
    assert errors[1] is not None
    assert errors[1].code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    topic = broker.metadata.topic("t")
    assert topic is not None
    assert list(topic.partitions) == [0, 1, 2]
    assert len(broker.notes.led) == 3
    assert len(znodes.decode_topic((await broker.store.get("/brokers/topics/t")).data).replicas) == 3


async def test_validating_adds_no_partition() -> None:
    broker = await started()
    await made(broker)
    assert await broker.controller.create_partitions([GrowthRequest("t", 3)], validate_only=True) == [None]
    assert len(broker.notes.led) == 1


async def test_added_partitions_that_cannot_be_led_are_told() -> None:
    broker = await started()
    await made(broker)
    broker.notes.failing["t-1"] = ErrorCode.KAFKA_STORAGE_ERROR
    errors = await broker.controller.create_partitions([GrowthRequest("t", 2)])
    assert errors[0] is not None
    assert errors[0].code is ErrorCode.KAFKA_STORAGE_ERROR


async def test_a_deleted_topic_leaves_nothing() -> None:
    broker = await started()
    topic = await made(broker, partitions=2, config={"retention.ms": "5"})
    deleted: list[TopicPartition] = []

    async def forget(tps: Sequence[TopicPartition]) -> None:
        deleted.extend(tps)

    broker.controller.on_deletion(forget)
    assert await broker.controller.delete_topics(["t"]) == [None]
    assert broker.metadata.topic("t") is None
    assert broker.notes.led == {}
    assert deleted == broker.notes.removed == [TopicPartition("t", 0), TopicPartition("t", 1)]
    assert await broker.store.children("/brokers/topics") == []
    assert await broker.store.children("/config/topics") == []
    assert await broker.store.children("/admin/delete_topics") == []
    again = await made(broker)
    assert again.topic_id != topic.topic_id
    assert broker.metadata.log_config("t").retention_ms == 604_800_000


async def test_deleting_what_is_not_there() -> None:
    broker = await started()
    errors = await broker.controller.delete_topics(["t"])
    assert errors[0] is not None
    assert errors[0].code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_deletion_that_fails_is_finished_at_the_next_start(tmp_path: Path) -> None:
    broker = await started(tmp_path / "metadata.db")
    await made(broker)
    broker.notes.failing["delete t-0"] = ErrorCode.KAFKA_STORAGE_ERROR
    errors = await broker.controller.delete_topics(["t"])
    assert errors[0] is not None
    assert broker.metadata.topic("t") is None
    await broker.store.close()

    broker = Broker(tmp_path / "metadata.db")
    await broker.controller.load()
    assert broker.controller.strays({TopicPartition("t", 0): None}) == []
    await broker.controller.start(broker.notes, ME)
    assert broker.notes.removed == [TopicPartition("t", 0)]
    assert await broker.store.children("/brokers/topics") == []
    assert await broker.store.children("/admin/delete_topics") == []
    await broker.store.close()


async def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    broker = await started(tmp_path / "metadata.db")
    topic = await made(broker, partitions=3, config={"retention.ms": "5"})
    cluster_id = broker.metadata.image.cluster_id
    await broker.store.close()

    broker = Broker(tmp_path / "metadata.db")
    assert await broker.controller.load() == cluster_id
    assert broker.metadata.log_config("t").retention_ms == 5, "known before logs are opened"
    await broker.controller.start(broker.notes, ME)
    assert broker.metadata.topic("t") == topic
    assert [state.is_new for state in broker.notes.led.values()] == [False] * 3
    assert (await broker.store.get("/controller_epoch")).data == b"2"
    await broker.store.close()


async def test_logs_of_no_topic_are_strays() -> None:
    broker = await started()
    topic = await made(broker)
    found: dict[TopicPartition, UUID | None] = {
        TopicPartition("t", 0): topic.topic_id,
        TopicPartition("t", 1): topic.topic_id,
        TopicPartition("u", 0): UUID(int=7),
    }
    assert broker.controller.strays(found) == [TopicPartition("t", 1), TopicPartition("u", 0)]
    assert broker.controller.strays({TopicPartition("t", 0): UUID(int=7)}) == [TopicPartition("t", 0)]
    assert broker.controller.strays({TopicPartition("t", 0): None}) == []


async def test_a_topic_whose_states_are_missing_is_completed(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "metadata.db")
    await broker.store.ensure_path("/brokers/topics")
    await broker.store.create(
        "/brokers/topics/t", b'{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAABQ","partitions":{"0":[1],"1":[1]}}'
    )
    await broker.start()
    assert list(broker.notes.led) == [TopicPartition("t", 0), TopicPartition("t", 1)]
    assert await broker.store.find("/brokers/topics/t/partitions/1/state") is not None
    await broker.store.close()


async def test_a_leaderless_partition_gets_its_leader_back(tmp_path: Path) -> None:
    broker = await started(tmp_path / "metadata.db")
    await made(broker)
    path = znodes.state_path("t", 0)
    node = await broker.store.get(path)
    await broker.store.set(path, node.data.replace(b'"leader":1', b'"leader":-1'))
    await broker.store.close()
    broker = await started(tmp_path / "metadata.db")
    state = broker.notes.led[TopicPartition("t", 0)].state
    assert (state.leader, state.leader_epoch, state.partition_epoch) == (1, 1, 2)
    await broker.store.close()


async def test_internal_topics_are_made_once_and_fit_the_cluster() -> None:
    broker = await started()
    topic = await broker.controller.ensure_internal_topic("__consumer_offsets")
    assert len(topic.partitions) == 50
    assert topic.partitions[0].replicas == (1,)
    assert await broker.controller.ensure_internal_topic("__consumer_offsets") is topic


async def test_an_internal_topic_that_cannot_be_made() -> None:
    broker = await started()
    broker.notes.failing["__consumer_offsets-7"] = ErrorCode.KAFKA_STORAGE_ERROR
    with pytest.raises(KafkaError) as caught:
        await broker.controller.ensure_internal_topic("__consumer_offsets")
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR


async def test_a_store_that_fails_is_an_error_of_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await started()
    await made(broker, "old")

    async def fail(operations: object) -> None:
        raise StoreError("metadata.db", "disk is full")

    monkeypatch.setattr(broker.store, "multi", fail)
    answer = (await broker.controller.create_topics([NewTopic("t")]))[0]
    growth = (await broker.controller.create_partitions([GrowthRequest("old", 2)]))[0]
    deletion = (await broker.controller.delete_topics(["old"]))[0]
    for error in (answer, growth, deletion):
        assert isinstance(error, KafkaError)
        assert error.code is ErrorCode.KAFKA_STORAGE_ERROR
        assert "disk is full" in (error.message or "")
    assert broker.metadata.image.topics.keys() == {"old"}


async def test_a_broker_that_is_not_controller_changes_nothing() -> None:
    broker = Broker()
    await broker.controller.load()
    await broker.store.create("/controller", znodes.encode_controller(9, 1))
    await broker.controller.start(broker.notes, ME)
    assert broker.metadata.image.controller_id == 9
    answer = (await broker.controller.create_topics([NewTopic("t")]))[0]
    assert isinstance(answer, KafkaError)
    assert answer.code is ErrorCode.NOT_CONTROLLER
