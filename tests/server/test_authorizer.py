"""The authorizer on an embedded store: who may, what is stored, and how brokers learn from each other."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import Node
from pykbroker.security.acl import Acl, Entry, Filter, Operation, PatternType, Permission, Resource, ResourceType
from pykbroker.security.principal import ANONYMOUS, KafkaPrincipal
from pykbroker.server.authorizer import CLASS_NAMES, Authorizer, authorizer_for
from pykbroker.server.disk import InlineDisk

ALICE = KafkaPrincipal("User", "alice")
READ = Acl(
    Resource(ResourceType.TOPIC, PatternType.LITERAL, "t"),
    Entry("User:alice", "*", Operation.READ, Permission.ALLOW),
)
GROUPS = Acl(
    Resource(ResourceType.GROUP, PatternType.PREFIXED, "team/"),
    Entry("User:*", "10.0.0.1", Operation.ALL, Permission.DENY),
)
ALL = Filter(ResourceType.ANY, PatternType.ANY, None, None, None, Operation.ANY, Permission.ANY)


def may(authorizer: Authorizer, who: KafkaPrincipal = ALICE) -> bool:
    return authorizer.authorize(who, "127.0.0.1", Operation.READ, ResourceType.TOPIC, "t")


@pytest.fixture
def database() -> Database:
    return Database(None)


async def started(database: Database, nursery: trio.Nursery) -> Authorizer:
    authorizer = Authorizer(EmbeddedStore(database, InlineDisk()), ["User:root"])
    await nursery.start(authorizer.run)
    return authorizer


async def test_created_found_and_deleted(database: Database, nursery: trio.Nursery) -> None:
    authorizer = await started(database, nursery)
    assert not may(authorizer)
    assert may(authorizer, KafkaPrincipal("User", "root"))
    await authorizer.create([READ, GROUPS, READ])
    assert may(authorizer)
    assert not may(authorizer, ANONYMOUS)
    assert set(authorizer.acls) == {READ, GROUPS}
    gone = await authorizer.delete([ALL._replace(resource_type=ResourceType.GROUP), ALL])
    assert gone == [[GROUPS], [READ]]
    assert not may(authorizer)
    assert await authorizer.delete([ALL]) == [[]]
    below = EmbeddedStore(database, InlineDisk())
    assert await below.children("/kafka-acl/Topic") == []


async def test_of_two_reads_at_once_the_later_has_the_last_word(
    database: Database, nursery: trio.Nursery, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorizer = await started(database, nursery)
    await authorizer.create([READ])
    original, slow = EmbeddedStore.subtree, [1.0]

    async def subtree(store: EmbeddedStore, path: str) -> dict[str, Node]:
        found = await original(store, path)
        await trio.sleep(slow.pop() if slow else 0)
        return found

    monkeypatch.setattr(EmbeddedStore, "subtree", subtree)
    async with trio.open_nursery() as both:
        both.start_soon(authorizer.load)
        await trio.testing.wait_all_tasks_blocked()
        await authorizer.delete([ALL])
    assert not may(authorizer)


async def test_other_brokers_hear_of_it(database: Database, nursery: trio.Nursery, autojump_clock: object) -> None:
    one, other = await started(database, nursery), await started(database, nursery)
    await one.create([READ])
    await trio.testing.wait_all_tasks_blocked()
    assert may(other)
    await other.delete([ALL])
    await trio.testing.wait_all_tasks_blocked()
    assert not may(one)
    late = await started(database, nursery)
    assert not may(late)


async def test_old_notes_go(database: Database, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykbroker.server.authorizer.KEPT_NOTES", 2)
    authorizer = await started(database, nursery)
    for _ in range(3):
        await authorizer.create([READ])
        await authorizer.delete([ALL])
    assert len(await EmbeddedStore(database, InlineDisk()).children("/kafka-acl-changes")) == 2


def test_what_a_config_asks_for(database: Database) -> None:
    store = EmbeddedStore(database, InlineDisk())
    assert authorizer_for(BrokerConfig(), store) is None
    for name in CLASS_NAMES:
        properties = {"authorizer.class.name": name, "super.users": "User:a;User:b"}
        authorizer = authorizer_for(BrokerConfig.from_properties(properties), store)
        assert authorizer is not None
        assert may(authorizer, KafkaPrincipal("User", "b"))
        assert not may(authorizer)
        properties["allow.everyone.if.no.acl.found"] = "true"
        authorizer = authorizer_for(BrokerConfig.from_properties(properties), store)
        assert authorizer is not None
        assert may(authorizer)


@pytest.mark.parametrize(
    ("key", "value"), [("authorizer.class.name", "org.example.Mine"), ("super.users", "alice;User:b")]
)
def test_a_config_that_can_not_be(database: Database, key: str, value: str) -> None:
    config = BrokerConfig.from_properties({"authorizer.class.name": CLASS_NAMES[0], key: value})
    with pytest.raises(ConfigError, match=key):
        authorizer_for(config, EmbeddedStore(database, InlineDisk()))
