"""Random commits, within transactions and without, against a plain list of them: what a reader is told, at any time.

An offset of an aborted transaction is never told, that of a committed one always is, unless a later commit came first;
while a transaction is open its offsets are unstable; and what is deleted or expired comes back by no marker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.coordinator.conversation import Conversation

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import UNSTABLE, OffsetToCommit
from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.result import Record
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.topic_partition import TopicPartition

PLACES = [TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 0)]
WHERE = st.sampled_from(PLACES)
TOGETHER = st.sampled_from([PLACES, PLACES[:2], PLACES[2:]])
PRODUCERS = st.integers(1, 2)
RETENTION_S, CHECK_S = 3600, 600


@dataclass
class Commit:
    """One offset that was written, in the order of the log."""

    tp: TopicPartition
    offset: int
    at: float
    producer: int | None
    """Whose transaction is still open."""


class OffsetMachine(RuleBasedStateMachine):
    """`commits` is the model: all that count or may come to count."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Conversation(
            offsets_retention_minutes=RETENTION_S // 60, offsets_retention_check_interval_ms=CHECK_S * 1000
        )
        self.talk.take(self.talk.shard.loaded(self.talk.now))
        self.log: list[Any] = []
        self.commits: list[Commit] = []
        self.count = 0

    def take(self, result: Any, producer: int | None = None) -> Any:
        for record in result.records:
            self.log.append((record, producer))
            read(self.talk.shard, record, producer)
        return result.answer

    # Those who commit

    @rule(tps=TOGETHER)
    def commit(self, tps: list[TopicPartition]) -> None:
        self._commit(tps, None)

    @rule(tps=TOGETHER, producer=PRODUCERS)
    def commit_in_a_transaction(self, tps: list[TopicPartition], producer: int) -> None:
        self._commit(tps, producer)

    def _commit(self, tps: list[TopicPartition], producer: int | None) -> None:
        self.count += 1
        ask = self.talk.shard.commit if producer is None else self.talk.shard.commit_pending
        answer = self.take(
            ask("g", Committer(), {tp: OffsetToCommit(self.count) for tp in tps}, self.talk.now), producer
        )
        assert answer == dict.fromkeys(tps, E.NONE)
        self.commits += [Commit(tp, self.count, self.talk.seconds, producer) for tp in tps]

    @rule(producer=PRODUCERS, committed=st.sampled_from([True, True, False]))
    def decide(self, producer: int, committed: bool) -> None:
        self.log.append((producer, committed))
        self.talk.shard.replay_marker(producer, committed=committed)
        if not committed:
            self.commits = [one for one in self.commits if one.producer != producer]
        for one in self.commits:
            if one.producer == producer:
                one.producer = None

    # What takes offsets away

    @precondition(lambda self: self.commits)
    @rule(tp=WHERE, how=st.sampled_from(["offset", "topic", "group", "time", "time", "restart"]))
    def disturb(self, tp: TopicPartition, how: str) -> None:
        """In one rule, or there would be few commits between."""
        if how == "time":
            self.wait(RETENTION_S if tp == PLACES[0] else CHECK_S)
        elif how == "restart":
            self.talk.shard = self.loaded()
            self.talk.take(self.talk.shard.loaded(self.talk.now))
        elif how == "offset":
            assert self.take(self.talk.shard.delete_offsets("g", [tp])) == {tp: E.NONE}
            self.forget({tp})
        elif how == "topic":
            self.take(self.talk.shard.delete_topics([tp.topic]))
            self.forget({one for one in PLACES if one.topic == tp.topic})
        else:
            assert self.take(self.talk.shard.delete("g")) is E.NONE
            self.forget(set(PLACES))

    def wait(self, seconds: int) -> None:
        end = self.talk.seconds + seconds
        while self.talk.shard.deadline <= end:
            self.talk.seconds = max(self.talk.seconds, self.talk.shard.deadline)
            self.take(self.talk.shard.expire(self.talk.now))
            due = {tp for tp in PLACES if (told := self.told(tp)) and self.talk.seconds - told.at >= RETENTION_S}
            self.forget({tp for tp in due if not self.is_unstable(tp)})
        self.talk.seconds = end

    def forget(self, tps: set[TopicPartition]) -> None:
        self.commits = [one for one in self.commits if one.tp not in tps]

    def loaded(self) -> GroupShard:
        shard = self.talk.new_shard()
        for what, how in self.log:
            if isinstance(what, Record):
                read(shard, what, how)
            else:
                shard.replay_marker(what, committed=how)
        return shard

    # What readers are told

    def told(self, tp: TopicPartition) -> Commit | None:
        return next((one for one in reversed(self.commits) if one.tp == tp and one.producer is None), None)

    def is_unstable(self, tp: TopicPartition) -> bool:
        return any(one.tp == tp and one.producer is not None for one in self.commits)

    @invariant()
    def readers_are_told_what_counts(self) -> None:
        for shard in (self.talk.shard, self.loaded()):
            now, stable = shard.fetch("g", PLACES).answer, shard.fetch("g", PLACES, stable=True).answer
            assert isinstance(now, dict)
            assert isinstance(stable, dict)
            for tp in PLACES:
                told = self.told(tp)
                assert (now[tp] and now[tp].offset) == (told and told.offset)
                assert stable[tp] is UNSTABLE if self.is_unstable(tp) else stable[tp] == now[tp]
            everything = shard.fetch("g", None).answer
            assert isinstance(everything, dict)
            assert everything.keys() == {tp for tp in PLACES if self.told(tp)}
            assert ("g" in shard.groups) == bool(self.commits), "a group with nothing left is forgotten"


def read(shard: GroupShard, record: Record, producer: int | None) -> None:
    if producer is None:
        shard.replay(record)
    else:
        shard.replay_pending(record, producer)


@pytest.mark.slow
class TestOffsetsAtRandom(OffsetMachine.TestCase):
    settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
