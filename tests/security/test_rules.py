"""Every API, as a principal without any right: refused in Kafka's way, and nothing of it left for the handler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from tests.security.refusals import EVERYBODY, FILTERED, IDS_SINCE, IN_HANDLER, SILENT, K, expected
from tests.security.requests import NAME, TOPIC_ID, codes, sample

from pykbroker.apis import HANDLERS
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages import message_classes
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.rules import RULES


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


ALL = [(key, version) for key in RULES for version in message_classes(key)[0].versions]
WITH_IDS = [
    (key, version)
    for key, lowest in IDS_SINCE.items()
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
        silent = SILENT.get(ApiKey(key), 0)
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
