"""Metadata and DescribeTopicPartitions: which brokers, topics and partitions there are, and who leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pykbroker.cluster.image import NO_LEADER, PartitionState, TopicImage
from pykbroker.controller.topics import invalid_name
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import Encoded
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
)
from pykbroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from pykbroker.server.authorized_operations import CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS
from pykbroker.server.quotas import Mutations
from pykbroker.server.request import RequestContext, handles

FIRST_WITH_EMPTY_FOR_NONE = 1
FIRST_WITH_LISTENER_NOT_FOUND = 6
FIRST_BY_TOPIC_ID = 12
MAX_ENCODED = 16
"""How many answers with all topics are kept: a handful of versions and listeners."""

Topic = MetadataResponse.Topic
Described = DescribeTopicPartitionsResponse.Topic


@handles(MetadataRequest, "0-13")
async def metadata(request: MetadataRequest, context: RequestContext) -> MetadataResponse | Encoded:
    """Metadata 0-13: null topics (version 0: none) ask for all, an empty list for none.

    A missing topic is made where the request and `auto.create.topics.enable` allow it, and answered with its leaders
    right away; Kafka would answer LEADER_NOT_AVAILABLE first. By id from version 12 on (KIP-516). 0-10 ask for
    authorized operations (KIP-430).
    """
    await context.services.controller.wait_until_joined()
    if request.topics is None or (not request.topics and context.api_version < FIRST_WITH_EMPTY_FOR_NONE):
        return _everything(request, context)
    mutations = context.services.quotas.mutations(context, strict_since=None)
    refused = await _create_missing(request, context, mutations)
    topics = list(_asked(request.topics, context, _view(context), refused))
    answer = _answer(topics, request, context)
    answer.throttle_time_ms = mutations.throttle_ms
    return answer


def _everything(request: MetadataRequest, context: RequestContext) -> MetadataResponse | Encoded:
    """All topics. Some clients ask for them several times a second: the answer is kept as long as nothing changes.

    With an authorizer this is for who may describe all of them; others' requests name what they may describe. But in
    version 0 a request of which nothing is left asks for all, and its answer is emptied afterwards.
    """
    services, cache = context.services, context.services.metadata
    view = _view(context)
    asked = request.include_topic_authorized_operations, request.include_cluster_authorized_operations
    guarded = services.authorizer is not None and (any(asked) or context.api_version < FIRST_WITH_EMPTY_FOR_NONE)
    is_own = services.quotas.active or guarded
    key = context.api_version, asked, context.listener, context.local_address
    if not is_own and key in cache.encoded:
        return cache.encoded[key]
    answer = _answer([_topic(topic, view) for topic in cache.image.topics.values()], request, context)
    if is_own:
        return answer
    if len(cache.encoded) >= MAX_ENCODED:
        cache.encoded.clear()
    encoded = cache.encoded[key] = Encoded(answer, context.api_version)
    return encoded


def _answer(topics: list[Topic], request: MetadataRequest, context: RequestContext) -> MetadataResponse:
    cache = context.services.metadata
    if request.include_topic_authorized_operations:
        for topic in topics:
            if topic.error_code != ErrorCode.UNKNOWN_TOPIC_ID:
                topic.topic_authorized_operations = TOPIC_OPERATIONS
    return MetadataResponse(
        brokers=[
            MetadataResponse.Broker(node_id=broker.id, host=broker.host, port=broker.port, rack=broker.rack)
            for broker in cache.brokers_for(context)
        ],
        cluster_id=cache.image.cluster_id,
        controller_id=cache.image.controller_id,
        topics=topics,
        cluster_authorized_operations=(
            CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else NOT_ASKED
        ),
    )


async def _create_missing(
    request: MetadataRequest, context: RequestContext, mutations: Mutations
) -> dict[str, ErrorCode]:
    """Makes the topics asked for by name that aren't there, where that is allowed; says why one couldn't be."""
    if not request.topics or not request.allow_auto_topic_creation:
        return {}
    services = context.services
    names = dict.fromkeys(topic.name for topic in request.topics if topic.name is not None)
    missing = [name for name in names if services.metadata.topic(name) is None and invalid_name(name) is None]
    if not missing or not services.config.auto_create_topics_enable:
        return {}
    answers = await services.controller.auto_create(missing)
    for answer in answers:
        if isinstance(answer, TopicImage):
            mutations.charge(len(answer.partitions))
    return {name: answer.code for name, answer in zip(missing, answers, strict=True) if isinstance(answer, KafkaError)}


def _asked(
    topics: Sequence[MetadataRequest.Topic], context: RequestContext, view: _View, refused: Mapping[str, ErrorCode]
) -> Iterator[Topic]:
    """An answer for each topic asked for, once."""
    cache = context.services.metadata
    for name, topic_id in dict.fromkeys((topic.name, topic.topic_id) for topic in topics):
        if (name is None or topic_id != ZERO_UUID) and context.api_version < FIRST_BY_TOPIC_ID:
            yield Topic(name=name or "", topic_id=topic_id, error_code=ErrorCode.INVALID_REQUEST)
            continue
        known = cache.topic_name(topic_id) if topic_id != ZERO_UUID else name
        topic = cache.topic(known) if known is not None else None
        if topic is not None:
            yield _topic(topic, view)
        elif topic_id != ZERO_UUID:
            yield Topic(name=None, topic_id=topic_id, error_code=ErrorCode.UNKNOWN_TOPIC_ID)
        else:
            text = name or ""
            code = refused.get(text, _missing(text))
            yield Topic(name=name, error_code=code, is_internal=cache.is_internal(text))


def _missing(name: str) -> ErrorCode:
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if invalid_name(name) is None else ErrorCode.INVALID_TOPIC_EXCEPTION


class _View(NamedTuple):
    """The brokers as this connection sees them."""

    live: frozenset[int]
    reachable: frozenset[int]
    unreachable_leader: ErrorCode


def _view(context: RequestContext) -> _View:
    cache = context.services.metadata
    told = context.api_key != ApiKey.METADATA or context.api_version >= FIRST_WITH_LISTENER_NOT_FOUND
    return _View(
        live=frozenset(cache.image.brokers),
        reachable=frozenset(broker.id for broker in cache.brokers_for(context)),
        unreachable_leader=ErrorCode.LISTENER_NOT_FOUND if told else ErrorCode.LEADER_NOT_AVAILABLE,
    )


def _leader(state: PartitionState, view: _View) -> tuple[ErrorCode, int]:
    """A partition's error and leader; the leader is told only to those who can reach it."""
    if state.leader not in view.live:
        return ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER
    if state.leader not in view.reachable:
        return view.unreachable_leader, NO_LEADER
    return ErrorCode.NONE, state.leader


