"""Random conversations with a consumer group: what holds whatever clients do, in whatever order, through restarts.

One owner for each partition at any time, and none hears of a partition before its former owner let go of it; epochs
only grow; a load finds what was written; and once all is quiet, every partition has exactly one reader.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.coordinator.consumers import Cluster, Consumer, settle

from pykbroker.coordinator.group.consumer_group import ConsumerGroup
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.protocol.errors import ErrorCode as E

SUBSCRIPTIONS: tuple[dict[str, Any], ...] = (
    {"topics": ("t",)},
    {"topics": ("t", "u")},
    {"topics": None, "subscribed_topic_regex": "t|v.*"},
)


def persisted(shard: GroupShard) -> dict[str, Any]:
    return {
        name: (
            group.epoch,
            group.metadata_hash,
            group.target_epoch,
            group.target_timestamp_ms,
            group.targets,
            group.members,
            group.static,
            group.owners,
            group.patterns,
        )
        for name, group in shard.groups.items()
        if isinstance(group, ConsumerGroup) and not group.is_unwritten
    }


class ConsumerMachine(RuleBasedStateMachine):
    @initialize(partitions=st.integers(1, 4), interval=st.sampled_from([0, 1000]))
    def begin(self, partitions: int, interval: int) -> None:
        self.talk = Cluster({"t": partitions, "u": 2}, group_consumer_assignment_interval_ms=interval)
        self.consumers: list[Consumer] = []
        self.names = 0
        self.epoch = 0

    @rule(how=st.sampled_from(SUBSCRIPTIONS), instance=st.sampled_from([None, None, "i", "j"]))
    def join(self, how: dict[str, Any], instance: str | None) -> None:
        if len(self.consumers) >= 5:
            return
        self.names += 1
        static = {} if instance is None else {"instance_id": instance}
        consumer = Consumer(self.talk, f"m{self.names}", **how, **static)
        if consumer.beat() == E.NONE:
            self.consumers.append(consumer)

    @rule(index=st.integers(0, 4), revokes=st.booleans())
    def heartbeat(self, index: int, revokes: bool) -> None:
        if self.consumers:
            consumer = self.consumers[index % len(self.consumers)]
            before = consumer.epoch
            if consumer.beat(revokes=revokes) == E.NONE and before:
                assert consumer.epoch >= before
                if revokes:
                    self.reads_what_it_wants(consumer)

    def reads_what_it_wants(self, consumer: Consumer) -> None:
        """Whatever its target says, which may be older than its subscription."""
        member = self.talk.group().members.get(consumer.member_id)
        if member is not None and not member.pattern:
            assert {topic for topic, _ in consumer.partitions} - {"gone"} <= member.topics

    @rule(index=st.integers(0, 4), epoch=st.sampled_from([-1, -1, -2]))
    def leave(self, index: int, epoch: int) -> None:
        if self.consumers:
            consumer = self.consumers.pop(index % len(self.consumers))
            consumer.leave(epoch if "instance_id" in consumer.fields else -1)

    @rule(index=st.integers(0, 4), how=st.sampled_from(SUBSCRIPTIONS))
    def subscribe(self, index: int, how: dict[str, Any]) -> None:
        if self.consumers:
            consumer = self.consumers[index % len(self.consumers)]
            static = {name: value for name, value in consumer.fields.items() if name == "instance_id"}
            consumer.fields = {**how, **static}
            consumer.epoch, consumer.owned = 0, set()
            if consumer.beat() == E.UNRELEASED_INSTANCE_ID:
                self.consumers.remove(consumer)
            self.reads_what_it_wants(consumer)

    @rule(name=st.sampled_from(["t", "v", "v2"]), partitions=st.integers(1, 5))
    def topic(self, name: str, partitions: int) -> None:
        known = self.talk.image.topics.get(name)
        self.talk.create(name, max(partitions, len(known.partitions) if known else 0))

    @rule(name=st.sampled_from(["u", "v"]))
    def topic_goes(self, name: str) -> None:
        if name in self.talk.image.topics:
            self.talk.delete(name)

    @rule(seconds=st.sampled_from([0.5, 1.5, 20, 50]))
    def wait(self, seconds: float) -> None:
        self.talk.advance(seconds)

    @rule()
    def delete(self) -> None:
        group = self.talk.shard.groups.get("g")
        if group is not None:
            code = self.talk.take(self.talk.shard.delete("g"))
            assert code is (E.NON_EMPTY_GROUP if group.members else E.NONE)
            if code is E.NONE:
                self.epoch = 0

    @rule()
    def restart(self) -> None:
        self.talk.shard = self.talk.restarted()
        self.talk.take(self.talk.shard.loaded(self.talk.now))

    @rule()
    def quiet(self) -> None:
        """Once all heartbeats have been answered, each partition that somebody subscribes to has one reader."""
        group = self.talk.shard.groups.get("g")
        if group is None or not self.consumers:
            return
        settle(self.talk, self.consumers, 40)
        live = [consumer for consumer in self.consumers if consumer.epoch > 0]
        owned = [tp for consumer in live for tp in consumer.partitions]
        assert len(owned) == len(set(owned))
        if len(self.talk.group().members) == len(live):
            assert self.talk.state() == "Stable"
            read = self.talk.group().subscribed_topics()
            topics = self.talk.image.topics
            assert set(owned) == {(name, one) for name in read if name in topics for one in topics[name].partitions}

    @invariant()
    def one_owner(self) -> None:
        if not hasattr(self, "talk"):
            return
        group = self.talk.shard.groups.get("g")
        if group is None:
            return
        assert isinstance(group, ConsumerGroup)
        held = [tp for member in group.members.values() for tp in (*member.assigned, *member.revoking)]
        assert len(held) == len(set(held))
        assert group.owners.keys() == set(held)
        alive = [one for one in self.consumers if one.member_id in group.members and one.epoch > 0]
        owned = [tp for consumer in alive for tp in consumer.owned]
        assert len(owned) == len(set(owned)), "two members were told of a partition"
        assert group.patterns.keys() <= {member.pattern for member in group.members.values()}
        targets = [tp for target in group.targets.values() for tp in target]
        assert len(targets) == len(set(targets))

    @invariant()
    def epochs_grow(self) -> None:
        if not hasattr(self, "talk"):
            return
        group = self.talk.shard.groups.get("g")
        if isinstance(group, ConsumerGroup):
            assert group.epoch >= self.epoch
            assert group.target_epoch <= group.epoch
            assert all(member.epoch <= group.target_epoch for member in group.members.values())
            self.epoch = group.epoch

    @invariant()
    def a_load_finds_what_was_written(self) -> None:
        if hasattr(self, "talk"):
            self.talk.check_loads(persisted)


@pytest.mark.slow
def test_whatever_members_do() -> None:
    run_state_machine_as_test(
        ConsumerMachine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
