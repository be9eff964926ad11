"""ShareFetch and ShareAcknowledge: records for a member of a share group, and what it says about them (KIP-932).

A handler fits the protocol to sessions and share-partitions; who gets what is decided in `cluster`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

import trio

from pykbroker.cluster.features import SHARE_VERSION
from pykbroker.cluster.share_acknowledge import Answer, check
from pykbroker.cluster.share_acquire import Wanted, acquire
from pykbroker.cluster.share_session import SessionKey, ShareContext, SharedPartition, SharePartitionId
from pykbroker.coordinator.share.state import ShareKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.share_acknowledge import ShareAcknowledgeRequest, ShareAcknowledgeResponse
from pykbroker.protocol.messages.share_fetch import ShareFetchRequest, ShareFetchResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.server.leader_hints import MOVED, name_leader
from pykbroker.server.request import RequestContext, handles
from pykbroker.server.share_partitions import LedShare
from pykbroker.server.share_reading import read_headers, slice_acquired
from pykbroker.storage.log_results import LogRead

Fetched = ShareFetchResponse.Response.Partition
Acknowledged = ShareAcknowledgeResponse.Response.Partition

FIRST_WITH_RENEWAL = 2
RECORD_LIMIT = 1
ACQUIRE_MODES = (0, RECORD_LIMIT)
MAX_MEMBER_ID = 36

Answers = Mapping[SharePartitionId, Sequence[Answer]]
Outcomes = dict[SharePartitionId, KafkaError | None]
"""What became of the answers for each partition."""


@handles(ShareFetchRequest, "1-2")
async def share_fetch(request: ShareFetchRequest, context: RequestContext) -> ShareFetchResponse:
    """ShareFetch 1-2: takes the answers that come with it, then acquires records, or waits for some.

    From 2 on with a strict limit of records (KIP-1206) and renewed locks (KIP-1222): who renews fetches nothing.
    """
    _check_member(request.group_id, request.member_id, context)
    group_id = request.group_id or ""
    services, key = context.services, SessionKey(group_id, request.member_id or "")
    renews = context.api_version >= FIRST_WITH_RENEWAL and request.is_renew_ack
    if renews:
        _check_renewal(request)
    answers = _answers(request.topics)
    try:
        session = services.share_partitions.sessions.context(
            key,
            request.share_session_epoch,
            _asked(request, context),
            [(topic.topic_id, index) for topic in request.forgotten_topics_data for index in topic.partitions],
            answers=any(answers.values()),
            connection_id=context.connection_id,
        )
    except KafkaError as error:
        if error.code is ErrorCode.SHARE_SESSION_LIMIT_REACHED:  # Else the client would ask in a tight loop.
            await trio.sleep(max(0, request.max_wait_ms) / 1000)
        raise
    outcomes = await _acknowledge(key, answers, context, renews=renews) if any(answers.values()) else {}
    if request.share_acquire_mode not in ACQUIRE_MODES:
        raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)  # Kafka's answer; the session has gone on.
    fetching = _Fetching(request, context, session)
    if not renews:
        await fetching.wait()
    response = _fetch_response(session, [] if renews else list(fetching.answers()), outcomes, context)
    lock_ms: int = services.metadata.group_config(group_id).share_record_lock_duration_ms
    response.acquisition_lock_timeout_ms = lock_ms
    if services.quotas.active:
        response.throttle_time_ms = services.quotas.shared(context, fetching.size)
    if session.is_final:
        services.share_partitions.close_session(key)
    return response


@handles(ShareAcknowledgeRequest, "1-2")
async def share_acknowledge(request: ShareAcknowledgeRequest, context: RequestContext) -> ShareAcknowledgeResponse:
    """ShareAcknowledge 1-2: records accepted, released, rejected; from 2 on renewed, too (KIP-1222)."""
    _check_member(request.group_id, request.member_id, context)
    services, key = context.services, SessionKey(request.group_id or "", request.member_id or "")
    services.share_partitions.sessions.acknowledge(key, request.share_session_epoch)
    renews = context.api_version >= FIRST_WITH_RENEWAL and request.is_renew_ack
    outcomes = await _acknowledge(key, _answers(request.topics), context, renews=renews)
    response = ShareAcknowledgeResponse()
    topics: dict[UUID, ShareAcknowledgeResponse.Response] = {}
    for (topic_id, index), error in outcomes.items():
        answer = Acknowledged(partition_index=index)
        if error is not None:
            answer.error_code, answer.error_message = error.code, error.message
            _name_leader(response, answer, topic_id, context)
        if topic_id not in topics:
            topics[topic_id] = ShareAcknowledgeResponse.Response(topic_id=topic_id)
            response.responses.append(topics[topic_id])
        topics[topic_id].partitions.append(answer)
    if context.api_version >= FIRST_WITH_RENEWAL:
        lock_ms: int = services.metadata.group_config(key.group_id).share_record_lock_duration_ms
        response.acquisition_lock_timeout_ms = lock_ms
    if request.share_session_epoch < 0:
        services.share_partitions.close_session(key)
    return response


def _check_member(group_id: str | None, member_id: str | None, context: RequestContext) -> None:
    if not context.services.metadata.image.features.level(SHARE_VERSION):
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
    if group_id is None:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Invalid group id in the request.")
    if not member_id or len(member_id) > MAX_MEMBER_ID:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Invalid member id in the request.")


def _check_renewal(request: ShareFetchRequest) -> None:
    """KIP-1222: a fetch would outlast the locks."""
    names = {"maxBytes": "max_bytes", "minBytes": "min_bytes", "maxRecords": "max_records", "maxWaitMs": "max_wait_ms"}
    wrong = [f"{name} must be set to 0, " for name, field in names.items() if getattr(request, field)]
    if wrong:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"{''.join(wrong)}if isRenewAck is true.")


def _asked(request: ShareFetchRequest, context: RequestContext) -> Iterator[tuple[SharePartitionId, str | None]]:
    for topic in request.topics:
        name = context.services.metadata.topic_name(topic.topic_id)
        for partition in topic.partitions:
            yield (topic.topic_id, partition.partition_index), name


def _answers(
    topics: Iterable[ShareFetchRequest.Topic] | Iterable[ShareAcknowledgeRequest.Topic],
) -> dict[SharePartitionId, list[Answer]]:
    return {
        (topic.topic_id, partition.partition_index): [
            Answer(batch.first_offset, batch.last_offset, batch.acknowledge_types)
            for batch in partition.acknowledgement_batches
        ]
        for topic in topics
        for partition in topic.partitions
    }


async def _acknowledge(key: SessionKey, answers: Answers, context: RequestContext, *, renews: bool) -> Outcomes:
    """Has every partition's answers taken, each by itself."""
    services = context.services
    renewing = renews if context.api_version >= FIRST_WITH_RENEWAL else None
    outcomes: Outcomes = {}
    taken: set[SharePartitionId] = set()

    async def take(partition_id: SharePartitionId, given: Sequence[Answer]) -> None:
        topic_id, index = partition_id
        outcomes[partition_id] = None
        try:
            name = services.metadata.topic_name(topic_id)
            if name is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
            check(given, renewing=renewing)
            if not context.authorize(Operation.READ, ResourceType.TOPIC, name):
                raise KafkaError(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
            if services.metadata.partition(TopicPartition(name, index)) is None:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if given:
                taken.add(partition_id)
                share_key = ShareKey(key.group_id, topic_id, index)
                await services.share_partitions.acknowledge(share_key, key.member_id, given)
        except KafkaError as error:
            outcomes[partition_id] = error

    if len(answers) == 1:
        await take(*next(iter(answers.items())))
    else:
        async with trio.open_nursery() as nursery:
            for partition_id, given in answers.items():
                nursery.start_soon(take, partition_id, given)
    # Kafka names partitions without answers only beside others with them.
    return outcomes if taken else {one: error for one, error in outcomes.items() if error is not None}


class _Fetching:
    """What one request fetches: looked at as often as its wait wants to know, answered once."""

    def __init__(self, request: ShareFetchRequest, context: RequestContext, session: ShareContext) -> None:
        self._request = request
        self._services = context.services
        self._group_id = request.group_id or ""
        self._max_bytes = min(request.max_bytes, context.services.config.fetch_max_bytes)
        if context.services.quotas.active:
            self._max_bytes = min(self._max_bytes, context.services.quotas.fetch_limit(context))
        self._min_bytes = min(request.min_bytes, self._max_bytes)
        self.size = 0
        """Bytes of records in the answer."""
        isolation: str = context.services.metadata.group_config(self._group_id).share_isolation_level
        self._committed_only = isolation == "read_committed"
        self._failed: list[tuple[SharedPartition, Fetched]] = []
        self._led: list[tuple[SharedPartition, LedShare]] = []
        for partition in session.rotated:
            try:
                self._led.append((partition, self._open(partition, context)))
            except KafkaError as error:
                self._fail(partition, error)

    def _open(self, partition: SharedPartition, context: RequestContext) -> LedShare:
        topic_id, index = partition.id
        if partition.topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
        if not context.authorize(Operation.READ, ResourceType.TOPIC, partition.topic):
            raise KafkaError(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        tp = TopicPartition(partition.topic, index)
        if self._services.metadata.partition(tp) is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return self._services.share_partitions.open(self._group_id, topic_id, tp)

    def _fail(self, partition: SharedPartition, error: KafkaError) -> None:
        answer = Fetched(
            partition_index=partition.id[1], error_code=error.code, error_message=error.message, records=b""
        )
        self._failed.append((partition, answer))

    # ---- waiting ---------------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Waits for records, for at most `max_wait_ms`; not where nothing may come."""
        if not self._led or not self._request.max_records or not self._max_bytes:
            self._led = []
            return
        keys = [key for _, led in self._led for key in (led.key, led.tp)]
        deadline = trio.current_time() + self._request.max_wait_ms / 1000
        while not await self._services.purgatory.wait_until(self._ready, keys, deadline - trio.current_time()):
            if trio.current_time() >= deadline or self._services.purgatory.closed:
                break  # Else another member was first to what there was.

    def _ready(self) -> bool:
        """Whether to answer now: enough bytes may be acquired, or a partition can't be read."""
        open_now, size = [], 0
        try:
            for _, led in self._led:
                self._services.share_partitions.check(led)
                if led.partition.may_acquire():
                    open_now.append(led)
            for led in open_now:
                records = self._read(led, self._max_bytes // len(open_now) or 1, whole_first=True).records
                size += 0 if records is None else len(records)
        except KafkaError:
            return True
        return bool(open_now) and size >= self._min_bytes

    # ---- answering -------------------------------------------------------------------------------------------------

    def answers(self) -> Iterator[tuple[SharedPartition, Fetched]]:
        """The partitions of which something may be acquired now, with the records; and those with errors."""
        open_now = []
        for partition, led in self._led:
            try:
                self._services.share_partitions.check(led)
            except KafkaError as error:
                self._fail(partition, error)
            else:
                if led.partition.may_acquire():
                    open_now.append((partition, led))
        left, records_left = self._max_bytes, self._request.max_records
        share, spare = divmod(self._max_bytes, len(open_now) or 1)
        for place, (partition, led) in enumerate(open_now):
            most = min(left, share + (0 if place else spare))
            try:
                answer = self._acquire(led, most, records_left, whole_first=left == self._max_bytes)
            except KafkaError as error:
                self._fail(partition, error)
                continue
            size = len(answer.records or b"")
            self.size, left = self.size + size, left - min(left, size)
            records_left -= sum(run.last_offset - run.first_offset + 1 for run in answer.acquired_records)
            yield partition, answer
        yield from self._failed

    def _acquire(self, led: LedShare, most: int, max_records: int, *, whole_first: bool) -> Fetched:
        services, partition, request = self._services, led.partition, self._request
        offset = partition.next_fetch_offset()
        answer = Fetched(partition_index=led.tp.partition, records=b"")
        try:
            read = self._read(led, most, whole_first=whole_first)
        except KafkaError as error:
            if error.code is not ErrorCode.OFFSET_OUT_OF_RANGE:
                raise
            partition.log_starts_at(led.replica.log.log_start_offset)
            answer.error_message = "NONE"  # What Kafka calls no error, where it has set one before.
            return answer
        records = read.records
        if records is None:
            return answer
        reach = max(offset, partition.end_offset) + min(max_records, partition.config.max_locks)
        placed = read_headers(records, offset, reach)
        aborted = led.replica.log.aborted_in(read) if self._committed_only else ()
        wanted = Wanted(
            request.member_id or "", max_records, request.batch_size, request.share_acquire_mode == RECORD_LIMIT
        )
        now = services.clock.monotonic()
        acquired = acquire(partition, wanted, offset, [one.batch for one in placed], aborted, now)
        services.share_partitions.changed(led)
        if acquired:
            answer.records = slice_acquired(records, placed, acquired)
            answer.acquired_records = [
                Fetched.AcquiredRecord(first_offset=first, last_offset=last, delivery_count=deliveries)
                for first, last, deliveries in acquired
            ]
        return answer

    def _read(self, led: LedShare, most: int, *, whole_first: bool) -> LogRead:
        """The batches from the next offset on. Raises KafkaError, OFFSET_OUT_OF_RANGE where the log begins later."""
        return led.replica.log.read(
            led.partition.next_fetch_offset(), max(0, most), upper_bound=self._end(led), min_one_message=whole_first
        )

    def _end(self, led: LedShare) -> int:
        replica = led.replica
        return replica.last_stable_offset if self._committed_only else replica.partition.high_watermark


def _fetch_response(
    session: ShareContext,
    answers: Sequence[tuple[SharedPartition, Fetched]],
    outcomes: Outcomes,
    context: RequestContext,
) -> ShareFetchResponse:
    """Groups the answers by topic, without those that are no news, and adds what became of the acknowledgements."""
    response = ShareFetchResponse()
    topics: dict[UUID, ShareFetchResponse.Response] = {}

    def put(topic_id: UUID, answer: Fetched) -> None:
        if topic_id not in topics:
            topics[topic_id] = ShareFetchResponse.Response(topic_id=topic_id)
            response.responses.append(topics[topic_id])
        topics[topic_id].partitions.append(answer)

    waiting = dict(outcomes)
    if session.overtaken:
        response.error_code = ErrorCode.INVALID_SHARE_SESSION_EPOCH
        answers = ()
    for partition, answer in answers:
        if session.must_answer(partition, len(answer.records or b""), answer.error_code):
            if answer.error_code:
                _name_leader(response, answer, partition.id[0], context)
            _tell(answer, waiting.pop(partition.id, None))
            put(partition.id[0], answer)
    for (topic_id, index), error in waiting.items():
        answer = Fetched(partition_index=index, records=b"")
        _tell(answer, error)
        put(topic_id, answer)
    return response


def _tell(answer: Fetched, error: KafkaError | None) -> None:
    if error is not None:
        answer.acknowledge_error_code, answer.acknowledge_error_message = error.code, error.message


def _name_leader(
    response: ShareFetchResponse | ShareAcknowledgeResponse,
    answer: Fetched | Acknowledged,
    topic_id: UUID,
    context: RequestContext,
) -> None:
    """A member that came to the wrong broker is told where to go."""
    name = context.services.metadata.topic_name(topic_id)
    if answer.error_code in MOVED and name is not None:
        name_leader(response, answer, TopicPartition(name, answer.partition_index), context)
