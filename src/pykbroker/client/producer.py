"""Records into a topic: batches by partition, to the partitions' leaders, idempotent where the broker lets it be.

One batch of a partition is under way at a time, so that order holds over retries. It buffers what one `send` is given,
and nothing else.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pykbroker.client.cluster import COORDINATOR_MOVED, Backoff, Cluster, error_of, raise_for
from pykbroker.client.errors import ConnectionLost, NotSupported, TimedOut, Unreachable
from pykbroker.client.nursery import open_nursery
from pykbroker.client.partitioner import partition_of_key
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.record import Record

BATCH_BYTES = 512 * 1024
"""Bytes of keys, values and headers in a batch, before compression; a topic takes 1 MiB unless it says otherwise."""
RECORD_OVERHEAD = 70

_SAID = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "there is no such topic, and brokers make none by themselves",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "no right to it",
    ErrorCode.INVALID_TOPIC_EXCEPTION: "no topic can be called that",
}

Headers = tuple[tuple[str, bytes | None], ...]


class Delivered(NamedTuple):
    """Where a record went; offset -1 with acks=0."""

    partition: int
    offset: int


class ProducerRecord(NamedTuple):
    """A record to send: to a partition of its own, its key's, or any. The timestamp is in ms."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()
    partition: int | None = None


@dataclass
class _Partition:
    """What a partition's next batches need."""

    index: int
    leader: int
    topic_id: Any
    sequence: int = 0
    waiting: list[ProducerRecord] = field(default_factory=list)


class Producer:
    """Sends to one topic. `compression` is a codec's number, `acks` 0, 1 or -1 (all)."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        acks: int = -1,
        compression: int = Compression.NONE,
        idempotent: bool = True,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._acks = acks
        self._compression = compression
        self._idempotent = idempotent and acks == -1
        self._producer_id = NO_PRODUCER_ID
        self._producer_epoch = NO_PRODUCER_EPOCH
        self._partitions: dict[int, _Partition] = {}

    async def start(self) -> None:
        """Finds the topic, which may be made by that, and gets a producer id. Raises KafkaError."""
        await self._locate()
        if not self._idempotent:
            return
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        try:
            answer = await self._cluster.any(request, again=COORDINATOR_MOVED)
        except NotSupported:
            return
        # Without the right to it, a producer goes on without: as it did before Kafka 3.0.
        if answer.error_code not in (ErrorCode.NONE, ErrorCode.CLUSTER_AUTHORIZATION_FAILED):
            raise_for(answer.error_code)
        self._producer_id, self._producer_epoch = answer.producer_id, answer.producer_epoch

    async def _locate(self) -> None:
        backoff = Backoff(self._cluster.settings.timeout)
        created = (ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        tries = 0
        while True:
            (topic,) = (await self._cluster.metadata([self._topic], create=True)).topics
            tries += 1
            # A topic that is being made is unknown, or without a leader, for a moment.
            again = topic.error_code == ErrorCode.LEADER_NOT_AVAILABLE or (topic.error_code in created and tries < 4)
            if not topic.error_code or not again or not await backoff.wait():
                break
        if topic.error_code:
            raise error_of(
                topic.error_code, f"topic {self._topic}: {_SAID.get(ErrorCode(topic.error_code), 'no way to it')}"
            )
        for one in topic.partitions:
            known = self._partitions.setdefault(one.partition_index, _Partition(one.partition_index, -1, None))
            known.leader, known.topic_id = one.leader_id, topic.topic_id

    async def send(self, records: Sequence[ProducerRecord]) -> list[Delivered]:
        """Sends records and waits until the brokers have them; where each went, partition by partition.

        Raises the first KafkaError that is not worth another try, and TimedOut.
        """
        waiting: set[int] = set()
        unkeyed = secrets.choice(list(self._partitions))
        for record in records:
            index = record.partition
            if index is None:
                index = unkeyed if record.key is None else partition_of_key(record.key, len(self._partitions))
            if index not in self._partitions:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {self._topic} has no partition {index}")
            self._partitions[index].waiting.append(record)
            waiting.add(index)
        delivered: list[Delivered] = []
        backoff = Backoff(self._cluster.settings.timeout)
        while waiting:
            leaders: defaultdict[int, dict[int, list[ProducerRecord]]] = defaultdict(dict)
            for index in sorted(waiting):
                leaders[self._partitions[index].leader][index] = _head(self._partitions[index].waiting)
            failed: list[KafkaError] = []
            before = len(delivered)
            async with open_nursery() as nursery:
                for node, batches in leaders.items():
                    if node in self._cluster.brokers:
                        nursery.start_soon(self._produce, node, batches, delivered, failed)
            waiting = {index for index in waiting if self._partitions[index].waiting}
            if waiting and len(delivered) == before:
                if not await backoff.wait():
                    raise failed[0] if failed else TimedOut(f"topic {self._topic} has partitions without a leader")
                await self._locate()
        return delivered

    async def _produce(
        self,
        node: int,
        batches: dict[int, list[ProducerRecord]],
        delivered: list[Delivered],
        failed: list[KafkaError],
    ) -> None:
        """One request to one leader; what it took leaves the queues."""
        data = ProduceRequest.TopicData(name=self._topic, topic_id=self._partitions[next(iter(batches))].topic_id)
        for index, records in batches.items():
            one = ProduceRequest.TopicData.PartitionData(index=index, records=self._batch(index, records))
            data.partition_data.append(one)
        request = ProduceRequest(acks=self._acks, timeout_ms=30_000, topic_data=[data])
        try:
            if self._acks == 0:
                await (await self._cluster.connection(node)).send_only(request)
                for index, records in batches.items():
                    self._taken(index, records, -1, delivered)
                return
            answer = await (await self._cluster.connection(node)).call(request)
        except (ConnectionLost, Unreachable):
            if self._producer_id == NO_PRODUCER_ID:
                raise  # Whether the records are there can't be known, and another try could double them.
            return
        for response in answer.responses[0].partition_responses:
            code = response.error_code
            if code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._taken(response.index, batches[response.index], response.base_offset, delivered)
            elif error_of(code).code.retriable:
                failed.append(error_of(code, response.error_message))
            else:
                raise error_of(code, response.error_message)

    def _batch(self, index: int, records: list[ProducerRecord]) -> bytes:
        numbered = [
            Record(offset, record.timestamp, record.key, record.value, record.headers)
            for offset, record in enumerate(records)
        ]
        known = self._producer_id != NO_PRODUCER_ID
        return build_batch(
            numbered,
            compression=self._compression,
            producer_id=self._producer_id,
            producer_epoch=self._producer_epoch,
            base_sequence=self._partitions[index].sequence if known else NO_SEQUENCE,
        )

    def _taken(self, index: int, records: list[ProducerRecord], base: int, delivered: list[Delivered]) -> None:
        partition = self._partitions[index]
        del partition.waiting[: len(records)]
        partition.sequence = (partition.sequence + len(records)) & 0x7FFFFFFF
        delivered += (Delivered(index, base + place if base >= 0 else -1) for place in range(len(records)))


def _head(records: list[ProducerRecord]) -> list[ProducerRecord]:
    """As many as go into one batch, at least one."""
    size = 0
    for place, record in enumerate(records):
        size += RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
        if size > BATCH_BYTES and place:
            return records[:place]
    return records[:]
