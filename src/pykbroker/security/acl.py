"""Access control lists: what one says, which of them apply to a resource, and what they come to.

Deny before allow; literal, wildcard and prefixed patterns (KIP-290). It never reads a store and keeps no log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

CLUSTER_NAME = "kafka-cluster"
WILDCARD = "*"
ANYBODY = "User:*"


class Operation(IntEnum):
    """What is done to a resource, with Kafka's codes."""

    UNKNOWN = 0
    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class ResourceType(IntEnum):
    """What an operation is done to."""

    UNKNOWN = 0
    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(IntEnum):
    """How an ACL names its resources; ANY and MATCH stand in filters alone."""

    UNKNOWN = 0
    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Permission(IntEnum):
    """What an ACL says of its operation; ANY stands in filters alone."""

    UNKNOWN = 0
    ANY = 1
    DENY = 2
    ALLOW = 3


class Resource(NamedTuple):
    """A resource pattern."""

    type: ResourceType
    pattern: PatternType
    name: str


class Entry(NamedTuple):
    """Who may or may not do what, from where."""

    principal: str
    host: str
    operation: Operation
    permission: Permission


class Acl(NamedTuple):
    """One ACL: an entry on a resource pattern."""

    resource: Resource
    entry: Entry


_O, _T = Operation, ResourceType
SUPPORTED: dict[ResourceType, frozenset[Operation]] = {
    _T.TOPIC: frozenset(
        {_O.READ, _O.WRITE, _O.CREATE, _O.DELETE, _O.ALTER, _O.DESCRIBE, _O.DESCRIBE_CONFIGS, _O.ALTER_CONFIGS}
    ),
    _T.GROUP: frozenset({_O.READ, _O.DESCRIBE, _O.DELETE, _O.DESCRIBE_CONFIGS, _O.ALTER_CONFIGS}),
    _T.CLUSTER: frozenset(
        {
            *(_O.CREATE, _O.CLUSTER_ACTION, _O.DESCRIBE_CONFIGS, _O.ALTER_CONFIGS),
            *(_O.IDEMPOTENT_WRITE, _O.ALTER, _O.DESCRIBE),
        }
    ),
    _T.TRANSACTIONAL_ID: frozenset({_O.DESCRIBE, _O.WRITE, _O.TWO_PHASE_COMMIT}),
    _T.DELEGATION_TOKEN: frozenset({_O.DESCRIBE}),
    _T.USER: frozenset({_O.CREATE_TOKENS, _O.DESCRIBE_TOKENS}),
}
"""The operations that each type of resource knows."""

_IMPLIED_BY: dict[Operation, tuple[Operation, ...]] = {
    _O.DESCRIBE: (_O.DESCRIBE, _O.READ, _O.WRITE, _O.DELETE, _O.ALTER, _O.ALL),
    _O.DESCRIBE_CONFIGS: (_O.DESCRIBE_CONFIGS, _O.ALTER_CONFIGS, _O.ALL),
}
"""Being allowed one of these allows the operation, too. A denial implies nothing but itself."""


class Filter(NamedTuple):
    """Which ACLs are meant; None matches every name, principal or host."""

    resource_type: ResourceType
    pattern: PatternType
    name: str | None
    principal: str | None
    host: str | None
    operation: Operation
    permission: Permission

    def matches(self, acl: Acl) -> bool:
        """Whether an ACL is meant."""
        resource, entry = acl
        return (
            self.resource_type in (ResourceType.ANY, resource.type)
            and self._matches_name(resource)
            and self.principal in (None, entry.principal)
            and self.host in (None, entry.host)
            and self.operation in (Operation.ANY, entry.operation)
            and self.permission in (Permission.ANY, entry.permission)
        )

    def _matches_name(self, resource: Resource) -> bool:
        if self.pattern not in (PatternType.ANY, PatternType.MATCH, resource.pattern):
            return False
        if self.name is None or self.name == resource.name:
            return True
        if self.pattern != PatternType.MATCH:
            return False
        if resource.pattern == PatternType.LITERAL:
            return resource.name == WILDCARD
        return self.name.startswith(resource.name)


class Acls:
    """All ACLs of a cluster, at one moment."""

    def __init__(self, acls: Iterable[Acl] = ()) -> None:
        entries: dict[Resource, set[Entry]] = defaultdict(set)
        for resource, entry in acls:
            entries[resource].add(entry)
        self._entries = {resource: frozenset(found) for resource, found in entries.items()}
        lengths: dict[ResourceType, set[int]] = defaultdict(set)
        for resource in self._entries:
            if resource.pattern == PatternType.PREFIXED:
                lengths[resource.type].add(len(resource.name))
        self._prefix_lengths = {kind: sorted(found) for kind, found in lengths.items()}

    def __iter__(self) -> Iterator[Acl]:
        for resource, entries in self._entries.items():
            for entry in entries:
                yield Acl(resource, entry)

    def on(self, resource: Resource) -> frozenset[Entry]:
        """The entries on one pattern."""
        return self._entries.get(resource, frozenset())

    def matching(self, kind: ResourceType, name: str) -> list[frozenset[Entry]]:
        """The entries that apply to a resource, by pattern: its own, the wildcard's, its prefixes'."""
        patterns = [Resource(kind, PatternType.LITERAL, name), Resource(kind, PatternType.LITERAL, WILDCARD)]
        for length in self._prefix_lengths.get(kind, ()):
            if length > len(name):
                break
            patterns.append(Resource(kind, PatternType.PREFIXED, name[:length]))
        return [self._entries[one] for one in dict.fromkeys(patterns) if one in self._entries]

    def allow(
        self, principal: str, host: str, operation: Operation, kind: ResourceType, name: str, *, default: bool
    ) -> bool:
        """What the ACLs come to; the default where the resource has none at all."""
        found = self.matching(kind, name)
        if not found:
            return default
        implied = _IMPLIED_BY.get(operation, (operation, Operation.ALL))
        allowed = False
        for entries in found:
            for entry in entries:
                if entry.principal not in (principal, ANYBODY) or entry.host not in (host, WILDCARD):
                    continue
                if entry.permission == Permission.DENY:
                    if entry.operation in (operation, Operation.ALL):
                        return False
                elif entry.operation in implied:
                    allowed = True
        return allowed

    def allow_any(self, principal: str, host: str, operation: Operation, kind: ResourceType, *, default: bool) -> bool:
        """Whether there may be one resource of a type on which the operation is allowed (KIP-679)."""
        allowed: list[Resource] = []
        denied: set[Resource] = set()
        for resource, entries in self._entries.items():
            if resource.type != kind:
                continue
            for entry in entries:
                if (
                    entry.principal in (principal, ANYBODY)
                    and entry.host in (host, WILDCARD)
                    and entry.operation in (operation, Operation.ALL)
                ):
                    if entry.permission == Permission.DENY:
                        denied.add(resource)
                    else:
                        allowed.append(resource)
        if Resource(kind, PatternType.LITERAL, WILDCARD) in denied:
            return False
        return default or any(not _covered(resource, denied) for resource in allowed)


def _covered(resource: Resource, denied: set[Resource]) -> bool:
    """Whether denials leave nothing of an allowed pattern."""
    if resource.pattern == PatternType.LITERAL:
        if resource.name == WILDCARD:
            return False
        if resource in denied:
            return True
    prefixes = (resource.name[:length] for length in range(1, len(resource.name) + 1))
    return any(Resource(resource.type, PatternType.PREFIXED, prefix) in denied for prefix in prefixes)
