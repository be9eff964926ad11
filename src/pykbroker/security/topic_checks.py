"""The checks of topics' requests that no common form covers: Metadata, CreateTopics, DeleteTopics, Produce, configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.records.batch import ATTRIBUTES_AT, TRANSACTIONAL_BIT
from pykbroker.security.acl import CLUSTER_NAME, Operation, ResourceType
from pykbroker.security.guard import CODES, MESSAGES, Access, Check, Outcome, element, whole

DENIED = ErrorCode.TOPIC_AUTHORIZATION_FAILED
FIRST_DELETE_BY_TOPIC = 6

_TOPIC, _BROKER, _BROKER_LOGGER, _CLIENT_METRICS, _GROUP = 2, 4, 8, 16, 32
_CONFIG_KINDS = {_TOPIC: ResourceType.TOPIC, _GROUP: ResourceType.GROUP} | dict.fromkeys(
    (_BROKER, _BROKER_LOGGER, _CLIENT_METRICS), ResourceType.CLUSTER
)


def on_cluster(operation: Operation, access: Access) -> bool:
    """Whether the client may do it to the cluster."""
    return access.may(operation, ResourceType.CLUSTER, CLUSTER_NAME)


def on_topic(operation: Operation, access: Access, name: str) -> bool:
    """Whether the client may do it to a topic."""
    return access.may(operation, ResourceType.TOPIC, name)


METADATA_BY_ID = 12
"""Before this version Metadata has a field for ids, but takes none (KIP-516)."""


def metadata(request: Any, access: Access, answer: Any) -> Outcome:
    """A topic is told of to those who may describe it. Whether one exists is told to nobody else; its id is no secret.

    Who asks for all topics gets those alone. A missing one is made for those who may create it, or any on the cluster.
    """
    if request.topics is None or (not request.topics and access.version == 0):
        there = access.topic_names()
        names = [name for name in there if on_topic(Operation.DESCRIBE, access, name)]
        if names and len(names) == len(there):
            return None  # The handler answers in the same turn: no topic comes in between.
        kept = [element(request, "topics")(name=name) for name in names]
        request.topics, request.allow_auto_topic_creation = kept, False
        return None if kept else lambda response: setattr(response, "topics", [])
    cls, allowed, denied = element(answer, "topics"), [], []
    creates = request.allow_auto_topic_creation and access.creates_topics
    creates = creates and not on_cluster(Operation.CREATE, access)
    known = frozenset(access.topic_names()) if creates else frozenset()
    for topic in request.topics:
        name = topic.name if topic.topic_id == ZERO_UUID else access.topic_name(topic.topic_id)
        if not name or (topic.topic_id != ZERO_UUID and access.version < METADATA_BY_ID):
            allowed.append(topic)  # The handler says INVALID_REQUEST, whatever it is.
        elif not on_topic(Operation.DESCRIBE, access, name):
            told = {"name": name} if topic.topic_id == ZERO_UUID else {"name": None, "topic_id": topic.topic_id}
            denied.append(cls(error_code=DENIED, **told))
        elif creates and name not in known and not on_topic(Operation.CREATE, access, name):
            denied.append(cls(error_code=DENIED, name=name, is_internal=access.is_internal(name)))
        else:
            allowed.append(topic)
    request.topics = allowed

    def finish(response: Any) -> None:
        response.topics = [*(response.topics if allowed else ()), *denied]

    return finish if denied else None


def _describable(access: Access) -> list[str]:
    return [name for name in access.topic_names() if on_topic(Operation.DESCRIBE, access, name)]


def describe_topic_partitions(request: Any, access: Access, answer: Any) -> Outcome:
    """As Metadata. Who asks for all topics pages through those that it may describe: no cursor names another one."""
    if request.topics:
        return None
    cursor = request.cursor
    names = [name for name in _describable(access) if cursor is None or name >= cursor.topic_name]
    if not names:
        return whole(answer)
    if cursor is not None and cursor.topic_name not in names:
        request.cursor = None
    request.topics = [element(request, "topics")(name=name) for name in names]
    return None


def create_topics(request: Any, access: Access, answer: Any) -> Outcome:
    """The right to create any topic on the cluster, or this one. Configs are shown to those who may describe them."""
    cls, everywhere = element(answer, "topics"), on_cluster(Operation.CREATE, access)
    counts = Counter(topic.name for topic in request.topics)
    allowed, denied = [], []
    for topic in request.topics:
        if counts[topic.name] > 1 or everywhere or on_topic(Operation.CREATE, access, topic.name):
            allowed.append(topic)
        else:
            denied.append(cls(name=topic.name, error_code=DENIED, error_message="Authorization failed."))
    request.topics = allowed

    def finish(response: Any) -> None:
        for topic in response.topics:
            shown = topic.error_code or on_topic(Operation.DESCRIBE_CONFIGS, access, topic.name)
            if not shown:
                topic.topic_config_error_code = DENIED
                topic.num_partitions = topic.replication_factor = -1
                topic.configs = []
        response.topics += denied

    return finish


def delete_topics(request: Any, access: Access, answer: Any) -> Outcome:
    """The right to delete; on the cluster it covers all topics. A topic's id never tells its name to a stranger."""
    if on_cluster(Operation.DELETE, access):
        return None
    cls, denied = element(answer, "responses"), []
    if access.version < FIRST_DELETE_BY_TOPIC:
        refused = [name for name in request.topic_names if not on_topic(Operation.DELETE, access, name)]
        request.topic_names = [name for name in request.topic_names if name not in refused]
        denied = [cls(name=name, error_code=DENIED, error_message=MESSAGES[DENIED]) for name in dict.fromkeys(refused)]
    else:
        allowed = []
        for topic in request.topics:
            by_id = topic.name is None
            name = access.topic_name(topic.topic_id) if by_id and topic.topic_id != ZERO_UUID else topic.name
            if name is None or on_topic(Operation.DELETE, access, name):
                allowed.append(topic)
                continue
            shown = topic.name
            if by_id and on_topic(Operation.DESCRIBE, access, name):
                shown = name
            told = cls(name=shown, topic_id=topic.topic_id, error_code=DENIED, error_message=MESSAGES[DENIED])
            denied.append(told)
        request.topics = allowed
    if not denied:
        return None
    return lambda response: response.responses.extend(denied)


