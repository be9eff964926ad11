"""ACLs in Kafka's own layout."""

import pytest

from pykbroker.metadata import acl_znodes
from pykbroker.security.acl import Entry, Operation, PatternType, Permission, Resource, ResourceType

TOPIC = Resource(ResourceType.TOPIC, PatternType.LITERAL, "t")
TXN = Resource(ResourceType.TRANSACTIONAL_ID, PatternType.PREFIXED, "team/a")
ENTRY = Entry("User:x", "*", Operation.DESCRIBE_CONFIGS, Permission.ALLOW)


@pytest.mark.parametrize(
    ("resource", "path"),
    [(TOPIC, "/kafka-acl/Topic/t"), (TXN, "/kafka-acl-extended/prefixed/TransactionalId/team/a")],
)
def test_paths(resource: Resource, path: str) -> None:
    assert acl_znodes.resource_path(resource) == path
    assert acl_znodes.resource_at(path) == resource


@pytest.mark.parametrize("path", ["/kafka-acl", "/kafka-acl/Topic", "/kafka-acl/Nothing/t", "/config/topics/t"])
def test_other_nodes(path: str) -> None:
    assert acl_znodes.resource_at(path) is None


def test_entries_as_kafka_writes_them() -> None:
    data = acl_znodes.encode_entries([ENTRY])
    assert data == (
        b'{"version":1,"acls":[{"principal":"User:x","permissionType":"Allow","operation":"DescribeConfigs","host":"*"}]}'
    )
    assert acl_znodes.decode_entries(data) == [ENTRY]
    assert acl_znodes.decode_entries(b"") == []


def test_an_operation_from_the_future_is_left_out() -> None:
    data = b'{"version":1,"acls":[{"principal":"User:x","permissionType":"Allow","operation":"Fly","host":"*"}]}'
    assert acl_znodes.decode_entries(data) == []


def test_notes_of_change() -> None:
    assert acl_znodes.change_note(TOPIC) == ("/kafka-acl-changes/acl_changes_", b"TOPIC:t")
    path, note = acl_znodes.change_note(TXN)
    assert path == "/kafka-acl-extended-changes/acl_changes_"
    assert note == b'{"version":1,"resourceType":"TRANSACTIONAL_ID","name":"team/a","patternType":"PREFIXED"}'
