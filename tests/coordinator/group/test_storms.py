"""Rebalance storms: 100 members join and leave a group of 100 partitions at random.

After each quiet second every partition has exactly one owner, whichever protocol the members speak.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.coordinator.consumers import Cluster, Consumer
from tests.coordinator.conversation import Conversation

from pykbroker.coordinator.result import Parked
from pykbroker.protocol.errors import ErrorCode as E

MEMBERS = 100
PARTITIONS = 100
GUSTS = 6


class ClassicConsumer:
    """A consumer of the classic protocol that goes wherever the coordinator's answers send it."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.member_id = ""
        self.generation = -1
        self.owned: set[int] = set()
        self.wait: Parked | None = None

    def join(self) -> None:
        self.owned = set()
        answer = self.talk.join(self.member_id, session=30)
        if not isinstance(answer, Parked) and answer.error_code == E.MEMBER_ID_REQUIRED:
            self.member_id = answer.member_id
            answer = self.talk.join(self.member_id, session=30)
        self._take(answer)

    def step(self) -> None:
        """Takes what it waited for, or heartbeats."""
        if self.wait is not None:
            if self.wait in self.talk.answers:
                answer, self.wait = self.talk.answers.pop(self.wait), None
                self._take(answer)
        elif self.generation < 0:
            self.join()
        else:
            code = self.talk.heartbeat(self.member_id, self.generation)
            if code == E.REBALANCE_IN_PROGRESS:
                self.join()
            elif code != E.NONE:
                self._lost(code)

    def leave(self) -> None:
        self.talk.leave(self.member_id)

    def _take(self, answer: Any) -> None:
        if isinstance(answer, Parked):
            self.wait = answer
        elif answer.error_code != E.NONE:
            self._lost(answer.error_code)
        elif hasattr(answer, "generation_id"):
            self.generation = answer.generation_id
            ids = [member.member_id for member in answer.members]
            shares = {one: bytes(range(index, PARTITIONS, len(ids))) for index, one in enumerate(ids)}
            self._take(self.talk.sync(self.member_id, self.generation, shares))
        else:
            self.owned = set(answer.assignment)

    def _lost(self, code: int) -> None:
        self.owned, self.generation = set(), -1
        if code == E.UNKNOWN_MEMBER_ID:
            self.member_id = ""


@pytest.mark.slow
def test_a_storm_of_classic_members() -> None:
    chance, talk = random.Random(1), Conversation()
    members: list[ClassicConsumer] = []
    for _ in range(GUSTS):
        for _ in range(MEMBERS // 2):
            if members and (len(members) == MEMBERS or chance.random() < 0.35):
                members.pop(chance.randrange(len(members))).leave()
            else:
                members.append(ClassicConsumer(talk))
                members[-1].join()
            for member in chance.sample(members, min(3, len(members))):
                member.step()
        for _ in range(10):
            talk.advance(0.1)
            for member in members:
                member.step()
        assert sorted(one for member in members for one in member.owned) == list(range(PARTITIONS))
        assert talk.state() == "Stable"
    assert len(members) > MEMBERS // 3


@pytest.mark.slow
def test_a_storm_of_members_of_a_consumer_group() -> None:
    chance = random.Random(2)
    talk = Cluster({"t": PARTITIONS}, group_consumer_assignment_interval_ms=100)
    members: list[Consumer] = []
    for gust in range(GUSTS):
        for number in range(MEMBERS // 2):
            if members and (len(members) == MEMBERS or chance.random() < 0.35):
                members.pop(chance.randrange(len(members))).leave()
            else:
                members.append(Consumer(talk, f"{gust}-{number}"))
                members[-1].beat()
            talk.advance(0.01)
            for member in chance.sample(members, min(3, len(members))):
                member.beat()
        for _ in range(10):
            talk.advance(0.1)
            for member in members:
                member.beat()
        owned = sorted(one for member in members for _, one in member.partitions)
        assert owned == list(range(PARTITIONS))
        assert talk.state() == "Stable"
    assert len(members) > MEMBERS // 3
