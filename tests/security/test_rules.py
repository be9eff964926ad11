"""Every API, as a principal without any right: refused in Kafka's way, and nothing of it left for the handler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from tests.security.requests import NAME, TOPIC_ID, codes, sample

from pykbroker.apis import HANDLERS
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages import message_classes
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.rules import RULES

K = ApiKey
TOPIC = ErrorCode.TOPIC_AUTHORIZATION_FAILED
GROUP = ErrorCode.GROUP_AUTHORIZATION_FAILED
CLUSTER = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
TXN = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED

EVERYBODY = {
    *(K.API_VERSIONS, K.SASL_HANDSHAKE, K.SASL_AUTHENTICATE, K.GET_TELEMETRY_SUBSCRIPTIONS, K.PUSH_TELEMETRY),
    *(K.DESCRIBE_CLUSTER, K.CREATE_DELEGATION_TOKEN, K.RENEW_DELEGATION_TOKEN, K.EXPIRE_DELEGATION_TOKEN),
    K.DESCRIBE_DELEGATION_TOKEN,
}
"""Answered to whoever asks; what an answer shows is filtered (KafkaApis.scala in 4.3.0)."""
FILTERED = {K.LIST_GROUPS, K.LIST_TRANSACTIONS}
BY_TOPIC = {
    *(K.PRODUCE, K.LIST_OFFSETS, K.METADATA, K.OFFSET_FOR_LEADER_EPOCH, K.DELETE_RECORDS, K.DESCRIBE_PRODUCERS),
    *(K.DESCRIBE_TOPIC_PARTITIONS, K.CREATE_TOPICS, K.DELETE_TOPICS, K.CREATE_PARTITIONS),
    *(K.DESCRIBE_CONFIGS, K.ALTER_CONFIGS, K.INCREMENTAL_ALTER_CONFIGS),
}
BY_GROUP = {
    *(K.FIND_COORDINATOR, K.JOIN_GROUP, K.SYNC_GROUP, K.HEARTBEAT, K.LEAVE_GROUP, K.OFFSET_COMMIT, K.OFFSET_FETCH),
    *(K.OFFSET_DELETE, K.DESCRIBE_GROUPS, K.DELETE_GROUPS, K.CONSUMER_GROUP_HEARTBEAT, K.CONSUMER_GROUP_DESCRIBE),
    *(K.SHARE_GROUP_HEARTBEAT, K.SHARE_GROUP_DESCRIBE, K.SHARE_FETCH, K.SHARE_ACKNOWLEDGE),
    *(K.DESCRIBE_SHARE_GROUP_OFFSETS, K.ALTER_SHARE_GROUP_OFFSETS, K.DELETE_SHARE_GROUP_OFFSETS),
    *(K.STREAMS_GROUP_HEARTBEAT, K.STREAMS_GROUP_DESCRIBE),
}
BY_TRANSACTION = {
    *(K.INIT_PRODUCER_ID, K.ADD_OFFSETS_TO_TXN, K.END_TXN, K.TXN_OFFSET_COMMIT, K.DESCRIBE_TRANSACTIONS),
    K.ADD_PARTITIONS_TO_TXN,
}
IN_HANDLER = {K.FETCH}
"""Asked of the ACLs by the handler: tests/apis."""


class Nothing:
    """A principal without rights, in a cluster with one topic."""

    creates_topics = True

    def __init__(self, version: int, *allowed: tuple[Operation, ResourceType, str]) -> None:
        self.version = version
        self.allowed = set(allowed)

    def may(self, operation: Operation, kind: ResourceType, name: str) -> bool:
        return (operation, kind, name) in self.allowed

    def may_any(self, operation: Operation, kind: ResourceType) -> bool:
        return any(one[:2] == (operation, kind) for one in self.allowed)

    def topic_name(self, topic_id: UUID) -> str | None:
        return NAME if topic_id == TOPIC_ID else None

    def topic_names(self) -> Sequence[str]:
        return [NAME]

    def is_internal(self, topic: str) -> bool:
        return False


def expected(key: int, version: int) -> ErrorCode:
    if key == K.ADD_PARTITIONS_TO_TXN and version >= 4:
        return CLUSTER
    for keys, code in ((BY_TOPIC, TOPIC), (BY_GROUP, GROUP), (BY_TRANSACTION, TXN)):
        if key in keys:
            return code
    return CLUSTER


ALL = [(key, version) for key in RULES for version in message_classes(key)[0].versions]
WITH_IDS = [
    (key, version)
    for key, lowest in ((K.METADATA, 12), (K.PRODUCE, 13), (K.DELETE_TOPICS, 6), (K.OFFSET_FETCH, 10))
    for version in message_classes(key)[0].versions
    if version >= lowest
]


def test_the_table_has_every_api_that_is_served() -> None:
    assert not HANDLERS.keys() - RULES.keys(), "say in security.rules what these need"


def test_the_table_has_every_api_that_kafka_knows() -> None:
    assert not set(ApiKey) - RULES.keys()


def ask(key: int, version: int, *, by_id: bool = False) -> tuple[Any, Any]:
    """What is left of the request, and the answer where it was refused."""
    request = sample(key, version, by_id=by_id)
    response = message_classes(key)[1]
    outcome = RULES[key].check(request, Nothing(version), response)
    if isinstance(outcome, Message):
        return None, outcome
    answer = response()
    if outcome is not None:
        outcome(answer)
    return request, answer


@pytest.mark.parametrize("by_id", [False, True])
def test_who_may_nothing_is_refused(by_id: bool) -> None:
    for key, version in WITH_IDS if by_id else ALL:
        if key in EVERYBODY | FILTERED | IN_HANDLER:
            continue
        left, answer = ask(key, version, by_id=by_id)
        name = f"{ApiKey(key).name} {version}"
        told = codes(answer) - {0}
        silent = {K.DESCRIBE_LOG_DIRS: 3, K.ELECT_LEADERS: 0}.get(ApiKey(key), 0)
        assert told == {expected(key, version)} or version < silent, f"{name}: {told}"
        assert left is None or not mentions(left), f"{name}: the handler still sees {left}"
        read = type(answer).decode(memoryview(answer.encode(version)), version)
        assert codes(read) - {0} == told, name


def mentions(message: Any) -> bool:
    """Whether a list of a request still names what its client has no right to."""
    return any(isinstance(getattr(message, name), list) and getattr(message, name) for name in message.fields)


@pytest.mark.parametrize("key", sorted(EVERYBODY))
def test_what_is_for_everybody(key: int) -> None:
    for version in message_classes(key)[0].versions:
        assert not isinstance(
            RULES[key].check(sample(key, version), Nothing(version), message_classes(key)[1]), Message
        )


def test_lists_show_what_may_be_described() -> None:
    for key, item, field in (
        (K.LIST_GROUPS, "groups", "group_id"),
        (K.LIST_TRANSACTIONS, "transaction_states", "transactional_id"),
    ):
        response = message_classes(key)[1]
        kind = ResourceType.GROUP if key == K.LIST_GROUPS else ResourceType.TRANSACTIONAL_ID
        version = message_classes(key)[0].versions.high
        access = Nothing(version, (Operation.DESCRIBE, kind, "mine"))
        finish = RULES[key].check(sample(key, version), access, response)
        cls = response.fields[item].element
        answer = response(**{item: [cls(**{field: name}) for name in ("mine", NAME)]})
        assert not isinstance(finish, Message)
        assert finish is not None
        finish(answer)
        assert [getattr(one, field) for one in getattr(answer, item)] == ["mine"]
