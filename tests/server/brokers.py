"""Several brokers on one store, without sockets and logs: what they are told goes through its bytes, what they host is
noted. Links can be cut, brokers killed, sessions ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, TypeVar, TypeVarTuple

import trio

from pykbroker.cluster.image import BrokerImage, Endpoint, PartitionState
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.topic import LogConfig
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest, ControlledShutdownResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import ChannelError
from pykbroker.server.controller_runtime import ControllerRuntime
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Inline:
    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        return work(*args)


class TrioClock:
    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)

    def monotonic(self) -> float:
        return trio.current_time()


class Hosted:
    """Stands for a replica manager: what it leads, follows and has deleted; which replicas' disks have failed."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.states: dict[TopicPartition, PartitionState] = {}
        self.data: set[TopicPartition] = set()
        self.told: list[LeaderState] = []
        self.failed: set[TopicPartition] = set()
        self.undeletable: set[TopicPartition] = set()

    async def apply_leader_and_isr(self, states: Sequence[LeaderState]) -> dict[TopicPartition, ErrorCode]:
        await trio.lowlevel.checkpoint()
        answers = {}
        for one in states:
            tp, known = one.topic_partition, self.states.get(one.topic_partition)
            self.told.append(one)
            if tp in self.failed:
                self.states.pop(tp, None)
                answers[tp] = ErrorCode.KAFKA_STORAGE_ERROR
            elif known is not None and known.leader_epoch >= one.state.leader_epoch:
                answers[tp] = ErrorCode.STALE_CONTROLLER_EPOCH
            else:
                self.states[tp] = one.state
                self.data.add(tp)
                answers[tp] = ErrorCode.NONE
        return answers

    async def stop_replicas(self, tps: Sequence[TopicPartition], delete: bool) -> dict[TopicPartition, ErrorCode]:
        await trio.lowlevel.checkpoint()
        answers = {}
        for tp in tps:
            self.states.pop(tp, None)
            answers[tp] = ErrorCode.KAFKA_STORAGE_ERROR if delete and tp in self.undeletable else ErrorCode.NONE
            if delete and answers[tp] is ErrorCode.NONE:
                self.data.discard(tp)
        return answers

    def find(self, tp: TopicPartition) -> Any:
        state = self.states.get(tp)
        return None if state is None else SimpleNamespace(partition=state)

    def update_configs(self, configs: dict[str, LogConfig]) -> None:
        pass


class Channels:
    """One broker's connections: straight into the others, unless a link is cut."""

    def __init__(self, cluster: Brokers, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id

    def channel(self, broker_id: int, purpose: str, endpoint: object = None) -> Channel:
        return Channel(self, broker_id)


class Channel:
    def __init__(self, channels: Channels, broker_id: int) -> None:
        self._channels = channels
        self._broker_id = broker_id

    async def request(self, request: Message, version: int, *, timeout: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        me, other = self._channels.node_id, self._broker_id
        cluster = self._channels.cluster
        target = cluster.running.get(other)
        if target is None or frozenset((me, other)) in cluster.cut:
            raise ChannelError(f"broker {other} can't be reached")
        sent = type(request).decode(memoryview(request.encode(version)), version)
        if isinstance(sent, ControlledShutdownRequest):
            try:
                left = await target.controller.shut_down_broker(sent.broker_id, sent.broker_epoch)
            except KafkaError as error:
                return ControlledShutdownResponse(error_code=error.code)
            remaining = [
                ControlledShutdownResponse.RemainingPartition(topic_name=tp.topic, partition_index=tp.partition)
                for tp in left
            ]
            return ControlledShutdownResponse(remaining_partitions=remaining)
        assert target.controller.control is not None
        answer = await target.controller.control.handle(sent, version)
        return type(answer).decode(memoryview(answer.encode(version)), version)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class OneOf:
    """One broker of several."""

    def __init__(self, cluster: Brokers, node_id: int, **values: Any) -> None:
        self.node_id = node_id
        self.config = BrokerConfig(node_id=node_id, **values)
        self.store = EmbeddedStore(cluster.database, Inline())
        self.metadata = MetadataCache(self.config)
        self.hosted = Hosted(node_id)
        self.hosted.data |= cluster.disks.setdefault(node_id, set())
        self.controller = ControllerRuntime(self.config, self.store, self.metadata, TrioClock())
        self.scope = trio.CancelScope()

    @property
    def is_controller(self) -> bool:
        return self.controller.office.current is not None


class Brokers:
    """A cluster. `settle` waits until nothing happens any more but by the clock."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.database = Database(None)
        self.store = EmbeddedStore(self.database, Inline())
        self.running: dict[int, OneOf] = {}
        self.cut: set[frozenset[int]] = set()
        self.disks: dict[int, set[TopicPartition]] = {}

    async def start(self, *numbers: int, **values: Any) -> None:
        for number in numbers:
            one = OneOf(self, number, **values)
            await one.controller.load()
            await self.nursery.start(self._run, one)
            self.running[number] = one
            endpoints = {"PLAINTEXT": Endpoint("127.0.0.1", 9000 + number, "PLAINTEXT")}
            rack = values.get("broker_rack")
            await one.controller.start(one.hosted, BrokerImage(number, endpoints, rack), Channels(self, number))
            await self.settle()

    async def _run(self, one: OneOf, *, task_status: trio.TaskStatus[None]) -> None:
        with one.scope:
            await one.controller.run(task_status=task_status)

    async def kill(self, number: int) -> None:
        """The broker is gone, and its session with it."""
        one = self.running.pop(number)
        self.disks[number] = one.hosted.data
        one.scope.cancel()
        await self.settle()
        await one.store.close()
        await self.settle()

    async def stop(self, number: int) -> None:
        """The broker stops cleanly."""
        await self.running[number].controller.leave()
        await self.settle()
        await self.kill(number)

    async def expire(self, number: int) -> None:
        """A broker's session ends, and it has another at once."""
        await self.running[number].store.expire()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()

    @property
    def controller(self) -> OneOf:
        (found,) = [one for one in self.running.values() if one.is_controller]
        return found

    def state(self, topic: str, index: int = 0) -> PartitionState:
        """A partition as all running brokers know it."""
        seen = [one.metadata.partition(TopicPartition(topic, index)) for one in self.running.values()]
        assert len(set(seen)) == 1, seen
        assert seen[0] is not None
        return seen[0]

    def leaders(self, tp: TopicPartition) -> dict[int, tuple[int, int]]:
        """What each broker that hosts a partition was told: leader and epoch."""
        return {
            number: (state.leader, state.leader_epoch)
            for number, one in self.running.items()
            if (state := one.hosted.states.get(tp)) is not None
        }


@asynccontextmanager
async def brokers(*numbers: int, **values: Any) -> AsyncIterator[Brokers]:
    """Running brokers, gone afterwards."""
    async with trio.open_nursery() as nursery:
        cluster = Brokers(nursery)
        await cluster.start(*numbers, **values)
        yield cluster
        nursery.cancel_scope.cancel()
