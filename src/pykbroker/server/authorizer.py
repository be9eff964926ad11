"""The authorizer: what a principal may do, by the ACLs in the metadata store; and one request's view of it.

It keeps the ACLs in memory, reads them again when the store says that they changed, and writes what CreateAcls and
DeleteAcls bring. What ACLs come to is decided in `security.acl`, what an API needs in `security.rules`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import trio

from pykbroker.config.keys import ConfigError
from pykbroker.metadata import acl_znodes
from pykbroker.metadata.store import (
    BadVersion,
    Create,
    Delete,
    Node,
    NodeExists,
    NoNode,
    Operation,
    Set,
    StoreError,
    forget_oldest,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.security.acl import Acl, Acls, Entry, Filter, Resource, ResourceType
from pykbroker.security.acl import Operation as AclOperation
from pykbroker.security.principal import KafkaPrincipal, parse_super_users

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.metadata.store import MetadataStore
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.request import RequestContext

log = logging.getLogger(__name__)
audit = logging.getLogger("pykbroker.authorizer")

CLASS_NAMES = (
    "kafka.security.authorizer.AclAuthorizer",
    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
)
"""The names in `authorizer.class.name` that mean this authorizer."""
MAX_ENTRIES = 10_000
"""How many ACLs one resource pattern may have, as in Kafka 2.8 and newer."""
KEPT_NOTES = 100
REMEMBERED = 50_000
ATTEMPTS = 10


def authorizer_for(config: BrokerConfig, store: MetadataStore) -> Authorizer | None:
    """The authorizer that a config asks for, if it does; raises ConfigError."""
    name = config.authorizer_class_name
    if not name:
        return None
    if name not in CLASS_NAMES:
        raise ConfigError("authorizer.class.name", name, f"must be one of {', '.join(CLASS_NAMES)}, or empty")
    users = config.unknown.get("super.users", "")
    try:
        super_users = parse_super_users(users)
    except ValueError as error:
        raise ConfigError("super.users", users, str(error)) from None
    everyone = config.unknown.get("allow.everyone.if.no.acl.found", "false").strip().lower() == "true"
    return Authorizer(store, super_users, everyone)


class Authorizer:
    """Says yes or no, and keeps the ACLs."""

    def __init__(self, store: MetadataStore, super_users: Iterable[str] = (), allow_everyone: bool = False) -> None:
        self._store = store
        self._super_users = frozenset(super_users)
        self._allow_everyone = allow_everyone
        self._changed = trio.Event()
        self._loading = trio.Lock()
        """Of two who read at once the later has to have the last word."""
        self._decided: dict[tuple[str, str, AclOperation, ResourceType, str], bool] = {}
        self.acls = Acls()

    # ---- asking

    def authorize(
        self, principal: KafkaPrincipal, host: str, operation: AclOperation, kind: ResourceType, name: str
    ) -> bool:
        """Whether a principal may do it from a host (`127.0.0.1`). A decision is remembered until ACLs change."""
        key = (str(principal), host, operation, kind, name)
        decided = self._decided.get(key)
        if decided is None:
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            decided = self._decided[key] = key[0] in self._super_users or self.acls.allow(
                *key, default=self._allow_everyone
            )
            if not decided:
                audit.info("%s is denied %s on %s:%s from %s", key[0], operation.name, kind.name, name, host)
        return decided

    def authorize_any(self, principal: KafkaPrincipal, host: str, operation: AclOperation, kind: ResourceType) -> bool:
        """Whether there may be a resource of a type on which the principal may do it."""
        who = str(principal)
        return who in self._super_users or self.acls.allow_any(who, host, operation, kind, default=self._allow_everyone)

    # ---- the store

    async def load(self) -> None:
        """Reads every ACL. Raises StoreError."""
        nodes: dict[str, Node] = {}
        async with self._loading:
            for root in (acl_znodes.LITERAL, acl_znodes.PREFIXED):
                nodes |= await self._store.subtree(root)
            self.acls = Acls(acl_znodes.decode_acls((path, node.data) for path, node in nodes.items()))
            self._decided.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Makes the store's nodes, reads the ACLs, and reads them again whenever some broker changed them."""
        for path in acl_znodes.PERSISTENT:
            await self._store.ensure_path(path)
        for path in (acl_znodes.LITERAL_CHANGES, acl_znodes.PREFIXED_CHANGES):
            self._store.watch(path, lambda: self._changed.set())
        await self.load()
        task_status.started()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            try:
                await self.load()
            except StoreError as error:
                log.error("the ACLs can't be read, those known stay in force: %s", error)

    async def create(self, acls: Sequence[Acl]) -> None:
        """Adds ACLs; one that is there already stays. Raises KafkaError, StoreError."""
        for resource in dict.fromkeys(acl.resource for acl in acls):
            await self._update(resource, frozenset(acl.entry for acl in acls if acl.resource == resource))
        await self.load()

    async def delete(self, filters: Sequence[Filter]) -> list[list[Acl]]:
        """Removes the ACLs that filters match; for each filter those that it was the first to match."""
        gone: list[list[Acl]] = [[] for _ in filters]
        doomed: dict[Resource, set[Entry]] = {}
        for acl in self.acls:
            for at, one in enumerate(filters):
                if one.matches(acl):
                    gone[at].append(acl)
                    doomed.setdefault(acl.resource, set()).add(acl.entry)
                    break
        for resource, entries in doomed.items():
            await self._update(resource, removed=frozenset(entries))
        await self.load()
        return gone

    async def _update(
        self, resource: Resource, added: frozenset[Entry] = frozenset(), removed: frozenset[Entry] = frozenset()
    ) -> None:
        """Compare and set, again after another broker was faster."""
        path = acl_znodes.resource_path(resource)
        for _ in range(ATTEMPTS):
            node = await self._store.find(path)
            known = frozenset(acl_znodes.decode_entries(node.data if node is not None else b""))
            entries = (known | added) - removed
            if entries == known:
                return
            if len(entries) > MAX_ENTRIES:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"More than {MAX_ENTRIES} ACLs on one resource pattern.")
            data = acl_znodes.encode_entries(entries)
            operation: Operation = Set(path, data, node.stat.version) if node is not None else Create(path, data)
            if node is not None and not entries and not await self._store.children(path):
                operation = Delete(path, node.stat.version)
            if node is None:
                await self._store.ensure_path(path.rpartition("/")[0])
            note_path, note = acl_znodes.change_note(resource)
            try:
                await self._store.multi([operation, Create(note_path, note, sequential=True)])
            except (BadVersion, NodeExists, NoNode):
                continue
            await forget_oldest(self._store, note_path.rpartition("/")[0], KEPT_NOTES)
            return
        raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, "The ACLs were changed by others again and again.")


