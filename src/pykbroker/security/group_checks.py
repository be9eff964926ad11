"""The checks of groups' and transactions' requests that no common form covers, and of a few of administration."""

from __future__ import annotations

from typing import Any

from pykbroker.protocol.errors import ErrorCode
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.guard import CODES, MESSAGES, Access, Check, Each, Outcome, element, indexes, whole
from pykbroker.security.topic_checks import on_cluster, on_topic

GROUP_DENIED = ErrorCode.GROUP_AUTHORIZATION_FAILED
FIRST_FETCH_WITH_GROUPS = 8
FIRST_FETCH_WITH_GROUP_ERROR = 2
FIRST_WITH_COORDINATOR_KEYS = 4
FIRST_OF_BROKERS = 4

_COORDINATORS = {
    0: (Operation.DESCRIBE, ResourceType.GROUP),
    1: (Operation.DESCRIBE, ResourceType.TRANSACTIONAL_ID),
}
_SHARE = 2


def find_coordinator(request: Any, access: Access, answer: Any) -> Outcome:
    """The right to describe the group or the transactional id; share partitions' coordinators are for brokers."""
    several = access.version >= FIRST_WITH_COORDINATOR_KEYS
    if request.key_type == _SHARE and not on_cluster(Operation.CLUSTER_ACTION, access):
        denied, allowed, code = list(request.coordinator_keys), [], CODES[ResourceType.CLUSTER]
    elif request.key_type in _COORDINATORS:
        operation, kind = _COORDINATORS[request.key_type]
        keys = request.coordinator_keys if several else [request.key]
        allowed = [key for key in keys if access.may(operation, kind, key)]
        denied, code = [key for key in keys if key not in allowed], CODES[kind]
    else:
        return None
    if not denied:
        return None
    message = MESSAGES[code]
    if not several:
        return whole(answer, error_code=code, error_message=message, node_id=-1, host="", port=-1)
    cls = element(answer, "coordinators")
    answers = [cls(key=key, node_id=-1, host="", port=-1, error_code=code, error_message=message) for key in denied]
    request.coordinator_keys = allowed
    return lambda response: response.coordinators.extend(answers)


_OFFSETS = Each(
    *(Operation.DESCRIBE, ResourceType.TOPIC, "topics", "topics", "partitions", "partition_indexes"),
    blank={"committed_offset": -1, "committed_leader_epoch": -1, "metadata": ""},
)


def offset_fetch(request: Any, access: Access, answer: Any) -> Outcome:
    """The right to describe each group, then each topic; who asks for all topics is shown those it may describe."""
    if access.version >= FIRST_FETCH_WITH_GROUPS:
        return _fetch_groups(request, access, answer)
    if not access.may(Operation.DESCRIBE, ResourceType.GROUP, request.group_id):
        if access.version < FIRST_FETCH_WITH_GROUP_ERROR:
            return whole(answer, topics=_OFFSETS.spread(request, access, answer, GROUP_DENIED).topics)
        return whole(answer, error_code=GROUP_DENIED)
    if request.topics is None:
        return lambda response: setattr(response, "topics", _shown(response.topics, access))
    return _OFFSETS(request, access, answer)


def _fetch_groups(request: Any, access: Access, answer: Any) -> Outcome:
    cls, allowed, denied = element(answer, "groups"), [], []
    refused: dict[str, list[Any]] = {}
    everything = set()
    for group in request.groups:
        if not access.may(Operation.DESCRIBE, ResourceType.GROUP, group.group_id):
            denied.append(cls(group_id=group.group_id, error_code=GROUP_DENIED))
            continue
        allowed.append(group)
        if group.topics is None:
            everything.add(group.group_id)
            continue
        hidden = [one for one in group.topics if not _may_describe(one, access)]
        group.topics = [one for one in group.topics if _may_describe(one, access)]
        topic_cls = element(cls, "topics")
        refused[group.group_id] = [_OFFSETS.refuse(one, access, topic_cls, CODES[ResourceType.TOPIC]) for one in hidden]
    request.groups = allowed

    def finish(response: Any) -> None:
        for group in response.groups:
            if group.group_id in everything:
                group.topics = _shown(group.topics, access)
            elif group.error_code == ErrorCode.NONE:
                group.topics += refused[group.group_id]
        response.groups += denied

    return finish


def _may_describe(topic: Any, access: Access) -> bool:
    name = _OFFSETS.name_of(topic, access)
    return name is None or on_topic(Operation.DESCRIBE, access, name)


def _shown(topics: list[Any], access: Access) -> list[Any]:
    return [topic for topic in topics if _may_describe(topic, access)]


def described_topics(*members_fields: str) -> Check:
    """A described group is hidden from who may not describe one of the topics that its members have."""

    def check(request: Any, access: Access, answer: Any) -> Outcome:
        def finish(response: Any) -> None:
            for at, group in enumerate(response.groups):
                if not all(on_topic(Operation.DESCRIBE, access, name) for name in _topics_of(group, members_fields)):
                    response.groups[at] = type(group)(
                        group_id=group.group_id,
                        error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED,
                        error_message="The group has described topic(s) that the client is not authorized to describe.",
                    )

        return finish

    return check


def _topics_of(group: Any, members_fields: tuple[str, ...]) -> set[str]:
    return {
        part.topic_name
        for member in group.members
        for attribute in members_fields
        for part in getattr(member, attribute).topic_partitions
    }


