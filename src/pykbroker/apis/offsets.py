"""OffsetCommit and OffsetFetch: topics by name or by id, one group or many, errors where each version has a place.

Whether a member may commit and what a group has committed is decided in `coordinator`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import UNSTABLE, OffsetToCommit
from pykbroker.coordinator.group.records import CommittedOffset
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from pykbroker.protocol.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles

CommitTopic = OffsetCommitResponse.Topic
CommitPartition = OffsetCommitResponse.Topic.Partition
FetchGroup = OffsetFetchResponse.Group
FetchTopic = OffsetFetchResponse.Group.Topic
FetchPartition = OffsetFetchResponse.Group.Topic.Partition
DeletedTopic = OffsetDeleteResponse.Topic
Fetched = Mapping[TopicPartition, CommittedOffset | None]

FIRST_WITH_TOPIC_IDS = 10
FIRST_WITH_GROUPS = 8
FIRST_WITH_GROUP_ID_NOT_FOUND = 9
FIRST_WITH_GROUP_ERROR = 2


@handles(OffsetCommitRequest, "0-10")
async def offset_commit(request: OffsetCommitRequest, context: RequestContext) -> OffsetCommitResponse:
    """OffsetCommit 0-10: stored in the group's partition of `__consumer_offsets` before it is answered.

    Generation -1 commits for a group without members. Version 1 brings its own timestamp, 2-4 a retention, 6 the leader
    epoch (KIP-320), 7 the instance id (KIP-345), 10 names topics by id (KIP-848).
    """
    offsets: dict[TopicPartition, OffsetToCommit] = {}
    refused: dict[tuple[str, UUID], ErrorCode] = {}
    for topic in request.topics:
        name = _name(topic.name, topic.topic_id, context)
        image = None if name is None else context.services.metadata.topic(name)
        if name is None or image is None:
            unknown = ErrorCode.UNKNOWN_TOPIC_ID if name is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            refused[topic.name, topic.topic_id] = unknown
            continue
        for asked in topic.partitions:
            if asked.partition_index in image.partitions:
                offsets[TopicPartition(name, asked.partition_index)] = OffsetToCommit(
                    asked.committed_offset,
                    asked.committed_leader_epoch,
                    asked.committed_metadata,
                    asked.commit_timestamp,
                    request.retention_time_ms,
                )
    codes = await _commit(request, offsets, context) if offsets else {}
    response = OffsetCommitResponse()
    for topic in request.topics:
        refusal = refused.get((topic.name, topic.topic_id))
        name = _name(topic.name, topic.topic_id, context) or ""
        answers = [
            CommitPartition(
                partition_index=asked.partition_index,
                error_code=refusal
                or codes.get(TopicPartition(name, asked.partition_index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            )
            for asked in topic.partitions
        ]
        response.topics.append(CommitTopic(name=topic.name, topic_id=topic.topic_id, partitions=answers))
    return response


async def _commit(
    request: OffsetCommitRequest, offsets: Mapping[TopicPartition, OffsetToCommit], context: RequestContext
) -> dict[TopicPartition, ErrorCode]:
    committer = Committer(
        request.member_id, request.group_instance_id, request.generation_id_or_member_epoch, context.api_version
    )
    try:
        return await context.services.group_coordinator.commit(request.group_id, committer, offsets)
    except KafkaError as error:
        code = error.code
        if code is ErrorCode.GROUP_ID_NOT_FOUND and context.api_version < FIRST_WITH_GROUP_ID_NOT_FOUND:
            code = ErrorCode.ILLEGAL_GENERATION
        return dict.fromkeys(offsets, code)


def _name(name: str, topic_id: UUID, context: RequestContext) -> str | None:
    """The topic's name; None for an id that no topic has."""
    if context.api_version < FIRST_WITH_TOPIC_IDS:
        return name
    return None if topic_id == ZERO_UUID else context.services.metadata.topic_name(topic_id)


