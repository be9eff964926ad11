"""CreateTopics, DeleteTopics and CreatePartitions: one answer for each topic of the request, in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from pykbroker.cluster.image import TopicImage
from pykbroker.config.describe import describe_topic
from pykbroker.controller.topics import NewTopic
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from pykbroker.server.controller_runtime import GrowthRequest
from pykbroker.server.quotas import Mutations
from pykbroker.server.request import RequestContext, handles

FIRST_WITH_DELETION_DISABLED = 3
FIRST_DELETE_BY_TOPIC = 6
FIRST_CREATION_REFUSED_BY_QUOTA = 6
FIRST_DELETION_REFUSED_BY_QUOTA = 5
FIRST_GROWTH_REFUSED_BY_QUOTA = 3
"""The versions of KIP-599: older clients are muted for what is over their quota, and get it."""


@handles(CreateTopicsRequest, "0-7")
async def create_topics(request: CreateTopicsRequest, context: RequestContext) -> CreateTopicsResponse:
    """CreateTopics 0-7: answers once the new partitions have leaders that serve.

    From version 4 on -1 stands for the broker's defaults (KIP-464), from 5 on the answer has the topic's configs
    (KIP-525), from 7 on its id. Leaders that are slow to say so are waited for no longer than the timeout.
    """
    counts = Counter(topic.name for topic in request.topics)
    wanted = [_new_topic(topic) for topic in request.topics if counts[topic.name] == 1]
    mutations = context.services.quotas.mutations(context, FIRST_CREATION_REFUSED_BY_QUOTA)
    refused = await _over_quota(wanted, mutations, context)
    wanted = [new for new in wanted if new.name not in refused]
    answers = await context.services.controller.create_topics(
        wanted, validate_only=request.validate_only, timeout=_seconds(request.timeout_ms)
    )
    by_name: dict[str, TopicImage | KafkaError] = {**refused}
    by_name.update((new.name, answer) for new, answer in zip(wanted, answers, strict=True))
    duplicate = KafkaError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
    topics = [_creation(name, by_name.get(name, duplicate), context) for name in counts]
    return CreateTopicsResponse(topics=topics, throttle_time_ms=mutations.throttle_ms)


def _seconds(timeout_ms: int) -> float:
    return max(0, timeout_ms) / 1000


async def _over_quota(
    wanted: Sequence[NewTopic], mutations: Mutations, context: RequestContext
) -> dict[str, TopicImage | KafkaError]:
    """The topics that a quota for partitions leaves no room for; only those that could be made count."""
    refused: dict[str, TopicImage | KafkaError] = {}
    if mutations.limited:
        possible = await context.services.controller.create_topics(wanted, validate_only=True)
        for new, answer in zip(wanted, possible, strict=True):
            if isinstance(answer, TopicImage):
                error = _charge(mutations, len(answer.partitions))
                if error is not None:
                    refused[new.name] = error
    return refused


def _charge(mutations: Mutations, partitions: int) -> KafkaError | None:
    try:
        mutations.charge(partitions)
    except KafkaError as error:
        return error
    return None


def _new_topic(topic: CreateTopicsRequest.Topic) -> NewTopic:
    return NewTopic(
        topic.name,
        topic.num_partitions,
        topic.replication_factor,
        [(one.partition_index, tuple(one.broker_ids)) for one in topic.assignments],
        {config.name: config.value for config in topic.configs},
    )


def _creation(name: str, answer: TopicImage | KafkaError, context: RequestContext) -> CreateTopicsResponse.Topic:
    if isinstance(answer, KafkaError):
        return CreateTopicsResponse.Topic(name=name, error_code=answer.code, error_message=answer.message)
    return CreateTopicsResponse.Topic(
        name=name,
        topic_id=answer.topic_id,
        error_message=None,
        num_partitions=len(answer.partitions),
        replication_factor=len(answer.partitions[0].replicas),
        configs=[
            CreateTopicsResponse.Topic.Config(
                name=entry.name,
                value=entry.value,
                read_only=entry.read_only,
                config_source=entry.source,
                is_sensitive=entry.sensitive,
            )
            for entry in describe_topic(context.services.config, answer.config)
        ],
    )


@handles(DeleteTopicsRequest, "0-6")
async def delete_topics(request: DeleteTopicsRequest, context: RequestContext) -> DeleteTopicsResponse:
    """DeleteTopics 0-6: answers once nothing of the topics is left, neither data nor name; or when the time is up.

    From version 6 on by name or by id (KIP-516).
    """
    targets = _targets(request, context)
    mutations = context.services.quotas.mutations(context, FIRST_DELETION_REFUSED_BY_QUOTA)
    for target in targets:
        topic = None if target.error_code else context.services.metadata.topic(target.name or "")
        error = None if topic is None else _charge(mutations, len(topic.partitions))
        if error is not None:
            target.error_code, target.error_message = error.code, error.message
    names = [target.name for target in targets if target.name is not None and target.error_code == ErrorCode.NONE]
    errors = await context.services.controller.delete_topics(names, timeout=_seconds(request.timeout_ms))
    for target in targets:
        if target.error_code == ErrorCode.NONE:
            error = errors[names.index(target.name or "")]
            if error is not None:
                target.error_code, target.error_message = error.code, error.message
    return DeleteTopicsResponse(responses=targets, throttle_time_ms=mutations.throttle_ms)


def _targets(request: DeleteTopicsRequest, context: RequestContext) -> list[DeleteTopicsResponse.Response]:
    """The topics of the request, each with the error, if there is one, for which it isn't deleted."""
    by_topic = context.api_version >= FIRST_DELETE_BY_TOPIC
    asked = [(topic.name, topic.topic_id) for topic in request.topics]
    if not by_topic:
        asked = [(name, ZERO_UUID) for name in request.topic_names]
    targets = [_target(name, topic_id, context) for name, topic_id in asked]
    counts = Counter(target.name for target in targets)
    for target in targets:
        if target.name is not None and counts[target.name] > 1:
            target.topic_id = ZERO_UUID
            target.error_code, target.error_message = ErrorCode.INVALID_REQUEST, "Duplicate topic name."
    return list({(target.name, target.topic_id): target for target in targets}.values())