def streams_topics(request: Any) -> list[str]:
    """Every topic that a Streams topology names."""
    names: set[str] = set()
    for sub in request.topology.subtopologies if request.topology is not None else ():
        names |= {*sub.source_topics, *sub.repartition_sink_topics}
        names |= {one.name for one in (*sub.repartition_source_topics, *sub.state_changelog_topics)}
    return sorted(names)


def described_streams_topics(request: Any, access: Access, answer: Any) -> Outcome:
    """As `described_topics`, by the topology."""

    def finish(response: Any) -> None:
        for at, group in enumerate(response.groups):
            if not all(on_topic(Operation.DESCRIBE, access, name) for name in streams_topics(group)):
                response.groups[at] = type(group)(
                    group_id=group.group_id,
                    error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED,
                    error_message="The described group uses topics that the client is not authorized to describe.",
                )

    return finish


def add_partitions_to_txn(request: Any, access: Access, answer: Any) -> Outcome:
    """Clients need the transactional id and every topic; one topic refused, and no partition is added.

    From version 4 on brokers alone may ask.
    """
    if access.version >= FIRST_OF_BROKERS:
        if on_cluster(Operation.CLUSTER_ACTION, access):
            return None
        return whole(answer, error_code=ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    topics = request.v3_and_below_topics
    name = request.v3_and_below_transactional_id
    if not access.may(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, name):
        codes = {topic.name: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED for topic in topics}
    else:
        codes = {
            topic.name: ErrorCode.OPERATION_NOT_ATTEMPTED
            if not access.is_internal(topic.name) and on_topic(Operation.WRITE, access, topic.name)
            else ErrorCode.TOPIC_AUTHORIZATION_FAILED
            for topic in topics
        }
        if ErrorCode.TOPIC_AUTHORIZATION_FAILED not in codes.values():
            return None
    cls = element(answer, "results_by_topic_v3_and_below")
    part = element(cls, "results_by_partition")
    return whole(
        answer,
        results_by_topic_v3_and_below=[
            cls(
                name=topic.name,
                results_by_partition=[
                    part(partition_index=at, partition_error_code=codes[topic.name]) for at in indexes(topic.partitions)
                ],
            )
            for topic in topics
        ],
    )


def offset_for_leader_epoch(request: Any, access: Access, answer: Any) -> Outcome:
    """Brokers may ask for every topic, consumers for those that they may describe (KIP-320)."""
    return None if on_cluster(Operation.CLUSTER_ACTION, access) else _EPOCHS(request, access, answer)


_EPOCHS = Each(Operation.DESCRIBE, ResourceType.TOPIC, "topics", "topics", "partitions", blank={"end_offset": -1})


def write_txn_markers(request: Any, access: Access, answer: Any) -> Outcome:
    """For brokers, and for administrators that abort a hanging transaction (KIP-664)."""
    if on_cluster(Operation.ALTER, access) or on_cluster(Operation.CLUSTER_ACTION, access):
        return None
    marker_cls = element(answer, "markers")
    topic_cls = element(marker_cls, "topics")
    part = element(topic_cls, "partitions")
    code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
    markers = [
        marker_cls(
            producer_id=marker.producer_id,
            topics=[
                topic_cls(
                    name=topic.name,
                    partitions=[part(partition_index=at, error_code=code) for at in topic.partition_indexes],
                )
                for topic in marker.topics
            ],
        )
        for marker in request.markers
    ]
    return whole(answer, markers=markers)


def describe_share_offsets(request: Any, access: Access, answer: Any) -> Outcome:
    """The right to describe each share group, then each topic."""
    cls, allowed, denied = element(answer, "groups"), [], []
    refused: dict[str, list[Any]] = {}
    for group in request.groups:
        if not access.may(Operation.DESCRIBE, ResourceType.GROUP, group.group_id):
            denied.append(cls(group_id=group.group_id, error_code=GROUP_DENIED))
            continue
        allowed.append(group)
        if group.topics is not None:
            hidden = [one for one in group.topics if not on_topic(Operation.DESCRIBE, access, one.topic_name)]
            group.topics = [one for one in group.topics if one not in hidden]
            topic_cls = element(cls, "topics")
            refused[group.group_id] = [
                _SHARE_OFFSETS.refuse(one, access, topic_cls, CODES[ResourceType.TOPIC]) for one in hidden
            ]
    request.groups = allowed

    def finish(response: Any) -> None:
        for group in response.groups:
            if group.error_code != ErrorCode.NONE:
                continue
            group.topics = [one for one in group.topics if on_topic(Operation.DESCRIBE, access, one.topic_name)]
            group.topics += refused.get(group.group_id, [])
        response.groups += denied

    return finish


_SHARE_OFFSETS = Each(
    *(Operation.DESCRIBE, ResourceType.TOPIC, "topics", "topics", "partitions"),
    blank={"start_offset": -1, "lag": -1},
    message=MESSAGES[ErrorCode.TOPIC_AUTHORIZATION_FAILED],
)


def described_transactions(request: Any, access: Access, answer: Any) -> Outcome:
    """Of a transaction's topics those are shown that the client may describe."""

    def finish(response: Any) -> None:
        for state in response.transaction_states:
            state.topics = [one for one in state.topics if on_topic(Operation.DESCRIBE, access, one.topic)]

    return finish