def _topic(topic: TopicImage, view: _View) -> Topic:
    partitions = []
    for index, state in topic.partitions.items():
        code, leader = _leader(state, view)
        partitions.append(
            Topic.Partition(
                error_code=code,
                partition_index=index,
                leader_id=leader,
                leader_epoch=state.leader_epoch,
                replica_nodes=list(state.replicas),
                isr_nodes=list(state.isr),
                offline_replicas=[node for node in state.replicas if node not in view.live],
            )
        )
    return Topic(name=topic.name, topic_id=topic.topic_id, is_internal=topic.is_internal, partitions=partitions)


@handles(DescribeTopicPartitionsRequest, "0")
async def describe_topic_partitions(
    request: DescribeTopicPartitionsRequest, context: RequestContext
) -> DescribeTopicPartitionsResponse:
    """DescribeTopicPartitions 0 (KIP-966): topics by name, as many partitions as the limit allows, then a cursor.

    No topics ask for all. There are no eligible leader replicas outside the ISR, as in any cluster without KRaft.
    A cursor that isn't among the topics asked for, or before the first partition, is an error of each topic.
    """
    cursor, cache = request.cursor, context.services.metadata
    asked = {topic.name for topic in request.topics}
    if cursor is not None and (cursor.partition_index < 0 or (asked and cursor.topic_name not in asked)):
        refused = [Described(name=name, error_code=ErrorCode.INVALID_REQUEST) for name in sorted(asked)]
        return DescribeTopicPartitionsResponse(topics=refused)
    asked = asked or set(cache.image.topics)
    names = sorted(name for name in asked if cursor is None or name >= cursor.topic_name)
    room = max(1, min(request.response_partition_limit, context.services.config.max_request_partition_size_limit))
    response = DescribeTopicPartitionsResponse()
    view = _view(context)
    for name in names:
        if room == 0:
            response.next_cursor = DescribeTopicPartitionsResponse.NextCursor(topic_name=name)
            break
        topic = cache.topic(name)
        if topic is None:
            missing = Described(name=name, error_code=_missing(name), is_internal=cache.is_internal(name))
            missing.topic_authorized_operations = TOPIC_OPERATIONS
            response.topics.append(missing)
            continue
        first = cursor.partition_index if cursor is not None and cursor.topic_name == name else 0
        indexes = sorted(index for index in topic.partitions if index >= first)
        response.topics.append(_described(topic, indexes[:room], view))
        if len(indexes) > room:
            next_cursor = DescribeTopicPartitionsResponse.NextCursor(topic_name=name, partition_index=indexes[room])
            response.next_cursor = next_cursor
            break
        room -= len(indexes)
    return response


def _described(topic: TopicImage, indexes: Sequence[int], view: _View) -> Described:
    partitions = []
    for index in indexes:
        state = topic.partitions[index]
        code, leader = _leader(state, view)
        partitions.append(
            Described.Partition(
                error_code=code,
                partition_index=index,
                leader_id=leader,
                leader_epoch=state.leader_epoch,
                replica_nodes=list(state.replicas),
                isr_nodes=list(state.isr),
                eligible_leader_replicas=[],
                last_known_elr=[],
                offline_replicas=[node for node in state.replicas if node not in view.live],
            )
        )
    return Described(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=partitions,
        topic_authorized_operations=TOPIC_OPERATIONS,
    )
