"""Metadata of all topics: encoded once for those who may see them all; others get what they may see."""

from __future__ import annotations

from contextlib import ExitStack

from tests.security import login

from pykbroker.protocol.messages.create_acls import CreateAclsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.security.acl import Operation, PatternType, Permission, ResourceType
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

USERS = {"admin": "admin-secret", "reader": "reader-secret", "nobody": "nobody-secret"}
NOT_ASKED = -(1 << 31)


def seen(client: WireClient, **options: bool) -> dict[str, int]:
    """The topics that somebody is told of, each with the operations that are said to be allowed."""
    answer = client.request(MetadataRequest(topics=None, **options), 12)
    return {topic.name: topic.topic_authorized_operations for topic in answer.topics}


def made(admin: WireClient, *names: str) -> None:
    topics = [CreateTopicsRequest.Topic(name=name, num_partitions=1, replication_factor=1) for name in names]
    answer = admin.request(CreateTopicsRequest(topics=topics, timeout_ms=10_000), 7)
    assert [one.error_code for one in answer.topics] == [0] * len(names)


def allowed(admin: WireClient, who: str, operation: Operation, name: str, pattern: PatternType) -> None:
    creation = CreateAclsRequest.Creation(
        resource_type=ResourceType.TOPIC,
        resource_name=name,
        resource_pattern_type=pattern,
        principal=f"User:{who}",
        host="*",
        operation=operation,
        permission_type=Permission.ALLOW,
    )
    assert [one.error_code for one in admin.request(CreateAclsRequest(creations=[creation]), 3).results] == [0]


def test_all_topics_for_those_who_may_see_all_and_some_for_others() -> None:
    config = {"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:admin"}
    with KafkaBroker(users=USERS, config=config) as broker, ExitStack() as stack:
        clients = {name: stack.enter_context(WireClient(broker.host, broker.port)) for name in USERS}
        for name, client in clients.items():
            assert login.plain(client, name, USERS[name]).error_code == 0
        admin, reader, nobody = clients.values()
        assert [seen(one) for one in clients.values()] == [{}, {}, {}]
        made(admin, "a", "b")
        allowed(admin, "reader", Operation.READ, "a", PatternType.LITERAL)
        for _ in range(2):
            assert seen(admin) == {"a": NOT_ASKED, "b": NOT_ASKED}
            assert seen(reader) == {"a": NOT_ASKED}
            assert seen(nobody) == {}
        asked = {"include_topic_authorized_operations": True}
        assert seen(reader, **asked) == {"a": 1 << Operation.READ | 1 << Operation.DESCRIBE}
        assert seen(admin, **asked)["a"] > seen(reader, **asked)["a"]
        assert seen(admin) == {"a": NOT_ASKED, "b": NOT_ASKED}
        allowed(admin, "reader", Operation.DESCRIBE, "*", PatternType.LITERAL)
        assert seen(reader) == {"a": NOT_ASKED, "b": NOT_ASKED}
        assert seen(reader, **asked)["b"] == 1 << Operation.DESCRIBE
        made(admin, "c")
        assert list(seen(reader)) == ["a", "b", "c"]
        assert seen(nobody) == {}
