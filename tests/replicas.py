"""The data plane of several brokers in one event loop: real logs, real replication over streams in memory, a clock
that jumps, and a controller that elects whom the test says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import trio
from trio.testing import memory_stream_pair

from pykbroker.apis import HANDLERS
from pykbroker.cluster.image import BrokerImage, ClusterImage, Endpoint, PartitionState, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.topic import LogConfig
from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import Message, as_bytes
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannels
from pykbroker.server.disk import InlineDisk
from pykbroker.server.fetch_sessions import FetchSessions
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica_fetcher import ReplicaFetchers
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_manager import LogManager

TP = TopicPartition("t", 0)
TOPIC_ID = UUID(int=7)


class TrioClock:
    """The mock clock's time for everything."""

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(trio.current_time() * 1000)

    def monotonic(self) -> float:
        return trio.current_time()


class Node:
    """One broker's data plane; `kill` leaves its directory as a crash does."""

    def __init__(self, cluster: MemoryCluster, node_id: int) -> None:
        self.cluster = cluster
        self.id = node_id
        self.scope = trio.CancelScope()
        self.config = cluster.config.with_properties({"node.id": str(node_id), "broker.rack": f"rack-{node_id}"})
        self.metadata = MetadataCache(self.config)
        self.logs = LogManager([cluster.path / str(node_id)], LogConfig.resolve(self.config, {}))
        self.logs.open(lambda topic: LogConfig.resolve(self.config, cluster.topics.get(topic, {})))
        self.clock, self.purgatory = TrioClock(), Purgatory()
        self.replicas = ReplicaManager(self.logs, self.metadata, self.purgatory, InlineDisk(), self.clock)
        self.replicas.isr_changes.store = cluster
        self.channels = BrokerChannels(self.config, self.metadata, self._connect)
        self.fetchers = ReplicaFetchers(self.channels, self.metadata, self.replicas, InlineDisk(), self.clock)
        self.replicas.fetchers = self.fetchers
        services: Any = SimpleNamespace(
            config=self.config,
            clock=self.clock,
            purgatory=self.purgatory,
            metadata=self.metadata,
            replica_manager=self.replicas,
            fetch_sessions=FetchSessions(1000),
            authorizer=None,
            telemetry=None,
            quotas=SimpleNamespace(active=False),
        )
        self.dispatcher = Dispatcher(services, HANDLERS)

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                nursery.start_soon(self.fetchers.run)
                nursery.start_soon(self.replicas.run)

    async def _connect(self, broker_id: int, endpoint: Endpoint) -> trio.abc.Stream:
        return await self.cluster.connect(self.id, broker_id)

    async def serve(self, stream: trio.StapledStream) -> None:
        peer = Peer(("127.0.0.1", 1), ("127.0.0.1", 9092), "PLAINTEXT", 1)
        buffer = b""
        try:
            async for data in stream:
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
                    frame, buffer = memoryview(bytearray(buffer[4 : 4 + size])), buffer[4 + size :]
                    pieces = await self.dispatcher.answer(frame, peer)
                    await stream.send_all(b"".join(map(as_bytes, pieces or ())))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def ask(self, request: Message, version: int) -> Any:
        """The answer to a client's request."""
        frame = b"".join(map(as_bytes, encode_request(request, version, 1, "test")))[4:]
        peer = Peer(("127.0.0.1", 1), ("127.0.0.1", 9092), "PLAINTEXT", 1)
        pieces = await self.dispatcher.answer(memoryview(bytearray(frame)), peer)
        assert pieces is not None
        return decode_response(b"".join(map(as_bytes, pieces))[4:], type(request).key, version)[1]

    async def produce(self, *values: bytes, acks: int = -1, tp: TopicPartition = TP, timeout: float = 60) -> int:
        """Appends values, one batch, and waits as acks say; the first one's offset. Raises KafkaError."""
        batch = memoryview(bytearray(build_batch([(None, value) for value in values], timestamp=1)))
        info = self.replicas.append(tp, batch, acks=acks, request_version=9)
        if acks == -1:
            epoch = self.replicas.leader(tp).partition.leader_epoch
            await self.replicas.wait_for_high_watermark(tp, info.last_offset + 1, timeout, epoch)
        return info.first_offset

    def values(self, tp: TopicPartition = TP) -> list[bytes | None]:
        """What the log holds."""
        return [record.value for batch in batches(self.bytes(tp)) for record in batch.records()]

    def bytes(self, tp: TopicPartition = TP) -> bytes:
        """The log's batches as they are in its segments."""
        replica_log = self.replicas.log(tp)
        assert replica_log is not None
        found = b""
        offset = replica_log.log_start_offset
        while offset < replica_log.log_end_offset:
            records = replica_log.read(offset, 1 << 30, upper_bound=replica_log.log_end_offset).records
            assert records is not None
            found += records.read()
            offset = [batch.next_offset for batch in batches(found)][-1]
        return found

    def high_watermark(self, tp: TopicPartition = TP) -> int:
        replica = self.replicas.find(tp)
        assert replica is not None
        return replica.partition.high_watermark


