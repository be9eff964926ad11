"""Static members (KIP-345): a process that comes back takes its place again, and the old one is fenced."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.coordinator.result import Parked
from pykbroker.protocol.errors import ErrorCode as E


@pytest.fixture
def pair(talk: Any) -> tuple[str, str]:
    """A stable group of two static members, a (who leads) and b, in generation 2."""
    first = talk.join(instance="a").member_id
    wait = talk.join(instance="b")
    talk.join(first, instance="a")
    second = talk.answer(wait).member_id
    talk.sync(second, 2, instance="b")
    talk.sync(first, 2, {first: b"1", second: b"2"}, instance="a")
    assert talk.state() == "Stable"
    return first, second


def test_a_follower_that_comes_back_gets_its_assignment_without_a_rebalance(talk: Any, pair: tuple[str, str]) -> None:
    back = talk.join(instance="b")
    assert (back.error_code, back.generation_id, back.leader, back.members) == (E.NONE, 2, pair[0], [])
    assert back.member_id not in pair
    assert not back.skip_assignment
    assert talk.state() == "Stable"
    assert talk.sync(back.member_id, 2, instance="b").assignment == b"2"
    assert talk.heartbeat(pair[1], 2, "b") == E.FENCED_INSTANCE_ID
    assert talk.heartbeat(pair[1], 2) == E.UNKNOWN_MEMBER_ID
    stored = talk.restarted().groups["g"]
    assert stored.static == {"a": pair[0], "b": back.member_id}
    assert stored.members[back.member_id].assignment == b"2"


def test_from_version_9_a_leader_that_comes_back_is_told_not_to_assign(talk: Any, pair: tuple[str, str]) -> None:
    back = talk.join(instance="a", version=9)
    assert (back.leader, back.skip_assignment, len(back.members)) == (back.member_id, True, 2)


def test_before_a_leader_that_comes_back_does_not_take_itself_for_one(talk: Any, pair: tuple[str, str]) -> None:
    back = talk.join(instance="a", version=8)
    assert (back.leader, back.skip_assignment, back.members) == (pair[0], False, [])
    assert talk.shard.groups["g"].leader == back.member_id


def test_another_protocol_makes_the_group_rebalance(talk: Any) -> None:
    first = talk.join(instance="a", protocols={"range": b"", "sticky": b""}).member_id
    talk.sync(first, 1, {first: b"1"}, instance="a")
    back = talk.join(instance="a", protocols={"sticky": b"", "range": b""})
    assert (back.generation_id, back.protocol_name) == (2, "sticky")


def test_while_the_leader_assigns_a_replacement_starts_over(talk: Any, pair: tuple[str, str]) -> None:
    again = talk.join(pair[0], instance="a")
    talk.join(pair[1], instance="b")
    assert talk.answer(again).generation_id == 3
    parked = talk.sync(pair[1], 3, instance="b")
    back = talk.join(instance="b")
    assert isinstance(back, Parked)
    assert talk.answer(parked).error_code == E.FENCED_INSTANCE_ID
    assert talk.sync(pair[0], 3, instance="a").error_code == E.REBALANCE_IN_PROGRESS
    assert talk.join(pair[0], instance="a").generation_id == 4


def test_a_replacement_fences_the_join_that_waits(talk: Any, pair: tuple[str, str]) -> None:
    waits = talk.join(pair[0], instance="a")
    back = talk.join(instance="a")
    assert talk.answer(waits).error_code == E.FENCED_INSTANCE_ID
    assert back in talk.open
    assert talk.join(pair[1], instance="b").error_code == E.NONE
    assert talk.answer(back).leader == talk.answer(back).member_id


@pytest.mark.parametrize("ask", ["join", "sync", "heartbeat", "leave"])
def test_the_old_process_is_fenced_everywhere(talk: Any, pair: tuple[str, str], ask: str) -> None:
    talk.join(instance="b")
    asked = {
        "join": lambda: talk.join(pair[1], instance="b").error_code,
        "sync": lambda: talk.sync(pair[1], 2, instance="b").error_code,
        "heartbeat": lambda: talk.heartbeat(pair[1], 2, "b"),
        "leave": lambda: talk.leave(pair[1], "b"),
    }
    assert asked[ask]() == E.FENCED_INSTANCE_ID


def test_a_static_member_that_misses_a_rebalance_stays_until_its_session_ends(talk: Any) -> None:
    options = {"session": 100, "rebalance": 30}
    first = talk.join(instance="a", **options).member_id
    wait = talk.join(instance="b", **options)
    again = talk.join(first, instance="a", **options)
    second = talk.answer(wait).member_id
    talk.sync(second, 2, instance="b")
    talk.sync(first, 2, {first: b"1", second: b"2"}, instance="a")
    again = talk.join(first, instance="a", **options)
    talk.advance(30)
    assert [m.group_instance_id for m in talk.answer(again).members] == ["a", "b"]


def test_a_replacement_that_does_not_sync_is_left_behind(talk: Any) -> None:
    options = {"session": 100, "rebalance": 30}
    first = talk.join(instance="a", **options).member_id
    wait = talk.join(instance="b", **options)
    talk.join(first, instance="a", **options)
    second = talk.answer(wait).member_id
    talk.sync(first, 2, {first: b"1", second: b"2"}, instance="a")
    back = talk.join(instance="b", **options)
    assert (back.generation_id, talk.state()) == (2, "Stable")
    talk.advance(31)
    assert talk.heartbeat(first, 2, "a") == E.REBALANCE_IN_PROGRESS
    assert talk.heartbeat(back.member_id, 2, "b") == E.UNKNOWN_MEMBER_ID


def test_if_no_static_member_rejoins_the_group_waits_for_their_sessions(talk: Any) -> None:
    options = {"session": 100, "rebalance": 30}
    first = talk.join(instance="a", **options).member_id
    talk.sync(first, 1, {first: b"1"}, instance="a")
    newcomer = talk.join(version=0, **options)
    talk.leave(talk.shard.groups["g"].members and next(m for m in talk.shard.groups["g"].members if m != first))
    assert talk.answer(newcomer).error_code == E.UNKNOWN_MEMBER_ID
    talk.advance(40)
    assert talk.state() == "PreparingRebalance"
    talk.advance(60)
    assert talk.state() == "Empty"


def test_an_administrator_removes_a_static_member_by_its_instance_id(talk: Any, pair: tuple[str, str]) -> None:
    assert talk.leave("", "c") == E.UNKNOWN_MEMBER_ID
    assert talk.leave("", None) == E.UNKNOWN_MEMBER_ID
    assert talk.leave("", "b") == E.NONE
    assert talk.heartbeat(pair[0], 2, "a") == E.REBALANCE_IN_PROGRESS
    assert talk.heartbeat(pair[1], 2, "b") == E.UNKNOWN_MEMBER_ID
