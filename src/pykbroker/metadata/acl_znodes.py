"""Where ACLs stand in the metadata store, in Apache Kafka's layout: their paths, their JSON, their change notes.

Readers bear unknown keys. It never reads or writes a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pykbroker.security.acl import Acl, Entry, Operation, PatternType, Permission, Resource, ResourceType

LITERAL = "/kafka-acl"
PREFIXED = "/kafka-acl-extended/prefixed"
LITERAL_CHANGES = "/kafka-acl-changes"
PREFIXED_CHANGES = "/kafka-acl-extended-changes"
PERSISTENT = (LITERAL, PREFIXED, LITERAL_CHANGES, PREFIXED_CHANGES)
"""What has to be there before ACLs are kept."""


def spelled(name: str) -> str:
    """`TRANSACTIONAL_ID` → `TransactionalId`."""
    return "".join(part.capitalize() for part in name.split("_"))


_TYPES = {spelled(kind.name): kind for kind in ResourceType}
_OPERATIONS = {spelled(operation.name): operation for operation in Operation}
_PERMISSIONS = {spelled(permission.name): permission for permission in Permission}


def resource_path(resource: Resource) -> str:
    """Where a pattern's entries stand."""
    root = LITERAL if resource.pattern is PatternType.LITERAL else PREFIXED
    return f"{root}/{spelled(resource.type.name)}/{resource.name}"


def resource_at(path: str) -> Resource | None:
    """The pattern whose entries stand there; None for what isn't one's place. A name may have slashes in it."""
    for root, pattern in ((LITERAL, PatternType.LITERAL), (PREFIXED, PatternType.PREFIXED)):
        if path.startswith(f"{root}/"):
            kind, _, name = path[len(root) + 1 :].partition("/")
            return Resource(_TYPES[kind], pattern, name) if name and kind in _TYPES else None
    return None


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """A pattern's entries, version 1."""
    acls = [
        {
            "principal": entry.principal,
            "permissionType": spelled(entry.permission.name),
            "operation": spelled(entry.operation.name),
            "host": entry.host,
        }
        for entry in sorted(entries)
    ]
    return json.dumps({"version": 1, "acls": acls}, separators=(",", ":"), ensure_ascii=False).encode()


def decode_entries(data: bytes) -> list[Entry]:
    """A pattern's entries; an empty node has none, and one of an operation from the future is left out."""
    if not data:
        return []
    return [
        Entry(
            str(one["principal"]),
            str(one.get("host", "*")),
            _OPERATIONS[one["operation"]],
            _PERMISSIONS[one["permissionType"]],
        )
        for one in json.loads(data).get("acls", [])
        if one["operation"] in _OPERATIONS and one["permissionType"] in _PERMISSIONS
    ]


def decode_acls(nodes: Iterable[tuple[str, bytes]]) -> list[Acl]:
    """Every ACL of the nodes below the two roots."""
    return [
        Acl(resource, entry)
        for path, data in nodes
        if (resource := resource_at(path)) is not None
        for entry in decode_entries(data)
    ]


def change_note(resource: Resource) -> tuple[str, bytes]:
    """The path, without its number, and the text by which other brokers learn which pattern changed."""
    if resource.pattern is PatternType.LITERAL:
        return f"{LITERAL_CHANGES}/acl_changes_", f"{resource.type.name}:{resource.name}".encode()
    body = {
        "version": 1,
        "resourceType": resource.type.name,
        "name": resource.name,
        "patternType": resource.pattern.name,
    }
    note = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return f"{PREFIXED_CHANGES}/acl_changes_", note
