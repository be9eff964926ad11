"""Fetch: records from the logs of the partitions led here, long polls and fetch sessions included."""

from __future__ import annotations

from collections.abc import Hashable
from uuid import UUID

from pykbroker.cluster.fetch_session import FetchContext, FetchPartition, PartitionAnswer, PartitionKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.replica_manager import Replica
from pykbroker.server.request import RequestContext, handles

Response = FetchResponse.Response
Partition = FetchResponse.Response.Partition

FIRST_WITH_TOPIC_IDS = 13
FIRST_WITH_MAGIC_2 = 4
FIRST_WITH_WHOLE_FIRST_BATCH = 3
FIRST_WITH_ZSTD = 10
READ_COMMITTED = 1


@handles(FetchRequest, "0-18")
async def fetch(request: FetchRequest, context: RequestContext) -> FetchResponse:
    """Fetch 0-18: answers when `min_bytes` are there, after `max_wait_ms`, or at once where anything is wrong.

    Sessions from 7 on (KIP-227), leader epochs from 9 (KIP-320), topic ids from 13 (KIP-516). Up to 3 the records are
    converted down to the old message formats. Returns the whole batch that holds the offset asked for; the first
    batch of the answer is whole even where it is over the limits (KIP-74, from 3 on).
    """
    services = context.services
    version = context.api_version
    session = services.fetch_sessions.context(
        request.session_id,
        request.session_epoch if version >= 7 else -1,
        _asked(request, version),
        _forgotten(request, version),
        uses_topic_ids=version >= FIRST_WITH_TOPIC_IDS,
        privileged=False,
        now=services.clock.monotonic(),
    )
    reader = _Reader(request, context)
    partitions = list(session)
    answers = reader.read(partitions)
    if not reader.complete and partitions and request.max_wait_ms > 0:
        await services.purgatory.wait_until(
            lambda: reader.would_complete(partitions), reader.keys(partitions), request.max_wait_ms / 1000
        )
        answers = reader.read(partitions)
    return _respond(session, partitions, answers, reader)


def _asked(request: FetchRequest, version: int) -> dict[PartitionKey, FetchPartition]:
    asked: dict[PartitionKey, FetchPartition] = {}
    for topic in request.topics:
        name: str | UUID = topic.topic_id if version >= FIRST_WITH_TOPIC_IDS else topic.topic
        for partition in topic.partitions:
            key = name, partition.partition
            asked[key] = FetchPartition(
                key,
                partition.fetch_offset,
                partition.partition_max_bytes,
                partition.current_leader_epoch,
                partition.last_fetched_epoch,
                partition.log_start_offset,
            )
    return asked