def _target(name: str | None, topic_id: UUID, context: RequestContext) -> DeleteTopicsResponse.Response:
    response = DeleteTopicsResponse.Response(name=name, topic_id=topic_id)
    cache = context.services.metadata
    code, message = ErrorCode.NONE, None
    if not context.services.config.delete_topic_enable:
        code, message = ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled."
        if context.api_version < FIRST_WITH_DELETION_DISABLED:
            code = ErrorCode.INVALID_REQUEST
    elif name is not None and topic_id != ZERO_UUID:
        code, message = ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id."
    elif name is None and topic_id == ZERO_UUID:
        code, message = ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified."
    elif name is None:
        response.name = cache.topic_name(topic_id)
        if response.name is None:
            code, message = ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID."
    else:
        response.topic_id = cache.topic_id(name) or ZERO_UUID
    response.error_code, response.error_message = code, message
    return response


@handles(CreatePartitionsRequest, "0-3")
async def create_partitions(request: CreatePartitionsRequest, context: RequestContext) -> CreatePartitionsResponse:
    """CreatePartitions 0-3 (KIP-195): answers once the added partitions have leaders that serve."""
    counts = Counter(topic.name for topic in request.topics)
    wanted = [
        GrowthRequest(
            topic.name,
            topic.count,
            None if topic.assignments is None else [tuple(one.broker_ids) for one in topic.assignments],
        )
        for topic in request.topics
        if counts[topic.name] == 1
    ]
    mutations = context.services.quotas.mutations(context, FIRST_GROWTH_REFUSED_BY_QUOTA)
    refused = await _over_growth_quota(wanted, mutations, context)
    wanted = [growth for growth in wanted if growth.name not in refused]
    errors = await context.services.controller.create_partitions(
        wanted, validate_only=request.validate_only, timeout=_seconds(request.timeout_ms)
    )
    by_name: dict[str, KafkaError | None] = {**refused}
    by_name.update((growth.name, error) for growth, error in zip(wanted, errors, strict=True))
    duplicate = KafkaError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
    response = CreatePartitionsResponse(throttle_time_ms=mutations.throttle_ms)
    for name in counts:
        error = by_name.get(name, duplicate)
        code, message = (ErrorCode.NONE, None) if error is None else (error.code, error.message)
        result = CreatePartitionsResponse.Result(name=name, error_code=code, error_message=message)
        response.results.append(result)
    return response


async def _over_growth_quota(
    wanted: Sequence[GrowthRequest], mutations: Mutations, context: RequestContext
) -> dict[str, KafkaError | None]:
    """The topics that a quota for partitions doesn't let grow; only those that could grow count."""
    refused: dict[str, KafkaError | None] = {}
    if mutations.limited:
        errors = await context.services.controller.create_partitions(wanted, validate_only=True)
        for growth, impossible in zip(wanted, errors, strict=True):
            topic = context.services.metadata.topic(growth.name)
            if impossible is None and topic is not None:
                error = _charge(mutations, growth.count - len(topic.partitions))
                if error is not None:
                    refused[growth.name] = error
    return refused