class MemoryCluster:
    """Brokers 1 to `brokers`, and the controller: its decisions reach the live brokers at once."""

    def __init__(self, nursery: trio.Nursery, path: Path, brokers: int = 3, **properties: str) -> None:
        self.path = path
        self.config = BrokerConfig.from_properties({key.replace("_", "."): value for key, value in properties.items()})
        self._nursery = nursery
        self._count = brokers
        self._links: dict[tuple[int, int], list[trio.StapledStream]] = {}
        self._cut: set[frozenset[int]] = set()
        self.nodes: dict[int, Node] = {}
        self.states: dict[TopicPartition, PartitionState] = {}
        self.topics: dict[str, dict[str, str]] = {}
        """Their overrides."""
        self.refusal: ErrorCode | None = None
        self.reachable = True
        """Whether the store of ISRs answers."""
        for node_id in range(1, brokers + 1):
            self.start(node_id)

    # ---- brokers -------------------------------------------------------------------------------------------------

    def start(self, node_id: int) -> Node:
        node = self.nodes[node_id] = Node(self, node_id)
        self._nursery.start_soon(node.run)
        self._publish()
        return node

    def kill(self, node_id: int) -> None:
        node = self.nodes.pop(node_id)
        node.scope.cancel()
        node.logs.abandon()
        for (one, other), streams in self._links.items():
            if node_id in (one, other):
                for stream in streams:
                    _close(stream)
        self._publish()

    def stop(self, node_id: int) -> None:
        """A clean end: high watermarks and recovery points are written."""
        watermarks = self.nodes[node_id].replicas.high_watermarks()
        self.nodes[node_id].logs.close(watermarks)
        self.kill(node_id)

    def cut(self, one: int, other: int) -> None:
        self._cut.add(frozenset((one, other)))
        for link in ((one, other), (other, one)):
            for stream in self._links.pop(link, ()):
                _close(stream)

    def heal(self) -> None:
        self._cut.clear()

    async def connect(self, source: int, target: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if target not in self.nodes or frozenset((source, target)) in self._cut:
            raise ConnectionRefusedError(f"no way from {source} to {target}")
        ours, theirs = memory_stream_pair()
        self._links.setdefault((source, target), []).append(ours)
        self.nodes[target].nursery.start_soon(self.nodes[target].serve, theirs)
        return ours

    # ---- the controller --------------------------------------------------------------------------------------------

    async def create(self, replicas: Sequence[int] = (1, 2, 3), tp: TopicPartition = TP, **config: str) -> None:
        """A partition that its first replica leads."""
        overrides = {key.replace("_", "."): value for key, value in config.items()}
        self.topics[tp.topic] = overrides
        for node in self.nodes.values():
            node.metadata.set_overrides(tp.topic, overrides)
        self.states[tp] = PartitionState(replicas[0], 0, tuple(replicas), tuple(replicas), 0, 1)
        await self._tell(tp, is_new=True)

    async def elect(self, leader: int, isr: Sequence[int] | None = None, tp: TopicPartition = TP) -> None:
        """A new leader, in the next epoch; by default the ISR loses those that are dead."""
        state = self.states[tp]
        members = tuple(isr) if isr is not None else tuple(node for node in state.isr if node in self.nodes)
        self.states[tp] = state._replace(
            leader=leader,
            isr=members,
            leader_epoch=state.leader_epoch + 1,
            partition_epoch=state.partition_epoch + 1,
        )
        await self._tell(tp)

    async def introduce(self, node_id: int, tp: TopicPartition = TP) -> None:
        """A broker that has come (back) hears what there is."""
        await self._tell(tp, only=node_id)

    async def _tell(self, tp: TopicPartition, *, is_new: bool = False, only: int | None = None) -> None:
        self._publish()
        state = self.states[tp]
        for node in list(self.nodes.values()):
            if node.id in state.replicas and only in (None, node.id):
                node.metadata.set_overrides(tp.topic, self.topics[tp.topic])
                (code,) = (
                    await node.replicas.apply_leader_and_isr([LeaderState(tp, TOPIC_ID, state, is_new)])
                ).values()
                assert code is ErrorCode.NONE, code

    async def propose(self, tp: TopicPartition, state: PartitionState) -> PartitionState:
        """The store of ISRs, with the controller's checks."""
        await trio.lowlevel.checkpoint()
        known = self.states[tp]
        if not self.reachable:
            raise ConnectionRefusedError("no store")
        if self.refusal is not None:
            raise KafkaError(self.refusal)
        if state.leader_epoch < known.leader_epoch:
            raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH)
        if state.partition_epoch != known.partition_epoch:
            raise KafkaError(ErrorCode.INVALID_UPDATE_VERSION)
        if any(node not in self.nodes for node in set(state.isr) - set(known.isr)):
            raise KafkaError(ErrorCode.INELIGIBLE_REPLICA)
        self.states[tp] = known._replace(isr=state.isr, partition_epoch=known.partition_epoch + 1)
        self._publish()
        return self.states[tp]

    def _publish(self) -> None:
        brokers = [
            BrokerImage(node.id, {"PLAINTEXT": Endpoint(f"node-{node.id}", 9092, "PLAINTEXT")}, node.config.broker_rack)
            for node in self.nodes.values()
        ]
        topics: dict[str, dict[int, PartitionState]] = {}
        for tp, state in self.states.items():
            topics.setdefault(tp.topic, {})[tp.partition] = state
        images = [TopicImage(name, TOPIC_ID, states) for name, states in topics.items()]
        for node in self.nodes.values():
            node.metadata.publish(ClusterImage("memory").with_brokers(*brokers).with_topics(*images))

    def isr(self, tp: TopicPartition = TP) -> set[int]:
        return set(self.states[tp].isr)

    def leader(self, tp: TopicPartition = TP) -> Node:
        return self.nodes[self.states[tp].leader]


def _close(stream: trio.StapledStream) -> None:
    stream.send_stream.close()  # type: ignore[attr-defined]
    stream.receive_stream.close()  # type: ignore[attr-defined]