def _forgotten(request: FetchRequest, version: int) -> list[PartitionKey]:
    return [
        (topic.topic_id if version >= FIRST_WITH_TOPIC_IDS else topic.topic, index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]


class _Reader:
    """Reads what one request asks for, as often as its wait wants to know."""

    def __init__(self, request: FetchRequest, context: RequestContext) -> None:
        self._services = context.services
        self._version = context.api_version
        self._committed_only = request.isolation_level == READ_COMMITTED
        self._min_bytes = request.min_bytes
        self._max_bytes = min(request.max_bytes, context.services.config.fetch_max_bytes)
        self.complete = False
        """Whether the last `read` found enough to answer without waiting."""

    def read(self, partitions: list[FetchPartition]) -> list[Partition]:
        """One answer for each partition, in the same order."""
        left, size, failed, answers = self._max_bytes, 0, False, []
        for asked in partitions:
            answer = self._read_one(asked, left, first=size == 0)
            taken = len(answer.records) if answer.records is not None else 0
            size += taken
            left = max(0, left - taken)
            failed = failed or answer.error_code != ErrorCode.NONE or answer.diverging_epoch.epoch >= 0
            answers.append(answer)
        self.complete = failed or size >= self._min_bytes
        return answers

    def would_complete(self, partitions: list[FetchPartition]) -> bool:
        """Whether a request that waits on these partitions can be answered: asked at each of their changes."""
        if self._min_bytes > 1:
            self.read(partitions)
            return self.complete
        return any(self._has_news(asked) for asked in partitions)

    def _has_news(self, asked: FetchPartition) -> bool:
        tp = self._resolve(asked)
        replica = None if tp is None else self._services.replica_manager.find(tp)
        return replica is None or self._end(replica) > asked.fetch_offset

    def keys(self, partitions: list[FetchPartition]) -> list[Hashable]:
        """What to wait on."""
        return [tp for tp in map(self._resolve, partitions) if tp is not None]

    def _resolve(self, asked: FetchPartition) -> TopicPartition | None:
        topic, index = asked.key
        name = topic if isinstance(topic, str) else self._services.metadata.topic_name(topic)
        return None if name is None else TopicPartition(name, index)

    def _end(self, replica: Replica) -> int:
        return replica.last_stable_offset if self._committed_only else replica.partition.high_watermark

    def _read_one(self, asked: FetchPartition, left: int, first: bool) -> Partition:
        answer = Partition(partition_index=asked.key[1], high_watermark=-1, records=b"", aborted_transactions=None)
        tp = self._resolve(asked)
        try:
            if tp is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
            replica = self._services.replica_manager.leader(tp)
            replica.partition.check_leader_epoch(asked.current_leader_epoch)
            self._fill(answer, asked, replica, left, first)
        except KafkaError as error:
            answer.error_code = error.code
        return answer

    def _fill(self, answer: Partition, asked: FetchPartition, replica: Replica, left: int, first: bool) -> None:
        log, end = replica.log, self._end(replica)
        answer.high_watermark = replica.partition.high_watermark
        answer.last_stable_offset = replica.last_stable_offset
        answer.log_start_offset = log.log_start_offset
        if asked.last_fetched_epoch >= 0 and self._diverges(answer, asked, replica):
            return
        if not log.log_start_offset <= asked.fetch_offset <= log.log_end_offset:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if self._version < FIRST_WITH_ZSTD and log.config.compression_type == "zstd":
            raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
        if asked.fetch_offset < end:
            whole_first = first and self._version >= FIRST_WITH_WHOLE_FIRST_BATCH
            found = log.read(
                asked.fetch_offset, min(asked.max_bytes, left), upper_bound=end, min_one_message=whole_first
            )
            if found.records is not None:
                answer.records = found.records
                if self._version < FIRST_WITH_MAGIC_2:
                    answer.records = self._down_convert(found.records.read(), asked.fetch_offset)
        if self._committed_only:
            answer.aborted_transactions = [
                Partition.AbortedTransaction(producer_id=producer_id, first_offset=first_offset)
                for producer_id, first_offset in log.aborted_transactions(asked.fetch_offset, end)
            ]

    def _down_convert(self, records: bytes, offset: int) -> bytes:
        from pykbroker.protocol.records.message_set import down_convert  # Rare: only clients before 0.11 need it.

        return down_convert(records, 0 if self._version < 2 else 1, offset)

    @staticmethod
    def _diverges(answer: Partition, asked: FetchPartition, replica: Replica) -> bool:
        """KIP-595: whoever fetched another history than the leader's is told where the two part."""
        epoch, end_offset = replica.log.end_offset_for_epoch(asked.last_fetched_epoch)
        if epoch < 0 or end_offset < 0:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if epoch >= asked.last_fetched_epoch and end_offset >= asked.fetch_offset:
            return False
        answer.diverging_epoch = Partition.DivergingEpoch(epoch=epoch, end_offset=end_offset)
        return True


def _respond(
    session: FetchContext, partitions: list[FetchPartition], answers: list[Partition], reader: _Reader
) -> FetchResponse:
    """Groups the answers by topic, without those that an incremental session's client knows already."""
    responses: list[Response] = []
    last: str | UUID | None = None
    for asked, answer in zip(partitions, answers, strict=True):
        news = PartitionAnswer(
            len(answer.records) if answer.records is not None else 0,
            answer.high_watermark,
            answer.log_start_offset,
            answer.error_code,
            answer.diverging_epoch.epoch >= 0,
        )
        if not session.must_answer(asked, news):
            continue
        topic = asked.key[0]
        if topic != last:
            last = topic
            responses.append(Response(topic=topic) if isinstance(topic, str) else Response(topic_id=topic))
        responses[-1].partitions.append(answer)
    return FetchResponse(session_id=session.session_id, responses=responses)