def produce(request: Any, access: Access, answer: Any) -> Outcome:
    """Records of a transaction need the right to its id; each partition of the request says no otherwise."""
    if request.transactional_id is None or not _is_transactional(request):
        return None
    if access.may(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, request.transactional_id):
        return None
    told: Outcome = refuse_production(request, answer, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return told


def _is_transactional(request: Any) -> bool:
    return any(
        data.records is not None
        and len(data.records) > ATTRIBUTES_AT + 1
        and data.records[16] == 2
        and data.records[ATTRIBUTES_AT + 1] & TRANSACTIONAL_BIT
        for topic in request.topic_data
        for data in topic.partition_data
    )


def refuse_production(request: Any, answer: Any, code: ErrorCode) -> Any:
    """A Produce answer that says no for every partition."""
    topic_cls = element(answer, "responses")
    part_cls = element(topic_cls, "partition_responses")
    responses = [
        topic_cls(
            name=topic.name,
            topic_id=topic.topic_id,
            partition_responses=[
                part_cls(index=data.index, error_code=code, base_offset=-1) for data in topic.partition_data
            ],
        )
        for topic in request.topic_data
    ]
    return whole(answer, responses=responses)


def init_producer_id(request: Any, access: Access, answer: Any) -> Outcome:
    """A transactional id's right; for an idempotent producer that to write to any topic at all (KIP-679)."""
    blank = {"producer_id": -1, "producer_epoch": -1}
    name = request.transactional_id
    if name is not None:
        needs = [Operation.WRITE, *([Operation.TWO_PHASE_COMMIT] if request.enable_2pc else [])]
        if all(access.may(operation, ResourceType.TRANSACTIONAL_ID, name) for operation in needs):
            return None
        return whole(answer, error_code=ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, **blank)
    if on_cluster(Operation.IDEMPOTENT_WRITE, access) or access.may_any(Operation.WRITE, ResourceType.TOPIC):
        return None
    return whole(answer, error_code=ErrorCode.CLUSTER_AUTHORIZATION_FAILED, **blank)


def configs(operation: Operation, answers: str) -> Check:
    """The configs of topics and groups need a right on them, those of brokers and client metrics one on the cluster."""

    def check(request: Any, access: Access, answer: Any) -> Outcome:
        cls = element(answer, answers)
        allowed, denied = [], []
        for resource in request.resources:
            kind = _CONFIG_KINDS.get(resource.resource_type)
            name = CLUSTER_NAME if kind is ResourceType.CLUSTER else resource.resource_name
            if kind is None or access.may(operation, kind, name):
                allowed.append(resource)
                continue
            code = CODES[kind]
            told = cls(error_code=code, error_message=MESSAGES[code], resource_type=resource.resource_type)
            told.resource_name = resource.resource_name
            denied.append(told)
        if not denied:
            return None
        request.resources = allowed
        if not allowed:
            return whole(answer, **{answers: denied})
        return lambda response: getattr(response, answers).extend(denied)

    return check


def every_topic_of(names: Callable[[Any], list[str]]) -> Check:
    """A request that is refused as a whole when it names one topic that its client may not describe."""

    def check(request: Any, access: Access, answer: Any) -> Outcome:
        if all(on_topic(Operation.DESCRIBE, access, name) for name in names(request)):
            return None
        return whole(answer, error_code=DENIED)

    return check
