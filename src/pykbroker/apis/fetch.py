"""Fetch: records from the logs of the partitions led here, long polls and fetch sessions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from pykbroker.cluster.fetch_session import FetchContext, FetchPartition, PartitionAnswer, PartitionKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.security.acl import CLUSTER_NAME, Operation, ResourceType
from pykbroker.server.leader_hints import MOVED, name_leader
from pykbroker.server.replica import Replica
from pykbroker.server.request import RequestContext, handles
from pykbroker.storage.file_slice import FileSlice
from pykbroker.storage.log_results import LogRead
from pykbroker.storage.log_segment import LogSegment

Response = FetchResponse.Response
Partition = FetchResponse.Response.Partition

FIRST_WITH_WHOLE_FIRST_BATCH = 3
FIRST_WITH_MAGIC_2 = 4
NOT_CONVERTED = (ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, ErrorCode.UNSUPPORTED_VERSION)
"""Of records that can't be had in an old format: they are null then."""
FIRST_WITH_STORAGE_ERROR = 6
FIRST_WITH_SESSIONS = 7
FIRST_FROM_FOLLOWERS = 11
FIRST_WITH_TOPIC_IDS = 13
FIRST_WITH_REPLICA_STATE = 15
FIRST_WITH_LEADERS = 16
READ_COMMITTED = 1
BESIDE_RECORDS = 42
"""Bytes of a partition's answer besides its records, for quotas."""


@handles(FetchRequest, "0-18")
async def fetch(request: FetchRequest, context: RequestContext) -> FetchResponse:
    """Fetch 0-18: answers when `min_bytes` are there, after `max_wait_ms`, or at once where a partition can't be read.

    Sessions from 7 on (KIP-227), leader epochs from 9 (KIP-320), topic ids from 13 (KIP-516), the leader to go to
    from 16 (KIP-951). Up to 3 the records are converted down to the old message formats. Returns the whole batch that
    holds the offset asked for; the answer's first batch is whole even where it is over the limits (KIP-74, from 3 on).
    Followers are told all that the leader has; consumers what is committed, from 11 on by followers too (KIP-392).
    """
    services, version = context.services, context.api_version
    state = request.replica_state
    replica_id = state.replica_id if version >= FIRST_WITH_REPLICA_STATE else request.replica_id
    session = services.fetch_sessions.context(
        request.session_id,
        request.session_epoch if version >= FIRST_WITH_SESSIONS else -1,
        _asked(request, version),
        _forgotten(request, version),
        uses_topic_ids=version >= FIRST_WITH_TOPIC_IDS,
        privileged=replica_id >= 0,
        now=services.clock.monotonic(),
    )
    reading = _Reading(request, context, session, replica_id)
    if replica_id >= 0:
        reading.note_follower(state.replica_epoch)
    if request.max_wait_ms > 0 and reading.keys:
        await services.purgatory.wait_until(reading.ready, reading.keys, request.max_wait_ms / 1000)
    answers: Iterable[tuple[FetchPartition, Partition]] = reading.answers()
    if services.quotas.active and replica_id < 0:
        answers = list(answers)
        throttle_ms = services.quotas.fetched(context, _size(answers))
        if throttle_ms:
            return _nothing(session, throttle_ms)
    return _respond(session, answers, context)


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
                max(-1, partition.current_leader_epoch),
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


