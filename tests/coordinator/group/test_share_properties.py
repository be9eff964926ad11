"""Random conversations with a share group: what holds whatever clients do, in whatever order, through restarts.

Epochs only grow; a member is in the group for as long as it heartbeats; it is told of partitions that it subscribes to
and whose states have begun, and of no others; a load finds what was written; and once all is quiet, every partition
that somebody subscribes to is read, by about as many members as any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.coordinator.shares import ShareConsumer, Shares

from pykbroker.coordinator.group.assignment import TopicIdPartition, metadata_hash, topic_ids
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.group.share_group import ShareGroup
from pykbroker.coordinator.group.share_groups import RETRY_MS, Begin
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest

TOPICS = st.sampled_from([("t",), ("t", "u"), ("u", "v")])
WHO = st.integers(0, 4)
PERSISTED = ("epoch", "metadata_hash", "target_epoch", "targets", "members", "topics")
MOST = 4
SESSION = 45


def persisted(shard: GroupShard) -> dict[str, Any]:
    return {
        name: {field: getattr(group, field) for field in PERSISTED}
        for name, group in shard.groups.items()
        if isinstance(group, ShareGroup) and not group.is_unwritten
    }


class ShareMachine(RuleBasedStateMachine):
    """`due`: when each member's session is over; `begun`: the share-partitions whose states have begun."""

    @initialize(partitions=st.integers(1, 4), interval=st.sampled_from([0, 1000, 1000]))
    def begin(self, partitions: int, interval: int) -> None:
        config = {"group_share_assignment_interval_ms": interval, "group_share_max_size": MOST}
        self.talk = Shares({"t": partitions, "u": 2}, **config)
        self.consumers: list[ShareConsumer] = []
        self.names = 0
        self.due: dict[str, float] = {}
        self.asked: dict[TopicIdPartition, int] = {}
        self.pending: list[Begin] = []
        self.begun: set[TopicIdPartition] = set()
        self.epochs = (0, 0)
        self.led: dict[str, int] = {}
        self.join(("t", "u"))

    @property
    def group(self) -> ShareGroup | None:
        group = self.talk.shard.groups.get("g") if hasattr(self, "talk") else None
        assert group is None or isinstance(group, ShareGroup)
        return group

    # Members

    @precondition(lambda self: len(self.consumers) <= MOST)
    @rule(topics=TOPICS)
    def join(self, topics: tuple[str, ...]) -> None:
        self.names += 1
        consumer = ShareConsumer(self.talk, f"m{self.names}", topics)
        if self.beat(consumer) is E.NONE:
            self.consumers.append(consumer)

    @precondition(lambda self: self.consumers)
    @rule(who=WHO, lost=st.booleans())
    def heartbeat(self, who: int, lost: bool) -> None:
        self.beat(self.consumers[who % len(self.consumers)], lost=lost)

    def beat(self, consumer: ShareConsumer, *, lost: bool = False) -> E:
        """One heartbeat, answered as the model says."""
        is_member, epoch, missed = consumer.member_id in self.due, consumer.epoch, consumer.lost
        is_full = len(self.due) >= MOST and not is_member
        code, begin = consumer.beat(lost=lost)
        if code is E.NONE:
            assert is_member or not epoch
            assert not is_full
            assert lost or consumer.epoch >= epoch, "a member's epoch went back"
            self.due[consumer.member_id] = self.talk.seconds + SESSION
            if not lost:
                self.check_told(consumer)
        elif code is E.GROUP_MAX_SIZE_REACHED:
            assert is_full
        elif code is E.FENCED_MEMBER_EPOCH:
            assert is_member
            assert missed > 1, "who is one answer behind isn't fenced"
        else:
            assert code in (E.UNKNOWN_MEMBER_ID, E.GROUP_ID_NOT_FOUND)
            assert epoch
            assert not is_member
        if begin is not None:
            self.note(begin)
        return code

    def check_told(self, consumer: ShareConsumer) -> None:
        """It has been told what it has: what it wants and what may be read, but for topics that are gone meanwhile."""
        group = self.talk.group()
        assert consumer.told == group.members[consumer.member_id].assigned
        assert consumer.epoch == group.members[consumer.member_id].epoch
        there = {one for one in consumer.told if one.topic_id in self.talk.image.topic_names}
        assert {one.topic_id for one in there} <= topic_ids(consumer.topics, self.talk.image)
        assert there <= self.begun

    @precondition(lambda self: self.consumers)
    @rule(who=WHO, topics=TOPICS)
    def subscribe(self, who: int, topics: tuple[str, ...]) -> None:
        consumer = self.consumers[who % len(self.consumers)]
        if consumer.topics != topics and consumer.epoch:
            consumer.topics = topics
            consumer.lost = max(consumer.lost, 1)  # all of itself is said again
        self.beat(consumer)

    @precondition(lambda self: self.consumers)
    @rule()
    def all_heartbeat(self) -> None:
        for consumer in self.consumers:
            self.beat(consumer)

    @precondition(lambda self: self.consumers)
    @rule(who=WHO, how=st.sampled_from(["leaves", "falls silent", "starts anew"]))
    def depart(self, who: int, how: str) -> None:
        consumer = self.consumers[who % len(self.consumers)]
        if how == "starts anew":
            consumer.epoch = 0
            self.beat(consumer)
            return
        self.consumers.remove(consumer)
        if how == "leaves" and consumer.member_id in self.due:
            epoch = self.talk.group().epoch
            consumer.leave()
            del self.due[consumer.member_id]
            assert self.talk.group().epoch == epoch + 1

    # Time, topics, restarts

    @rule(seconds=st.sampled_from([0.4, 0.4, 1.5, 1.5, 30, 50]))
    def wait(self, seconds: float) -> None:
        epoch = 0 if self.group is None else self.group.epoch
        self.talk.advance(seconds)
        late = [one for one, due in self.due.items() if due <= self.talk.seconds]
        for member_id in late:
            del self.due[member_id]
        assert not late or epoch < self.talk.group().epoch <= epoch + len(late)

    @rule(what=st.sampled_from(["grows", "grows", "goes", "restarts"]), name=st.sampled_from("tuv"), more=st.booleans())
    def disturb(self, what: str, name: str, more: bool) -> None:
        """In one rule, or hardly anything else would happen."""
        if what == "grows":
            known = self.talk.image.topics.get(name)
            self.talk.create(name, (len(known.partitions) if known else 0) + 1 + more)
        elif what == "goes":
            self._topic_goes(name, told=more)
        else:
            self._restart()

    def _topic_goes(self, name: str, *, told: bool) -> None:
        """The group may hear of it at once, or when the next one goes."""
        if name in self.talk.image.topics:
            self.talk.delete(name)
            if told:
                self.talk.take(self.talk.shard.delete_topics([name]))
                there = self.talk.image.topic_names
                self.begun = {one for one in self.begun if one.topic_id in there}

    def _restart(self) -> None:
        self.talk.shard = self.talk.restarted()
        self.talk.take(self.talk.shard.loaded(self.talk.now))
        self.due = dict.fromkeys(self.due, self.talk.seconds + SESSION)

    # The share coordinator

    def note(self, begin: Begin) -> None:
        """States are asked to begin once, until that failed or has taken long."""
        assert begin.state_epoch == self.talk.group().epoch
        for topic_id, offsets in begin.offsets.items():
            for index in offsets:
                tp = TopicIdPartition(topic_id, index)
                assert tp not in self.begun
                assert self.talk.now.wall_ms - self.asked.get(tp, -RETRY_MS) >= RETRY_MS
                self.asked[tp] = self.talk.now.wall_ms
        self.pending.append(begin)

    @precondition(lambda self: self.pending)
    @rule(how=st.sampled_from(["begun", "begun", "fails", "lost"]))
    def outcome(self, how: str) -> None:
        begin = self.pending.pop(0)
        if how == "lost":
            return
        self.talk.begun(begin, fails=how == "fails")
        for tp in all_of(begin):
            self.asked.pop(tp, None)
            if self.group is not None:
                waiting = self.group.topics.initializing.get(tp.topic_id)
                assert waiting is None or tp.partition not in waiting.partitions
                if how == "begun":
                    self.begun.add(tp)

    # Administration

    @rule(what=st.sampled_from(["alters", "deletes offsets", "deletes"]), number=st.integers(0, 9))
    def administer(self, what: str, number: int) -> None:
        """What may be done to an empty group."""
        if self.due:
            assert self.talk.take(self.talk.shard.delete("g")) is E.NON_EMPTY_GROUP
        elif what == "alters":
            self._alter_offsets(number)
        elif self.group is not None:
            if what == "deletes":
                self._delete()
            else:
                self._delete_offsets(forgotten=number < 5)

    def _alter_offsets(self, offset: int) -> None:
        if "t" not in self.talk.image.topics:
            return
        cls = AlterShareGroupOffsetsRequest.Topic
        topics = [cls(topic_name="t", partitions=[cls.Partition(partition_index=0, start_offset=offset)])]
        now = self.talk.now
        _, begin = self.talk.ask(lambda share, draft: share.alter_offsets("g", topics, now, draft))
        assert list(begin.offsets.values()) == [{0: offset}]
        self.asked.update(dict.fromkeys(all_of(begin), now.wall_ms))
        self.pending.append(begin)

    def _delete_offsets(self, *, forgotten: bool) -> None:
        _, doomed = self.talk.ask(lambda share, draft: share.delete_offsets("g", ["t"], draft))
        begun = {one for one in self.begun if one.topic_id in doomed}
        self.begun -= begun
        assert begun <= {TopicIdPartition(topic_id, index) for topic_id, some in doomed.items() for index in some}
        if forgotten:
            self.talk.ask(lambda share, draft: share.offsets_deleted("g", list(doomed), draft))

    def _delete(self) -> None:
        self.talk.ask(lambda share, draft: share.doom("g", draft))
        assert self.talk.take(self.talk.shard.delete("g")) is E.NONE
        self.begun, self.pending, self.epochs = set(), [], (0, 0)
        self.asked.clear()
        self.led.clear()

    # What holds

    @rule()
    def quiet(self) -> None:
        """Once states have begun and all have heartbeat, everything is read, evenly, by those who want it."""
        for _ in range(6):
            for consumer in self.consumers:
                self.beat(consumer)
                while self.pending:
                    self.outcome("begun")
            self.wait(20)
        written = len(self.talk.records)
        for consumer in self.consumers:
            self.beat(consumer)
        assert len(self.talk.records) == written, "nothing has changed"
        members = [consumer for consumer in self.consumers if consumer.member_id in self.due]
        if not members:
            return
        assert self.due.keys() <= {consumer.member_id for consumer in members}
        image = self.talk.image
        wanted = [topic_ids(consumer.topics, image) for consumer in members]
        readers = Counter(one for consumer in members for one in consumer.told)
        topics = frozenset().union(*wanted)
        assert readers.keys() == set(every(topics, image))
        if all(one == wanted[0] for one in wanted) and readers:
            assert max(readers.values()) - min(readers.values()) <= 1
            sizes = [len(consumer.told) for consumer in members]
            assert max(sizes) - min(sizes) <= 1

    @invariant()
    def who_heartbeats_is_a_member(self) -> None:
        group = self.group
        if group is not None:
            assert group.members.keys() == self.due.keys() == group.sessions.keys()
            assert self.talk.shard.deadline <= min(self.due.values(), default=float("inf"))
            assert group.targets.keys() <= group.members.keys()
        elif hasattr(self, "talk"):
            assert not self.due

    @invariant()
    def epochs_only_grow(self) -> None:
        group = self.group
        if group is None:
            return
        assert (group.epoch, group.target_epoch) >= self.epochs
        assert group.epoch >= group.target_epoch >= self.epochs[1]
        self.epochs = group.epoch, group.target_epoch
        for member in group.members.values():
            assert member.previous_epoch < member.epoch <= group.target_epoch
            assert member.epoch >= self.led.get(member.member_id, 0)
        self.led = {one: member.epoch for one, member in group.members.items()}

    @invariant()
    def targets_hold_what_may_be_read(self) -> None:
        group = self.group
        if group is None:
            return
        assert begun_of(group) == self.begun
        there = self.talk.image.topic_names
        for member_id, member in group.members.items():
            target = group.targets.get(member_id, frozenset())
            wanted = topic_ids(member.topics, self.talk.image)
            if group.target_epoch == group.epoch and not group.is_stale:
                assert {one.topic_id for one in target} <= wanted
                if member.epoch == group.epoch:
                    assert member.assigned == target
            if not group.is_stale:
                assert group.metadata_hash == metadata_hash(group.subscribed(group.members), self.talk.image)
            assert {one for one in target if one.topic_id in there} <= self.begun

    @invariant()
    def a_load_finds_what_was_written(self) -> None:
        if hasattr(self, "talk"):
            self.talk.check_loads(persisted)


def begun_of(group: ShareGroup) -> set[TopicIdPartition]:
    known = group.topics.initialized.items()
    return {TopicIdPartition(topic_id, index) for topic_id, state in known for index in state.partitions}


def all_of(begin: Begin) -> list[TopicIdPartition]:
    return [TopicIdPartition(topic_id, index) for topic_id, offsets in begin.offsets.items() for index in offsets]


def every(topics: Iterable[UUID], image: Any) -> list[TopicIdPartition]:
    return [TopicIdPartition(one, index) for one in topics for index in image.topics[image.topic_names[one]].partitions]


@pytest.mark.slow
def test_whatever_members_do() -> None:
    run_state_machine_as_test(
        ShareMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
