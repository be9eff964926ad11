"""What stands below /config: written with notifications, and followed by other brokers."""

from collections.abc import Callable, Mapping

import pytest
import trio
import trio.testing

from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import Node, Set, StoreError
from pykbroker.server.disk import InlineDisk
from pykbroker.server.entity_configs import CHANGE_KEPT_S, EntityConfigs


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now


class Sides:
    """Two brokers on one store."""

    def __init__(self) -> None:
        self.database = Database(None)
        self.clock = Clock()
        self.store = EmbeddedStore(self.database, InlineDisk())
        self.one = EntityConfigs(self.store, self.clock)
        self.two = EntityConfigs(EmbeddedStore(self.database, InlineDisk()), self.clock)

    async def load(self) -> "Sides":
        await self.store.ensure_path(znodes.CONFIG_CHANGES)
        await self.one.load()
        await self.two.load()
        return self

    async def notifications(self) -> dict[str, Node]:
        return await self.store.subtree(znodes.CONFIG_CHANGES)


def to(config: Mapping[str, str]) -> Callable[[Mapping[str, str]], Mapping[str, str]]:
    return lambda current: config


async def test_a_change_is_stored_with_kafkas_notification_and_known_at_once() -> None:
    sides = await Sides().load()
    told: list[tuple[str, Mapping[str, str]]] = []
    sides.one.on_change("brokers", lambda entity, config: told.append((entity, config)))
    await sides.one.change("brokers/<default>", lambda current: {**current, "max.connections": "5"})
    await sides.one.change("brokers/<default>", lambda current: {**current, "background.threads": "9"})
    node = await sides.store.get("/config/brokers/<default>")
    both = {"max.connections": "5", "background.threads": "9"}
    assert znodes.decode_config(node.data) == both == sides.one.get("brokers/<default>")
    assert told == [("brokers/<default>", {"max.connections": "5"}), ("brokers/<default>", both)]
    found = await sides.notifications()
    assert list(found) == ["/config/changes/config_change_0000000000", "/config/changes/config_change_0000000001"]
    assert {node.data for node in found.values()} == {b'{"version":2,"entity_path":"brokers/<default>"}'}


async def test_another_broker_follows(autojump_clock: trio.testing.MockClock) -> None:
    sides = await Sides().load()
    told: list[tuple[str, Mapping[str, str]]] = []
    sides.two.on_change("topics", lambda entity, config: told.append((entity, config)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sides.two.run)
        await trio.testing.wait_all_tasks_blocked()
        await sides.one.change("topics/t", to({"retention.ms": "5"}))
        await sides.one.change("users/U", to({"producer_byte_rate": "5.0"}))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == [("topics/t", {"retention.ms": "5"})]
    assert sides.two.get("users/U") == {"producer_byte_rate": "5.0"}
    assert sides.two.get("topics/t") == {}


async def test_a_plan_is_asked_again_when_somebody_else_was_faster() -> None:
    sides = await Sides().load()
    await sides.one.change("groups/g", to({"a": "1"}))
    asked = []

    def plan(current: Mapping[str, str]) -> Mapping[str, str]:
        asked.append(dict(current))
        if len(asked) == 1:
            data = znodes.encode_config({"b": "2"})
            sides.database.write([Set("/config/groups/g", data)], sides.store.session_id)
        return {**current, "c": "3"}

    await sides.one.change("groups/g", plan)
    assert asked == [{"a": "1"}, {"b": "2"}]
    assert sides.one.get("groups/g") == {"b": "2", "c": "3"}


async def test_what_a_plan_raises_changes_nothing() -> None:
    sides = await Sides().load()

    def refuse(current: Mapping[str, str]) -> Mapping[str, str]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await sides.one.change("groups/g", refuse)
    assert await sides.notifications() == {}


async def test_a_config_that_stays_the_same_is_not_written() -> None:
    sides = await Sides().load()
    await sides.one.change("groups/g", to({"a": "1"}))
    await sides.one.change("groups/g", to({"a": "1"}))
    assert (await sides.store.get("/config/groups/g")).stat.version == 0
    assert len(await sides.notifications()) == 1


async def test_a_quotas_entity_without_quotas_leaves_no_node() -> None:
    sides = await Sides().load()
    await sides.one.change("users/U/clients/C", to({"a": "1"}))
    await sides.one.change("users/U", to({"a": "1"}))
    await sides.one.change("users/U", to({}))
    assert await sides.store.find("/config/users/U") is not None, "it has a child"
    await sides.one.change("users/U/clients/C", to({}))
    assert await sides.store.find("/config/users/U/clients/C") is None
    assert list(sides.one.below("users")) == []


async def test_a_change_that_can_not_be_read_now_is_read_later(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = await Sides().load()
    original, failures = EmbeddedStore.find, [StoreError("/", "no answer")]

    async def find(store: EmbeddedStore, path: str) -> Node | None:
        if failures and store is sides.two._store:
            raise failures.pop()
        return await original(store, path)

    monkeypatch.setattr(EmbeddedStore, "find", find)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sides.two.run)
        await sides.one.change("groups/g", to({"a": "1"}))
        await trio.testing.wait_all_tasks_blocked()
        assert not failures
        sides.two._changed()  # As a new connection does.
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sides.two.get("groups/g") == {"a": "1"}


async def test_all_there_is_is_read_at_start() -> None:
    sides = await Sides().load()
    await sides.one.change("users/U/clients/C", to({"a": "1"}))
    await sides.one.change("topics/t", to({"a": "1"}))
    late = EntityConfigs(sides.store, sides.clock)
    await late.load()
    assert list(late.below("users")) == [("users/U/clients/C", {"a": "1"})]
    assert list(late.below("topics")) == []


async def test_old_notifications_are_removed_by_whoever_sees_them(autojump_clock: trio.testing.MockClock) -> None:
    sides = await Sides().load()
    await sides.one.change("groups/old", to({"a": "1"}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sides.two.run)
        await trio.testing.wait_all_tasks_blocked()
        sides.clock.now = CHANGE_KEPT_S
        await sides.one.change("groups/new", to({"a": "1"}))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [znodes.decode_config_change(node.data) for node in (await sides.notifications()).values()] == ["groups/new"]


def test_names_are_escaped_as_kafka_escapes_them() -> None:
    assert znodes.entity("users", "CN=a b*/ü~") == "users/CN%3Da%20b%2A%2F%C3%BC%7E"
    assert znodes.entity_name("CN%3Da%20b%2A%2F%C3%BC%7E") == "CN=a b*/ü~"
    assert znodes.entity("clients", None) == "clients/<default>"
    assert znodes.entity_name("<default>") is None
    assert znodes.entity("clients", "<default>") == "clients/%3Cdefault%3E"


def test_notifications_of_both_versions() -> None:
    assert znodes.decode_config_change(b'{"version":1,"entity_type":"topics","entity_name":"t"}') == "topics/t"
    assert znodes.decode_config_change(znodes.encode_config_change("a/b")) == "a/b"
    assert znodes.decode_config_change(b"{}") is None