class RequestAccess:
    """What the client of one request may do: the `Access` of `security.guard`."""

    __slots__ = ("_authorizer", "_host", "_metadata", "_principal", "creates_topics", "version")

    def __init__(self, authorizer: Authorizer, context: RequestContext) -> None:
        self._authorizer = authorizer
        self._principal = context.principal
        self._host = context.client_host[1:]
        self._metadata: MetadataCache = context.services.metadata
        self.version = context.api_version
        self.creates_topics = context.services.config.auto_create_topics_enable

    def may(self, operation: AclOperation, kind: ResourceType, name: str) -> bool:
        """Whether the operation on a resource is allowed."""
        return self._authorizer.authorize(self._principal, self._host, operation, kind, name)

    def may_any(self, operation: AclOperation, kind: ResourceType) -> bool:
        """Whether there may be a resource of a type on which the operation is allowed."""
        return self._authorizer.authorize_any(self._principal, self._host, operation, kind)

    def topic_name(self, topic_id: UUID) -> str | None:
        """The name of a topic by its id."""
        return self._metadata.topic_name(topic_id)

    def topic_names(self) -> Sequence[str]:
        """The names of all topics."""
        return list(self._metadata.image.topics)

    def is_internal(self, topic: str) -> bool:
        """Whether a topic is one of Kafka's own."""
        return self._metadata.is_internal(topic)
