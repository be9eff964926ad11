"""Groups that change their kind online, and classic members in consumer groups (KIP-848)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.coordinator.consumers import Cluster, Consumer, settle

from pykbroker.coordinator.group.classic_group import ClassicGroup
from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.records import GROUP_KEY, record_type
from pykbroker.coordinator.group.subscriptions import read_assignment, write_assignment
from pykbroker.coordinator.result import Record
from pykbroker.protocol.consumer_protocol import Subscription
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.errors import KafkaError


def subscription(*topics: str, owned: Mapping[str, list[int]] | None = None) -> bytes:
    partitions = [Subscription.OwnedPartition(topic=topic, partitions=these) for topic, these in (owned or {}).items()]
    return b"\x00\x01" + Subscription(topics=list(topics), owned_partitions=partitions).encode(1)


class Classic:
    """A consumer of the classic protocol in a consumer group: rejoins when it is told to."""

    def __init__(self, talk: Cluster, instance: str | None = None, topic: str = "t") -> None:
        self.talk, self.instance, self.topic = talk, instance, topic
        self.member_id = ""
        self.generation = -1
        self.owned: dict[str, list[int]] = {}

    def join(self) -> E:
        options = {"protocols": {"range": subscription(self.topic, owned=self.owned)}, "instance": self.instance}
        answer = self.talk.join(self.member_id, **options)
        if answer.error_code == E.MEMBER_ID_REQUIRED:
            self.member_id = answer.member_id
            answer = self.talk.join(self.member_id, **options)
        if answer.error_code == E.NONE:
            self.member_id, self.generation = answer.member_id, answer.generation_id
            assert (answer.protocol_type, answer.protocol_name, answer.leader) == ("consumer", "range", "")
            self.sync()
        return E(answer.error_code)

    def sync(self) -> None:
        answer = self.talk.sync(self.member_id, self.generation, instance=self.instance)
        if answer.error_code == E.NONE:
            assigned = read_assignment(answer.assignment).assigned_partitions
            self.owned = {one.topic: one.partitions for one in assigned}

    def beat(self) -> E:
        code = self.talk.heartbeat(self.member_id, self.generation, self.instance)
        if code == E.REBALANCE_IN_PROGRESS:
            self.join()
        return code

    @property
    def partitions(self) -> set[tuple[str, int]]:
        return {(topic, one) for topic, these in self.owned.items() for one in these}


def classic_group(talk: Cluster, *assigned: Mapping[str, list[int]], **options: Any) -> list[Classic]:
    """A stable classic group whose leader has handed out these partitions."""
    assignments = [write_assignment(dict(one), 1) for one in assigned]
    generation, ids = talk.stable(*assignments, protocols={"range": subscription("t")}, session=50, **options)
    members = []
    for member_id, mine in zip(ids, assigned, strict=True):
        member = Classic(talk)
        member.member_id, member.generation, member.owned = member_id, generation, dict(mine)
        members.append(member)
    return members


def together(talk: Cluster, members: list[Any], rounds: int = 10) -> None:
    for _ in range(rounds):
        talk.advance(1.5)
        for member in members:
            member.beat()


def test_an_upgrade_and_back() -> None:
    talk = Cluster({"t": 4})
    first, second = classic_group(talk, {"t": [0, 1]}, {"t": [2, 3]})
    generation = first.generation
    talk.advance(2)
    new = Consumer(talk, "new")
    assert new.beat() == E.NONE
    group = talk.group()
    assert isinstance(group, ConsumerGroup)
    assert group.epoch == generation + 1
    described = talk.shard.consumer_describe("g").answer
    assert sorted(member.member_type for member in described.members) == [0, 0, 1]
    together(talk, [first, second, new])
    owned = [tp for member in (first, second, new) for tp in member.partitions]
    assert sorted(owned) == [("t", one) for one in range(4)]
    assert sorted(map(len, (first.partitions, second.partitions, new.partitions))) == [1, 1, 2]
    assert talk.state() == "Stable"
    epoch = talk.group().epoch
    assert new.leave() == E.NONE
    group = talk.group()
    assert isinstance(group, ClassicGroup)
    assert group.generation == epoch
    assert (list(group.members), group.state_name) == ([first.member_id, second.member_id], "Stable")
    assert group.generation == talk.restarted().groups["g"].generation
    talk.advance(0.01)
    assert talk.state() == "PreparingRebalance"
    assert talk.heartbeat(first.member_id, group.generation) == E.REBALANCE_IN_PROGRESS


def test_the_last_one_leaves_while_a_target_is_due() -> None:
    talk = Cluster({"t": 2, "u": 1})
    (old,) = classic_group(talk, {"t": [0, 1]})
    talk.advance(2)
    new = Consumer(talk, "new")
    together(talk, [old, new])
    talk.create("t", 4)
    talk.full("new", new.epoch, topics=["t", "u"])
    talk.full("new", new.epoch, topics=["t"])
    assert talk.state() == "Assigning"
    assert new.leave() == E.NONE
    assert isinstance(talk.group(), ClassicGroup)


def test_a_classic_member_that_heartbeats_and_never_rejoins_holds_nobody_up() -> None:
    talk = Cluster({"t": 2})
    (old,) = classic_group(talk, {"t": [0, 1]})
    talk.advance(2)
    new = Consumer(talk, "new")
    new.beat()
    for _ in range(13):
        assert talk.heartbeat(old.member_id, old.generation) == E.REBALANCE_IN_PROGRESS or talk.seconds > 1060
        new.beat()
        talk.advance(5)
    assert old.member_id not in talk.group().members
    new.beat()
    assert new.partitions == {("t", 0), ("t", 1)}


def test_a_classic_member_fetches_in_its_generation() -> None:
    talk = Cluster({"t": 2})
    (old,) = classic_group(talk, {"t": [0, 1]})
    talk.advance(2)
    together(talk, [old, Consumer(talk, "new")])
    talk.shard.fetch("g", None, member=(old.member_id, old.generation))
    with pytest.raises(KafkaError) as refused:
        talk.shard.fetch("g", None, member=(old.member_id, old.generation + 1))
    assert refused.value.code is E.ILLEGAL_GENERATION


def test_the_last_member_without_the_classic_protocol_expires() -> None:
    talk = Cluster({"t": 2})
    (old,) = classic_group(talk, {"t": [0, 1]})
    talk.advance(2)
    new = Consumer(talk, "new")
    together(talk, [old, new])
    for _ in range(10):
        talk.advance(5)
        old.beat()
        if isinstance(talk.group(), ClassicGroup):
            break
    assert isinstance(talk.group(), ClassicGroup)
    assert isinstance(talk.restarted().groups["g"], ClassicGroup)


def test_an_empty_group_changes_its_kind() -> None:
    talk = Cluster({"t": 1})
    talk.commit(group="g", topic="t")
    assert talk.group().kind.value == "classic"
    member = Consumer(talk, "a")
    assert member.beat() == E.NONE
    assert talk.restarted().groups["g"].kind.value == talk.group().kind.value == "consumer"
    assert talk.committed().offset == 5
    member.leave()
    talk.stable(b"")
    assert talk.restarted().groups["g"].kind.value == talk.group().kind.value == "classic"


@pytest.mark.parametrize("policy", ["disabled", "downgrade"])
def test_an_upgrade_may_be_forbidden(policy: str) -> None:
    talk = Cluster({"t": 1}, group_consumer_migration_policy=policy)
    (old,) = classic_group(talk, {"t": [0]})
    answer = talk.full("new")
    assert answer.error_code == E.GROUP_ID_NOT_FOUND
    assert "online upgrade is disabled" in answer.error_message
    assert talk.heartbeat(old.member_id, old.generation) == E.NONE


@pytest.mark.parametrize("policy", ["disabled", "upgrade"])
def test_a_downgrade_may_be_forbidden(policy: str) -> None:
    talk = Cluster({"t": 2})
    (old,) = classic_group(talk, {"t": [0, 1]})
    new = Consumer(talk, "new")
    talk.advance(2)
    together(talk, [old, new])
    object.__setattr__(talk.config, "group_consumer_migration_policy", policy)
    new.leave()
    assert isinstance(talk.group(), ConsumerGroup)
    together(talk, [old])
    assert len(old.partitions) == 2


def test_what_can_not_be_upgraded() -> None:
    workers, odd, full, custom = (Cluster({"t": 1}, group_consumer_max_size=size) for size in (9, 9, 1, 9))
    workers.stable(b"", protocol_type="connect")
    assert "consumer embedded protocol" in workers.full("new").error_message
    odd.stable(b"", protocols={"range": b"?"})
    assert "malformed" in odd.full("new").error_message
    classic_group(full, {})
    assert full.full("new").error_code == E.GROUP_MAX_SIZE_REACHED
    with_data = write_assignment({"t": [0]}, 1)[:-4] + b"\x00\x00\x00\x01x"
    custom.stable(with_data, protocols={"range": subscription("t")})
    assert "custom assignor" in custom.full("new").error_message


def test_those_who_wait_in_an_upgraded_group_rejoin() -> None:
    talk = Cluster({"t": 2})
    first, _ = classic_group(talk, {"t": [0]}, {"t": [1]})
    waiting = talk.join(first.member_id, protocols={"range": subscription("t")})
    assert talk.state() == "PreparingRebalance"
    assert talk.full("new").error_code == E.NONE
    assert talk.answer(waiting).error_code == E.REBALANCE_IN_PROGRESS
    assert talk.heartbeat(first.member_id, first.generation) == E.REBALANCE_IN_PROGRESS


def test_a_classic_member_joins_a_consumer_group() -> None:
    talk = Cluster({"t": 2})
    new = Consumer(talk, "new")
    settle(talk, [new])
    old = Classic(talk)
    assert talk.join("", protocols={"range": b"\x00\x01"}, version=3).error_code == E.INCONSISTENT_GROUP_PROTOCOL
    assert talk.join("", protocol_type="connect").error_code == E.INCONSISTENT_GROUP_PROTOCOL
    assert old.join() == E.NONE
    assert talk.join("", protocols={"other": subscription("t")}).error_code == E.INCONSISTENT_GROUP_PROTOCOL
    together(talk, [old, new])
    assert (len(old.partitions), len(new.partitions)) == (1, 1)
    assert talk.heartbeat(old.member_id, old.generation + 1) == E.ILLEGAL_GENERATION
    assert talk.heartbeat("new", new.epoch) == E.UNKNOWN_MEMBER_ID
    assert talk.heartbeat(old.member_id, old.generation, "instance") == E.UNKNOWN_MEMBER_ID
    assert talk.sync(old.member_id, old.generation, protocol_name="other").error_code == E.INCONSISTENT_GROUP_PROTOCOL
    assert talk.commit(old.member_id, old.generation) == E.NONE
    assert talk.commit(old.member_id, old.generation + 1) == E.ILLEGAL_GENERATION
    assert talk.leave("nobody") == E.UNKNOWN_MEMBER_ID
    assert talk.leave(old.member_id) == E.NONE
    together(talk, [new])
    assert len(new.partitions) == 2


def test_a_classic_member_that_does_not_rejoin_is_fenced() -> None:
    talk = Cluster({"t": 2})
    new = Consumer(talk, "new")
    settle(talk, [new])
    old = Classic(talk)
    old.join()
    together(talk, [old, new])
    for _ in range(15):  # It has synced: nothing is waited for.
        talk.advance(5)
        assert (old.beat(), new.beat()) == (E.NONE, E.NONE)
    Consumer(talk, "third").beat()
    since = talk.seconds
    while talk.heartbeat(old.member_id, old.generation) == E.REBALANCE_IN_PROGRESS:
        talk.advance(4)
        new.beat()
    assert old.member_id not in talk.group().members
    assert 60 <= talk.seconds - since < 65, "its rebalance timeout, not its session"


def test_a_classic_member_that_does_not_sync_is_fenced() -> None:
    talk = Cluster({"t": 2})
    new = Consumer(talk, "new")
    settle(talk, [new])
    member_id = talk.known(protocols={"range": subscription("t")})
    joined = talk.join(member_id, protocols={"range": subscription("t")})
    assert talk.sync(member_id, joined.generation_id + 1).error_code == E.ILLEGAL_GENERATION
    for _ in range(12):
        talk.heartbeat(member_id, joined.generation_id)
        new.beat()
        talk.advance(5)
    assert member_id not in talk.group().members


def test_a_static_member_comes_back_with_the_classic_protocol() -> None:
    talk = Cluster({"t": 2})
    static = Consumer(talk, "a", instance_id="i")
    settle(talk, [static])
    old = Classic(talk, instance="i")
    before = static.partitions
    answer = talk.join("", protocols={"range": subscription("t")}, instance="i")
    assert answer.error_code == E.NONE
    group = talk.group()
    assert isinstance(group, ClassicGroup)
    assert group.static == {"i": answer.member_id}
    for loaded in (talk.restarted(), talk.compacted()):
        restored = loaded.groups["g"]
        assert isinstance(restored, ClassicGroup)
        assert restored.members.keys() == {answer.member_id}
    last = {record.key: record.value for record in talk.records}
    assert [record_type(Record(*one)) for one in last.items() if one[1] is not None] == [GROUP_KEY]
    old.member_id, old.generation = answer.member_id, group.generation
    old.sync()
    assert old.partitions == before
    assert talk.beat("a", static.epoch, instance_id="i").error_code == E.GROUP_ID_NOT_FOUND
