"""Random conversations with one group: what holds whatever clients do, in whatever order, through restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.result import Parked
from pykbroker.protocol.errors import ErrorCode as E

PARTITIONS = 3
PROTOCOLS = (
    {"range": b"1", "sticky": b"1"},
    {"range": b"2", "sticky": b"2"},
    {"sticky": b"3", "range": b"3"},
    {"range": b"4"},
)
LOST = {E.UNKNOWN_MEMBER_ID, E.FENCED_INSTANCE_ID}


class Client:
    """A consumer as far as the coordinator can see it."""

    def __init__(self, instance: str | None, version: int) -> None:
        self.instance, self.version = instance, version
        self.member_id = ""
        self.generation = -1
        self.members: list[str] = []
        self.waits: Parked | None = None

    def forget(self, code: int) -> None:
        self.generation = -1
        if code in LOST:
            self.member_id = ""


def persisted(shard: GroupShard) -> dict[str, Any]:
    """What a record says of each group that is in the state of its last record."""
    return {
        group_id: (
            group.state,
            group.generation,
            group.protocol_type,
            group.protocol,
            group.leader,
            group.static,
            [(m.member_id, m.metadata(group.protocol), m.assignment) for m in group.members.values()],
        )
        for group_id, group in shard.groups.items()
        if group.state.value == "Stable" or (group.state.value == "Empty" and group.generation > 0)
    }


class GroupMachine(RuleBasedStateMachine):
    new_conversation: Callable[..., Any]

    @initialize(
        delay=st.sampled_from([0, 3000]),
        size=st.sampled_from([3, 100]),
        instances=st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=4),
    )
    def begin(self, delay: int, size: int, instances: list[str | None]) -> None:
        self.talk = type(self).new_conversation(group_initial_rebalance_delay_ms=delay, group_max_size=size)
        self.clients = [Client(instance, 9) for instance in instances]
        self.owners: dict[tuple[int, int], str] = {}
        self.generation = 0

    @rule(instance=st.sampled_from([None, None, "a", "b"]), version=st.sampled_from([3, 4, 9]))
    def a_client_comes(self, instance: str | None, version: int) -> None:
        self.clients.append(Client(instance, version))

    def some(self, number: int) -> Client | None:
        idle = [client for client in self.clients if client.waits is None]
        return idle[number % len(idle)] if idle else None

    @rule(number=st.integers(0, 9), protocols=st.sampled_from(PROTOCOLS), rebalance=st.sampled_from([5, 60]))
    def join(self, number: int, protocols: dict[str, bytes], rebalance: int) -> None:
        client = self.some(number)
        if client is not None:
            self.ask_to_join(client, protocols, rebalance)

    def ask_to_join(self, client: Client, protocols: dict[str, bytes], rebalance: int) -> None:
        options = {"instance": client.instance, "version": client.version, "rebalance": rebalance}
        self.hear(client, self.talk.join(client.member_id, protocols=protocols, **options))

    @rule(number=st.integers(0, 9))
    def sync(self, number: int) -> None:
        client = self.some(number)
        if client is not None and client.generation >= 0:
            self.ask_to_sync(client)

    def ask_to_sync(self, client: Client) -> None:
        assignments = {}
        for partition in range(PARTITIONS if client.members else 0):
            owner = client.members[partition % len(client.members)]
            assignments[owner] = assignments.get(owner, b"") + bytes([partition])
        self.hear(client, self.talk.sync(client.member_id, client.generation, assignments, instance=client.instance))

    @rule(protocols=st.sampled_from(PROTOCOLS))
    def all_join_and_sync(self, protocols: dict[str, bytes]) -> None:
        for ask in (lambda client: self.ask_to_join(client, protocols, 60),) * 2 + (self.ask_to_sync,):
            for client in [client for client in self.clients if client.waits is None]:
                if client.waits is None:
                    ask(client)
                    self.listen()

    @rule(number=st.integers(0, 9))
    def heartbeat(self, number: int) -> None:
        client = self.some(number)
        if client is not None:
            code = self.talk.heartbeat(client.member_id, client.generation, client.instance)
            if code not in (E.NONE, E.REBALANCE_IN_PROGRESS):
                client.forget(code)

    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        client = self.some(number)
        if client is not None:
            self.talk.leave(client.member_id, client.instance)
            client.forget(E.UNKNOWN_MEMBER_ID)

    @rule(number=st.integers(0, 9), offset=st.integers(0, 100))
    def commit(self, number: int, offset: int) -> None:
        client = self.some(number)
        if client is not None and self.talk.commit(client.member_id, client.generation, offset=offset) == E.NONE:
            assert self.talk.committed().offset == offset

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.talk.advance(seconds)

    @rule(number=st.integers(0, 9))
    def a_connection_breaks(self, number: int) -> None:
        waiting = [client for client in self.clients if client.waits is not None]
        if waiting:
            client = waiting[number % len(waiting)]
            assert client.waits is not None
            self.talk.open.remove(client.waits)
            self.talk.take(self.talk.shard.abandon(client.waits, self.talk.now))
            client.waits = None

    @rule()
    def delete(self) -> None:
        self.talk.take(self.talk.shard.delete("g"))
        if "g" not in self.talk.shard.groups:
            self.owners.clear()
            self.generation = 0

    @rule()
    def restart(self) -> None:
        self.talk.take(self.talk.shard.unload(E.NOT_COORDINATOR))
        self.listen()
        self.talk.shard = self.talk.restarted()
        self.talk.take(self.talk.shard.loaded(self.talk.now))
        self.generation = 0

    def hear(self, client: Client, answer: Any) -> None:
        if isinstance(answer, Parked):
            client.waits = answer
        elif type(answer).__name__ == "JoinGroupResponse":
            self.joined(client, answer)
        elif answer.error_code == E.NONE:
            for partition in answer.assignment:
                name = client.instance or client.member_id
                owner = self.owners.setdefault((client.generation, partition), name)
                assert owner == name, f"partition {partition} has two owners in generation {client.generation}"
        else:
            client.forget(answer.error_code)

    def joined(self, client: Client, answer: Any) -> None:
        if answer.error_code == E.MEMBER_ID_REQUIRED:
            assert client.version >= 4
            assert client.instance is None
            client.member_id = answer.member_id
        elif answer.error_code == E.NONE:
            client.member_id, client.generation = answer.member_id, answer.generation_id
            leads = answer.leader == answer.member_id and not answer.skip_assignment
            client.members = [m.member_id for m in answer.members] if leads else []
            assert all(m.metadata for m in answer.members)
        else:
            client.forget(answer.error_code)

    @invariant()
    def listen(self) -> None:
        if not hasattr(self, "talk"):
            return
        for client in self.clients:
            if client.waits in self.talk.answers:
                answer, client.waits = self.talk.answers[client.waits], None
                self.hear(client, answer)
        assert self.talk.open == {client.waits for client in self.clients if client.waits is not None}

    @invariant()
    def a_load_finds_what_was_written(self) -> None:
        if hasattr(self, "talk"):
            for loaded in (self.talk.restarted(), self.talk.compacted()):
                found = persisted(loaded)
                for group_id, written in persisted(self.talk.shard).items():
                    assert found[group_id] == written
                assert loaded.offsets.of("g") == self.talk.shard.offsets.of("g")

    @invariant()
    def generations_grow_and_time_is_not_missed(self) -> None:
        group = self.talk.shard.groups.get("g") if hasattr(self, "talk") else None
        if group is None:
            return
        assert group.generation >= self.generation
        self.generation = group.generation
        deadlines = [*group.pending.values(), *(m.deadline for m in group.members.values())]
        assert self.talk.shard.deadline <= min([*deadlines, group.rebalance_deadline, group.sync_deadline])
        assert group.leader in group.members or not group.members
        assert sorted(group.static.values()) == sorted(m.member_id for m in group.members.values() if m.is_static)

    def teardown(self) -> None:
        """Silence empties the group and answers everyone."""
        if hasattr(self, "talk"):
            self.talk.advance(1000)
            assert self.talk.open == set()
            assert self.talk.state() in ("", "Empty")
            assert self.talk.shard.groups.deadline == float("inf")


@pytest.mark.slow
def test_whatever_clients_do(new_conversation: Callable[..., Any]) -> None:
    GroupMachine.new_conversation = new_conversation
    run_state_machine_as_test(
        GroupMachine,
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
