"""Records out of partitions: a task per leader fetches, and hands over one answer at a time.

It keeps the position of every partition, and leaves out control records and what was rolled back. Who reads which
partitions is decided elsewhere (`group_member`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import trio

from pykbroker.client.cluster import Backoff, Cluster, error_of
from pykbroker.client.errors import ConnectionLost, Unreachable
from pykbroker.client.nursery import open_nursery
from pykbroker.client.offsets import EARLIEST, list_offsets
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.records.batch import RecordBatch, batches
from pykbroker.protocol.records.control import ControlType, read_marker
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition

MAX_WAIT_MS = 500
MAX_BYTES = 8 << 20
PARTITION_BYTES = 1 << 20

_MOVED = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)


class Fetched(NamedTuple):
    """What one partition had to say."""

    partition: TopicPartition
    records: list[tuple[RecordBatch, Record]]
    position: int
    """Where the next records are."""


class Consumer:
    """Reads partitions: `async with Consumer(cluster) as consumer: consumer.assign({partition: offset})`."""

    def __init__(self, cluster: Cluster, *, committed: bool = False) -> None:
        self.positions: dict[TopicPartition, int] = {}
        self._cluster = cluster
        self._committed = committed
        self._tasks = trio.CancelScope()
        self._send, self._receive = trio.open_memory_channel[Fetched | Exception](0)
        self._nursery_manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        await self._nursery_manager.__aexit__(None, None, None)
        return None

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Reads these partitions, from these offsets on, and no others."""
        assert self._nursery is not None
        self._tasks.cancel()
        self._tasks = trio.CancelScope()
        self.positions = dict(positions)
        if positions:
            self._nursery.start_soon(self._fetch, self._tasks, self.positions)

    def drop(self, partition: TopicPartition) -> None:
        """Reads no more of one partition; what is under way is thrown away."""
        self.positions.pop(partition, None)

    async def next(self) -> Fetched:
        """What comes next, of whichever partition. Raises KafkaError and ClientError."""
        while True:
            found = await self._receive.receive()
            if isinstance(found, Exception):
                raise found
            if found.partition in self.positions:
                self.positions[found.partition] = found.position
                return found

    async def _fetch(self, scope: trio.CancelScope, positions: dict[TopicPartition, int]) -> None:
        """A task per leader, until the leaders change; then once more."""
        with scope:
            backoff = Backoff(self._cluster.settings.timeout)
            while positions:
                try:
                    if await self._fetch_from_leaders(positions):
                        backoff = Backoff(self._cluster.settings.timeout)
                except Exception as error:  # The caller's, who is in another task.
                    if not _passes(error) or not await backoff.wait():
                        await self._send.send(error)
                        return
                else:
                    await backoff.wait()

    async def _fetch_from_leaders(self, positions: dict[TopicPartition, int]) -> bool:
        """Fetches until a leader has changed; whether anything came."""
        names = sorted({partition.topic for partition in positions})
        leaders: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        ids: dict[str, Any] = {}
        for topic in (await self._cluster.metadata(names)).topics:
            if topic.error_code and topic.error_code != ErrorCode.LEADER_NOT_AVAILABLE:
                raise error_of(topic.error_code, f"topic {topic.name}")
            ids[topic.name or ""] = topic.topic_id
            for one in topic.partitions:
                partition = TopicPartition(topic.name or "", one.partition_index)
                if partition in positions and one.leader_id in self._cluster.brokers:
                    leaders[one.leader_id].append(partition)
        came = [False]
        complete = sum(map(len, leaders.values())) == len(positions)
        async with open_nursery() as nursery:
            for node, partitions in leaders.items():
                nursery.start_soon(self._fetch_from, node, partitions, positions, ids, nursery.cancel_scope, came)
            if not complete:
                # Those without a leader get another look soon.
                nursery.cancel_scope.deadline = trio.current_time() + 1.0
        return came[0]

    async def _fetch_from(
        self,
        node: int,
        partitions: list[TopicPartition],
        positions: dict[TopicPartition, int],
        ids: Mapping[str, Any],
        all_leaders: trio.CancelScope,
        came: list[bool],
    ) -> None:
        while True:
            partitions = [one for one in partitions if one in positions]
            if not partitions:
                return
            # The partition that stood first stands last next time, so that none is starved by the byte limit.
            partitions.append(partitions.pop(0))
            request = self._request(partitions, positions, ids)
            answer = await self._cluster.node(node, request, purpose="fetch")
            if answer.error_code:
                raise error_of(answer.error_code)
            names = {bytes(getattr(value, "bytes", value)): name for name, value in ids.items()}
            for topic in answer.responses:
                name = topic.topic or names[bytes(getattr(topic.topic_id, "bytes", topic.topic_id))]
                for one in topic.partitions:
                    partition = TopicPartition(name, one.partition_index)
                    if one.error_code in _MOVED:
                        all_leaders.cancel()
                        return
                    came[0] = True
                    if partition in positions:
                        await self._hand_over(partition, one, positions)

    def _request(
        self, partitions: list[TopicPartition], positions: Mapping[TopicPartition, int], ids: Mapping[str, Any]
    ) -> FetchRequest:
        request = FetchRequest(max_wait_ms=MAX_WAIT_MS, min_bytes=1, max_bytes=MAX_BYTES)
        request.isolation_level = int(self._committed)
        topics: dict[str, FetchRequest.Topic] = {}
        for one in partitions:
            topic = topics.get(one.topic)
            if topic is None:
                topic = topics[one.topic] = FetchRequest.Topic(topic=one.topic, topic_id=ids[one.topic])
            topic.partitions.append(
                FetchRequest.Topic.Partition(
                    partition=one.partition,
                    fetch_offset=positions[one],
                    partition_max_bytes=PARTITION_BYTES,
                )
            )
        request.topics = list(topics.values())
        return request

    async def _hand_over(self, partition: TopicPartition, answer: Any, positions: dict[TopicPartition, int]) -> None:
        if answer.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            await self._back_in_range(partition, positions)
            return
        if answer.error_code:
            raise error_of(answer.error_code, str(partition))
        if not answer.records:
            return
        start = position = positions[partition]
        records: list[tuple[RecordBatch, Record]] = []
        for batch in _visible(answer.records, answer.aborted_transactions or () if self._committed else None):
            position = max(position, batch[0].next_offset)
            records += ((batch[0], record) for record in batch[1] if record.offset >= start)
        if position > start:
            await self._send.send(Fetched(partition, records, position))
            # Here too, because whoever took it may not have run yet. It may have dropped the partition, too.
            if partition in positions:
                positions[partition] = position

    async def _back_in_range(self, partition: TopicPartition, positions: dict[TopicPartition, int]) -> None:
        """Retention overtook the reader: it goes on with what is left."""
        found = (await list_offsets(self._cluster, [partition], EARLIEST))[partition]
        if isinstance(found, KafkaError):
            raise found
        if found.offset <= positions[partition]:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, f"{partition} has no offset {positions[partition]}")
        positions[partition] = found.offset


def _passes(error: Exception) -> bool:
    """Whether the leader may be found elsewhere, or back, in a moment."""
    if isinstance(error, KafkaError):
        return error.code == ErrorCode.BROKER_NOT_AVAILABLE
    return isinstance(error, (ConnectionLost, Unreachable))


def _visible(data: memoryview, aborted: Any) -> Iterator[tuple[RecordBatch, list[Record]]]:
    """Every batch with the records that an application may see; `aborted` is None where all may be seen."""
    waiting = sorted(aborted or (), key=lambda one: one.first_offset)
    rolled_back: set[int] = set()
    for batch in batches(data):
        while waiting and waiting[0].first_offset <= batch.last_offset:
            rolled_back.add(waiting.pop(0).producer_id)
        if batch.is_control:
            marker = read_marker(batch)
            if marker is not None and marker.type == ControlType.ABORT:
                rolled_back.discard(batch.producer_id)
            yield batch, []
        elif batch.is_transactional and batch.producer_id in rolled_back:
            yield batch, []
        else:
            batch.check_crc()
            yield batch, list(batch.records())