class _Reading:
    """What one request reads: looked at as often as its wait wants to know, answered once."""

    def __init__(self, request: FetchRequest, context: RequestContext, session: FetchContext, replica_id: int) -> None:
        self._services = context.services
        self._replicas = context.services.replica_manager
        self._version = context.api_version
        self._incremental = session.incremental
        self._replica_id = replica_id
        self._is_follower = replica_id >= 0
        self._rack = request.rack_id if context.services.replica_manager.followers.selects_by_rack else ""
        self._committed_only = request.isolation_level == READ_COMMITTED and not self._is_follower
        self._max_bytes = min(request.max_bytes, context.services.config.fetch_max_bytes)
        if context.services.quotas.active and not self._is_follower:
            self._max_bytes = min(self._max_bytes, context.services.quotas.fetch_limit(context))
        self._min_bytes = min(request.min_bytes, self._max_bytes)
        self._known: list[tuple[FetchPartition, TopicPartition]] = []
        self._unknown: list[tuple[FetchPartition, ErrorCode]] = []
        self._seen: dict[PartitionKey, tuple[LogSegment, int, int]] = {}
        self.keys: list[TopicPartition] = []
        """What to wait on. A partition that nobody knows is no reason to answer early: its client would ask in a
        tight loop."""
        guarded = context.services.authorizer is not None
        for asked in session:
            tp = self._resolve(asked)
            if tp is None:
                self._unknown.append((asked, ErrorCode.UNKNOWN_TOPIC_ID))
            elif guarded and not self._may_read(tp.topic, context):
                self._unknown.append((asked, ErrorCode.TOPIC_AUTHORIZATION_FAILED))
            elif self._replicas.find(tp) is None and self._services.metadata.partition(tp) is None:
                self._unknown.append((asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
            else:
                self._known.append((asked, tp))
                self.keys.append(tp)

    def _may_read(self, topic: str, context: RequestContext) -> bool:
        """Asked for each fetch anew: a session outlives the ACLs that it began with."""
        if self._replica_id >= 0:
            return context.authorize(Operation.CLUSTER_ACTION, ResourceType.CLUSTER, CLUSTER_NAME)
        return context.authorize(Operation.READ, ResourceType.TOPIC, topic)

    def _resolve(self, asked: FetchPartition) -> TopicPartition | None:
        if asked.topic_partition is None:
            topic_id, index = asked.key
            name = topic_id if isinstance(topic_id, str) else self._services.metadata.topic_name(topic_id)
            if name is not None:
                asked.topic_partition = TopicPartition(name, index)
        return asked.topic_partition

    def note_follower(self, broker_epoch: int) -> None:
        """What a follower asks for says what it has: the high watermark and the ISR may change by it."""
        for asked, tp in self._known:
            try:
                replica = self._replica(asked, tp)
                self._replicas.followers.check_broker_epoch(self._replica_id, broker_epoch)
                if _divergence(asked, replica) is None:
                    self._replicas.followers.fetched(
                        replica, self._replica_id, asked.fetch_offset, asked.log_start_offset
                    )
            except KafkaError:
                continue  # Its answer will say so.

    def ready(self) -> bool:
        """Whether to answer now: enough bytes are there, or a partition can't be read."""
        wanted, size = self._min_bytes, 0
        if wanted <= 0 or (self._is_follower and self._unknown):
            return True
        for asked, tp in self._known:
            try:
                replica = self._replica(asked, tp)
                if _divergence(asked, replica) is not None or self._preferred(asked, replica) is not None:
                    return True
                if asked.fetch_offset < self._end(replica):
                    if wanted == 1:
                        return True
                    size += self._size(asked, replica, whole_first=not size)
            except KafkaError:
                return True
            if size >= wanted:
                return True
        return False

    def _size(self, asked: FetchPartition, replica: Replica, whole_first: bool) -> int:
        """Bytes there to read: looked up once, then followed by the growth of the last segment, as many may wait."""
        log = replica.log
        segment = log.segments[-1]
        if asked.fetch_offset < segment.base_offset:
            return self._min_bytes  # A read ends with its segment: waiting adds nothing to an older one.
        seen = self._seen.get(asked.key)
        if seen is not None and seen[0] is segment and self._end(replica) == log.log_end_offset:
            return min(seen[1] + segment.size - seen[2], asked.max_bytes)
        records = self._read(asked, replica, self._max_bytes, whole_first).records
        size = 0 if records is None else len(records)
        self._seen[asked.key] = segment, size, segment.size
        return size

    def answers(self) -> Iterator[tuple[FetchPartition, Partition]]:
        """Every partition's answer but for those of an incremental session that there is nothing to say about."""
        left, whole_first = self._max_bytes, self._version >= FIRST_WITH_WHOLE_FIRST_BATCH
        for asked, tp in self._known:
            try:
                replica = self._replica(asked, tp)
                if self._incremental and self._is_quiet(asked, replica):
                    continue
                answer = self._answer(asked, replica, left, whole_first)
            except KafkaError as error:
                answer = self._refusal(asked, error.code)
            if size := len(answer.records or b""):
                if self._is_follower:
                    self._replicas.followers.sent(replica, size)
                left, whole_first = max(0, left - size), False
            yield asked, answer
        for asked, code in self._unknown:
            yield asked, Partition(partition_index=asked.key[1], error_code=code, high_watermark=-1)

    def _replica(self, asked: FetchPartition, tp: TopicPartition) -> Replica:
        """The replica to read from. Raises what the partition's answer says otherwise."""
        from_leader = self._is_follower or self._version < FIRST_FROM_FOLLOWERS
        replica = self._replicas.leader(tp) if from_leader else self._replicas.hosted(tp)
        partition = replica.partition
        if self._version >= FIRST_WITH_TOPIC_IDS and partition.topic_id != asked.key[0]:
            raise KafkaError(ErrorCode.INCONSISTENT_TOPIC_ID)
        partition.check_leader_epoch(asked.current_leader_epoch)
        if self._is_follower:
            partition.check_follower(self._replica_id, asked.current_leader_epoch)
        log, offset = replica.log, asked.fetch_offset
        if offset < log.log_start_offset or (offset > log.log_end_offset and asked.last_fetched_epoch < 0):
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        return replica

    def _preferred(self, asked: FetchPartition, replica: Replica) -> int | None:
        """KIP-392: the replica that a consumer in a rack had better ask; None for this one."""
        if not self._rack or self._is_follower:
            return None
        return self._replicas.followers.preferred_read_replica(replica, self._rack, asked.fetch_offset)

    def _end(self, replica: Replica) -> int:
        if self._is_follower:
            held_back = self._replicas.followers.must_not_send(replica, self._replica_id)
            return 0 if held_back else replica.log.log_end_offset
        return replica.last_stable_offset if self._committed_only else replica.partition.high_watermark

    def _is_quiet(self, asked: FetchPartition, replica: Replica) -> bool:
        return (
            asked.fetch_offset >= self._end(replica)
            and asked.was_told(replica.partition.high_watermark, replica.log.log_start_offset)
            and _divergence(asked, replica) is None
        )

    def _answer(self, asked: FetchPartition, replica: Replica, left: int, whole_first: bool) -> Partition:
        log = replica.log
        answer = Partition(
            partition_index=asked.key[1],
            high_watermark=replica.partition.high_watermark,
            last_stable_offset=replica.last_stable_offset,
            log_start_offset=log.log_start_offset,
            aborted_transactions=None,
        )
        diverging = _divergence(asked, replica)
        if diverging is not None:
            answer.diverging_epoch = diverging
            return answer
        preferred = self._preferred(asked, replica)
        if preferred is not None:
            answer.preferred_read_replica = preferred
            return answer
        read = self._read(asked, replica, left, whole_first)
        records = read.records
        if records is not None:
            answer.records = (
                records if self._version >= FIRST_WITH_MAGIC_2 else self._down_convert(asked, replica, records)
            )
        if self._committed_only:
            answer.aborted_transactions = [
                Partition.AbortedTransaction(producer_id=producer_id, first_offset=first_offset)
                for producer_id, first_offset in log.aborted_in(read)
            ]
        return answer

    def _read(self, asked: FetchPartition, replica: Replica, left: int, whole_first: bool) -> LogRead:
        return replica.log.read(
            asked.fetch_offset,
            max(0, min(asked.max_bytes, left)),
            upper_bound=self._end(replica),
            min_one_message=whole_first and self._version >= FIRST_WITH_WHOLE_FIRST_BATCH,
        )

    def _down_convert(self, asked: FetchPartition, replica: Replica, records: FileSlice) -> bytes:
        from pykbroker.protocol.records.message_set import down_convert  # Rare: only clients before 0.11 need it.

        if not replica.log.config.message_downconversion_enable:
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
        return down_convert(records.read(), 0 if self._version < 2 else 1, asked.fetch_offset)

    def _refusal(self, asked: FetchPartition, code: ErrorCode) -> Partition:
        if code == ErrorCode.KAFKA_STORAGE_ERROR and self._version < FIRST_WITH_STORAGE_ERROR:
            code = ErrorCode.NOT_LEADER_OR_FOLLOWER  # Older clients don't know the code, nor that they may retry.
        refusal = Partition(partition_index=asked.key[1], error_code=code, high_watermark=-1, aborted_transactions=None)
        if self._version < FIRST_WITH_MAGIC_2 and code in NOT_CONVERTED:
            refusal.records = None
        return refusal


def _divergence(asked: FetchPartition, replica: Replica) -> Partition.DivergingEpoch | None:
    """KIP-595: whoever fetched another history than the leader's is told where the two part."""
    known, log = asked.last_fetched_epoch, replica.log
    if known < 0 or (known == log.latest_epoch and asked.fetch_offset <= log.log_end_offset):
        return None
    epoch, end_offset = replica.log.end_offset_for_epoch(asked.last_fetched_epoch)
    if epoch < 0 or end_offset < 0:
        raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
    if epoch >= asked.last_fetched_epoch and end_offset >= asked.fetch_offset:
        return None
    return Partition.DivergingEpoch(epoch=epoch, end_offset=end_offset)


def _size(answers: Iterable[tuple[FetchPartition, Partition]]) -> int:
    return sum(len(answer.records or b"") + BESIDE_RECORDS for _, answer in answers if answer.records)


def _nothing(session: FetchContext, throttle_ms: int) -> FetchResponse:
    """What a client over its quota gets: no partition, and the time after which to ask again (KIP-219)."""
    response = FetchResponse(throttle_time_ms=throttle_ms)
    if session.incremental:
        response.session_id = session.session_id
        if session.overtaken:
            response.error_code = ErrorCode.INVALID_FETCH_SESSION_EPOCH
    return response


def _respond(
    session: FetchContext, answers: Iterable[tuple[FetchPartition, Partition]], context: RequestContext
) -> FetchResponse:
    """Groups the answers by topic, without those that an incremental session's client knows already."""
    response = FetchResponse(session_id=session.session_id)
    if session.overtaken:
        response.error_code = ErrorCode.INVALID_FETCH_SESSION_EPOCH
        return response
    last: str | UUID | None = None
    for asked, answer in answers:
        news = PartitionAnswer(
            len(answer.records or b""),
            answer.high_watermark,
            answer.log_start_offset,
            answer.error_code,
            answer.diverging_epoch.epoch >= 0 or answer.preferred_read_replica >= 0,
        )
        if not session.must_answer(asked, news):
            continue
        if context.api_version >= FIRST_WITH_LEADERS and answer.error_code in MOVED and asked.topic_partition:
            name_leader(response, answer, asked.topic_partition, context)
        topic = asked.key[0]
        if topic != last:
            last = topic
            response.responses.append(Response(topic=topic) if isinstance(topic, str) else Response(topic_id=topic))
        response.responses[-1].partitions.append(answer)
    return response