@handles(OffsetFetchRequest, "0-10")
async def offset_fetch(request: OffsetFetchRequest, context: RequestContext) -> OffsetFetchResponse:
    """OffsetFetch 0-10: offset -1 where nothing is committed; null topics ask for all that is (2+).

    From 8 on for any number of groups (KIP-709), in 10 by topic id. With `require_stable` (7+, KIP-447) an offset that
    an open transaction may change is answered with UNSTABLE_OFFSET_COMMIT.
    """
    if context.api_version >= FIRST_WITH_GROUPS:
        stable = request.require_stable
        return OffsetFetchResponse(
            groups=[await _fetch_group(group, context, stable=stable) for group in request.groups]
        )
    topics = request.topics
    wanted = None
    if topics is not None:
        wanted = [TopicPartition(topic.name, index) for topic in topics for index in topic.partition_indexes]
    response = OffsetFetchResponse()
    fetched: Fetched
    try:
        fetched = await context.services.group_coordinator.fetch(
            request.group_id, wanted, stable=request.require_stable
        )
        code = ErrorCode.NONE
    except KafkaError as error:
        code = error.code
        fetched = {}
        if context.api_version < FIRST_WITH_GROUP_ERROR:
            fetched = dict.fromkeys(wanted or ())
    response.error_code = code
    Topic, Partition = OffsetFetchResponse.Topic, OffsetFetchResponse.Topic.Partition  # noqa: N806 - classes
    for name, offsets in _by_topic(fetched).items():
        answers = []
        for index, committed in offsets:
            offset, epoch, metadata = _shown(committed)
            answers.append(
                Partition(
                    partition_index=index,
                    committed_offset=offset,
                    committed_leader_epoch=epoch,
                    metadata=metadata,
                    error_code=code or _unstable(committed),
                )
            )
        response.topics.append(Topic(name=name, partitions=answers))
    return response


async def _fetch_group(group: OffsetFetchRequest.Group, context: RequestContext, *, stable: bool) -> FetchGroup:
    answer = FetchGroup(group_id=group.group_id)
    wanted: list[TopicPartition] | None = None
    unknown: list[FetchTopic] = []
    if group.topics is not None:
        wanted = []
        for topic in group.topics:
            name = _name(topic.name, topic.topic_id, context)
            if name is None:
                unknown.append(_unknown(topic))
            else:
                wanted += [TopicPartition(name, index) for index in topic.partition_indexes]
    try:
        fetched = await context.services.group_coordinator.fetch(
            group.group_id, wanted, stable=stable, member=(group.member_id, group.member_epoch)
        )
    except KafkaError as error:
        answer.error_code = error.code
        return answer
    answer.topics = [*_topics(fetched, context), *unknown]
    return answer


def _topics(fetched: Fetched, context: RequestContext) -> Iterable[FetchTopic]:
    for name, offsets in _by_topic(fetched).items():
        topic_id = context.services.metadata.topic_id(name)
        if topic_id is None and context.api_version >= FIRST_WITH_TOPIC_IDS:
            continue
        topic = FetchTopic(name=name, topic_id=topic_id or ZERO_UUID)
        for index, committed in offsets:
            offset, epoch, metadata = _shown(committed)
            topic.partitions.append(
                FetchPartition(
                    partition_index=index,
                    committed_offset=offset,
                    committed_leader_epoch=epoch,
                    metadata=metadata,
                    error_code=_unstable(committed),
                )
            )
        yield topic


def _unknown(topic: OffsetFetchRequest.Group.Topic) -> FetchTopic:
    return FetchTopic(
        topic_id=topic.topic_id,
        partitions=[
            FetchPartition(
                partition_index=index, committed_offset=-1, metadata="", error_code=ErrorCode.UNKNOWN_TOPIC_ID
            )
            for index in topic.partition_indexes
        ],
    )


def _by_topic(fetched: Fetched) -> dict[str, list[tuple[int, CommittedOffset | None]]]:
    topics: dict[str, list[tuple[int, CommittedOffset | None]]] = defaultdict(list)
    for tp, committed in fetched.items():
        topics[tp.topic].append((tp.partition, committed))
    return topics


def _unstable(committed: CommittedOffset | None) -> ErrorCode:
    return ErrorCode.UNSTABLE_OFFSET_COMMIT if committed is UNSTABLE else ErrorCode.NONE


def _shown(committed: CommittedOffset | None) -> tuple[int, int, str]:
    if committed is None:
        return -1, -1, ""
    return committed.offset, committed.leader_epoch, committed.metadata


@handles(OffsetDeleteRequest, "0")
async def offset_delete(request: OffsetDeleteRequest, context: RequestContext) -> OffsetDeleteResponse:
    """OffsetDelete 0: of topics that exist and that no member of the group reads (KIP-496)."""
    metadata = context.services.metadata
    asked = [
        TopicPartition(topic.name, partition.partition_index)
        for topic in request.topics
        for partition in topic.partitions
    ]
    known = {tp: None for tp in asked if metadata.partition(tp) is not None}
    unknown = dict.fromkeys((tp for tp in asked if tp not in known), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    try:
        codes = await context.services.group_coordinator.delete_offsets(request.group_id, known)
    except KafkaError as error:
        return OffsetDeleteResponse(error_code=error.code)
    topics: dict[str, DeletedTopic] = {}
    for tp, code in {**unknown, **codes}.items():
        topic = topics.setdefault(tp.topic, DeletedTopic(name=tp.topic))
        topic.partitions.append(DeletedTopic.Partition(partition_index=tp.partition, error_code=code))
    return OffsetDeleteResponse(topics=list(topics.values()))
