"""The classic group protocol as conversations: who asks what in which state, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.coordinator.result import NEVER, Parked
from pykbroker.protocol.errors import ErrorCode as E

# Joining


def test_a_first_member_leads_a_generation_of_its_own(talk: Any) -> None:
    member_id = talk.known()
    assert member_id == "client-1"
    joined = talk.join(member_id)
    assert (joined.error_code, joined.generation_id, joined.leader) == (E.NONE, 1, member_id)
    assert (joined.protocol_type, joined.protocol_name) == ("consumer", "range")
    assert [(m.member_id, m.metadata) for m in joined.members] == [(member_id, b"about me")]
    assert talk.state() == "CompletingRebalance"
    assert talk.sync(member_id, 1, {member_id: b"all"}).assignment == b"all"
    assert talk.state() == "Stable"
    assert talk.heartbeat(member_id, 1) == E.NONE


@pytest.mark.parametrize("version", [0, 3])
def test_before_version_4_a_member_joins_without_an_id(talk: Any, version: int) -> None:
    joined = talk.join(version=version)
    assert (joined.error_code, joined.generation_id, joined.member_id) == (E.NONE, 1, "client-1")


def test_a_static_member_joins_without_an_id_in_every_version(talk: Any) -> None:
    joined = talk.join(instance="host-a", version=9)
    assert (joined.error_code, joined.member_id) == (E.NONE, "host-a-1")
    assert joined.members[0].group_instance_id == "host-a"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"group": ""}, E.INVALID_GROUP_ID),
        ({"session": 5.999}, E.INVALID_SESSION_TIMEOUT),
        ({"session": 1800.001}, E.INVALID_SESSION_TIMEOUT),
        ({"member_id": "nobody"}, E.UNKNOWN_MEMBER_ID),
        ({"protocol_type": ""}, E.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_a_join_that_no_group_takes(talk: Any, options: dict[str, Any], code: E) -> None:
    refused = talk.join(**options)
    assert (refused.error_code, refused.generation_id, refused.protocol_name) == (code, -1, None)
    assert talk.shard.groups == {}


@pytest.mark.parametrize("options", [{"protocols": {"sticky": b""}}, {"protocol_type": "connect"}])
def test_a_join_that_this_group_does_not_take(talk: Any, options: dict[str, Any]) -> None:
    talk.stable(b"")
    assert talk.join(version=0, **options).error_code == E.INCONSISTENT_GROUP_PROTOCOL
    assert talk.state() == "Stable"


def test_the_protocol_is_voted_for_among_those_that_all_know(talk: Any) -> None:
    first = talk.join(version=0, protocols={"range": b"", "sticky": b"", "mine": b""}).member_id
    second = talk.join(version=0, protocols={"sticky": b"2", "range": b""})
    third = talk.join(version=0, protocols={"sticky": b"3", "range": b""})
    joined = talk.join(first, protocols={"mine": b"", "range": b"", "sticky": b"1"})
    assert joined.protocol_name == "sticky"
    assert [m.metadata for m in joined.members] == [b"1", b"2", b"3"]
    assert {talk.answer(second).leader, talk.answer(third).leader} == {first}
    assert talk.answer(second).members == []


def test_the_barrier_waits_for_ids_that_are_given_out(talk: Any) -> None:
    _, (first,) = talk.stable(b"")
    pending = talk.known(session=7)
    again = talk.join(first)
    assert talk.state() == "PreparingRebalance"
    assert again in talk.open
    assert talk.heartbeat(first, 1) == E.REBALANCE_IN_PROGRESS
    joined = talk.join(pending)
    assert (joined.generation_id, talk.answer(again).generation_id) == (2, 2)


def test_an_id_given_out_and_not_used_is_forgotten(talk: Any) -> None:
    _, (first,) = talk.stable(b"")
    pending = talk.known(session=7)
    again = talk.join(first)
    talk.advance(7)
    assert talk.answer(again).generation_id == 2
    assert talk.join(pending).error_code == E.UNKNOWN_MEMBER_ID


def test_of_a_group_that_nobody_joined_nothing_is_left(talk: Any) -> None:
    talk.known(session=7)
    assert talk.state() == "Empty"
    talk.advance(7)
    assert (talk.state(), talk.records, talk.shard.deadline) == ("", [], NEVER)


def test_group_max_size(new_conversation: Any) -> None:
    talk = new_conversation(group_max_size=2)
    generation, ids = talk.stable(b"", b"")
    refused = talk.join()
    assert (refused.error_code, refused.member_id) == (E.GROUP_MAX_SIZE_REACHED, "")
    assert talk.heartbeat(ids[1], generation) == E.NONE


def test_a_full_group_has_no_room_for_a_static_member_that_comes_back(new_conversation: Any) -> None:
    """As Apache Kafka has it: until the session of the one before is over."""
    talk = new_conversation(group_max_size=1)
    joined = talk.answer(talk.join(instance="i"))
    assert talk.answer(talk.sync(joined.member_id, 1, {joined.member_id: b""}, instance="i")).error_code == E.NONE
    refused = talk.join(instance="i")
    assert (refused.error_code, refused.member_id) == (E.GROUP_MAX_SIZE_REACHED, "")
    assert talk.heartbeat(joined.member_id, 1, "i") == E.NONE
    talk.advance(11)
    assert talk.answer(talk.join(instance="i")).error_code == E.NONE


def test_a_group_that_is_too_large_leaves_the_last_ones_out(new_conversation: Any) -> None:
    _, ids = (before := new_conversation()).stable(b"", b"", b"")
    talk = new_conversation(group_max_size=2)
    talk.records = before.records
    talk.shard = talk.restarted()
    talk.take(talk.shard.loaded(talk.now))
    assert talk.state() == "PreparingRebalance"
    waits = [talk.join(ids[0]), talk.join(ids[2])]
    assert talk.join(ids[1]).error_code == E.GROUP_MAX_SIZE_REACHED
    assert [talk.answer(wait).generation_id for wait in waits] == [3, 3]


# Joining again


def test_a_follower_without_news_is_told_the_generation_that_is(talk: Any) -> None:
    generation, (leader, follower) = talk.stable(b"1", b"2")
    again = talk.join(follower)
    assert (again.generation_id, again.leader, again.members) == (generation, leader, [])
    assert talk.state() == "Stable"
    assert talk.sync(follower, generation).assignment == b"2"


@pytest.mark.parametrize(("who", "protocols"), [(0, None), (1, {"range": b"other topics"})])
def test_the_leader_or_news_make_a_stable_group_rebalance(talk: Any, who: int, protocols: Any) -> None:
    generation, ids = talk.stable(b"1", b"2")
    assert isinstance(talk.join(ids[who], protocols=protocols), Parked)
    assert talk.heartbeat(ids[1 - who], generation) == E.REBALANCE_IN_PROGRESS
    assert talk.join(ids[1 - who]).generation_id == generation + 1


def test_a_member_that_rejoins_after_a_load_makes_the_group_rebalance(talk: Any) -> None:
    generation, (leader, follower) = talk.stable(b"1", b"2")
    talk.shard = talk.restarted()
    talk.take(talk.shard.loaded(talk.now))
    assert talk.heartbeat(leader, generation) == talk.heartbeat(follower, generation) == E.NONE
    assert isinstance(talk.join(follower), Parked)
    assert talk.heartbeat(leader, generation) == E.REBALANCE_IN_PROGRESS


def test_while_the_leader_assigns_an_unchanged_member_gets_the_same_answer_again(talk: Any) -> None:
    member_id = talk.known()
    first = talk.join(member_id)
    assert talk.join(member_id) == first
    assert talk.state() == "CompletingRebalance"


def test_a_join_that_overtakes_its_predecessor_answers_it(talk: Any) -> None:
    _, ids = talk.stable(b"1", b"2")
    first = talk.join(ids[0])
    second = talk.join(ids[0])
    assert talk.answer(first).error_code == E.REBALANCE_IN_PROGRESS
    assert second in talk.open


def test_who_does_not_rejoin_in_time_is_left_behind(talk: Any) -> None:
    generation, (leader, follower) = talk.stable(b"1", b"2", session=100, rebalance=30)
    again = talk.join(leader, session=100, rebalance=30)
    talk.advance(29.9)
    assert again in talk.open
    talk.advance(0.1)
    assert [m.member_id for m in talk.answer(again).members] == [leader]
    assert talk.heartbeat(follower, generation) == E.UNKNOWN_MEMBER_ID


def test_if_the_leader_does_not_rejoin_the_first_that_did_leads(talk: Any) -> None:
    _, (leader, second, third) = talk.stable(b"", b"", b"", session=100, rebalance=30)
    news = {"range": b"news"}
    waits = [talk.join(m, session=100, rebalance=30, protocols=news) for m in (third, second)]
    talk.advance(30)
    assert {talk.answer(wait).leader for wait in waits} == {second}
    assert talk.join(leader).error_code == E.UNKNOWN_MEMBER_ID


def test_the_initial_delay_goes_on_while_members_come(new_conversation: Any) -> None:
    talk = new_conversation(group_initial_rebalance_delay_ms=3000)
    first = talk.join(version=0, rebalance=8)
    talk.advance(2)
    second = talk.join(version=0, rebalance=8)
    talk.advance(3.9)
    third = talk.join(version=0, rebalance=8)
    assert {first, second, third} <= talk.open
    talk.advance(2.0)
    assert third in talk.open
    talk.advance(0.2)
    assert [talk.answer(wait).generation_id for wait in (first, second, third)] == [1, 1, 1]


def test_without_newcomers_the_initial_delay_is_one(new_conversation: Any) -> None:
    talk = new_conversation(group_initial_rebalance_delay_ms=3000)
    first = talk.join(version=0)
    talk.advance(3)
    assert talk.answer(first).generation_id == 1


# SyncGroup


def test_the_assignment_is_written_before_it_is_answered(talk: Any) -> None:
    talk.stable(b"1", b"2")
    (_, follower) = talk.shard.groups["g"].members
    stored = talk.restarted().groups["g"]
    assert [m.assignment for m in stored.members.values()] == [b"1", b"2"]
    assert stored.members[follower].metadata("range") == b"about me"


def test_a_member_that_the_leader_forgot_has_an_empty_assignment(talk: Any) -> None:
    leader = talk.join(version=0).member_id
    wait = talk.join(version=0)
    talk.join(leader)
    follower = talk.answer(wait).member_id
    parked = talk.sync(follower, 2)
    assert talk.sync(leader, 2, {leader: b"all"}).assignment == b"all"
    assert (talk.answer(parked).error_code, talk.answer(parked).assignment) == (E.NONE, b"")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"generation": 1}, E.ILLEGAL_GENERATION),
        ({"member_id": "nobody"}, E.UNKNOWN_MEMBER_ID),
        ({"instance": "unknown"}, E.UNKNOWN_MEMBER_ID),
        ({"group": "h"}, E.UNKNOWN_MEMBER_ID),
        ({"group": ""}, E.INVALID_GROUP_ID),
        ({"protocol_type": "connect"}, E.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_name": "sticky"}, E.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_type": "consumer", "protocol_name": "range"}, E.NONE),
    ],
)
def test_who_may_sync(talk: Any, change: dict[str, Any], code: E) -> None:
    generation, ids = talk.stable(b"1", b"2")
    asked = {"member_id": ids[1], "generation": generation, **change}
    assert talk.sync(**asked).error_code == code


def test_a_rebalance_ends_the_wait_for_the_leader(talk: Any) -> None:
    leader = talk.join(version=0).member_id
    wait = talk.join(version=0)
    talk.join(leader)
    parked = talk.sync(talk.answer(wait).member_id, 2)
    talk.join(version=0)
    assert talk.answer(parked).error_code == E.REBALANCE_IN_PROGRESS
    assert talk.sync(leader, 2).error_code == E.REBALANCE_IN_PROGRESS


def test_members_that_never_sync_are_removed_after_the_rebalance_timeout(talk: Any) -> None:
    options = {"session": 1000, "rebalance": 30}
    leader = talk.join(version=0, **options).member_id
    wait = talk.join(version=0, **options)
    talk.join(leader, **options)
    silent = talk.answer(wait).member_id
    talk.sync(leader, 2, {leader: b"1", silent: b"2"})
    talk.advance(29)
    assert talk.heartbeat(silent, 2) == E.NONE
    talk.advance(1)
    assert talk.heartbeat(silent, 2) == E.UNKNOWN_MEMBER_ID
    assert talk.heartbeat(leader, 2) == E.REBALANCE_IN_PROGRESS
    assert talk.join(leader, **options).generation_id == 3


def test_a_leader_that_never_syncs_is_removed_and_another_leads(talk: Any) -> None:
    options = {"session": 1000, "rebalance": 30}
    leader = talk.join(version=0, **options).member_id
    wait = talk.join(version=0, **options)
    talk.join(leader, **options)
    follower = talk.answer(wait).member_id
    parked = talk.sync(follower, 2)
    talk.advance(30)
    assert talk.answer(parked).error_code == E.REBALANCE_IN_PROGRESS
    assert talk.join(follower, **options).leader == follower


# Sessions


def test_a_session_ends_without_heartbeats_and_the_group_rebalances(talk: Any) -> None:
    generation, (first, second) = talk.stable(b"1", b"2")
    talk.advance(9)
    assert talk.heartbeat(first, generation) == E.NONE
    talk.advance(1)
    assert talk.heartbeat(second, generation) == E.UNKNOWN_MEMBER_ID
    assert talk.heartbeat(first, generation) == E.REBALANCE_IN_PROGRESS
    assert talk.join(first).generation_id == generation + 1


def test_when_the_last_session_ends_the_empty_group_is_written(talk: Any) -> None:
    generation, _ = talk.stable(b"1")
    talk.advance(10)
    assert talk.state() == "Empty"
    group = talk.restarted().groups["g"]
    assert (group.state.value, group.generation, group.members) == ("Empty", generation + 1, {})
    assert (group.protocol_type, group.protocol, group.leader) == ("consumer", None, None)


def test_who_waits_is_alive(talk: Any) -> None:
    _, (leader, follower) = talk.stable(b"1", b"2", rebalance=300)
    parked = talk.join(leader, rebalance=300)
    for _ in range(20):
        talk.advance(9)
        assert talk.heartbeat(follower, 2) == E.REBALANCE_IN_PROGRESS
    assert parked in talk.open


def test_a_newcomer_waits_five_minutes_at_most(talk: Any) -> None:
    _, (first,) = talk.stable(b"1", rebalance=1000)
    newcomer = talk.join(version=0, rebalance=1000)
    for _ in range(33):
        talk.advance(9)
        talk.heartbeat(first, 1)
    assert newcomer in talk.open
    talk.advance(3)
    assert talk.answer(newcomer).error_code == E.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize(
    ("member_id", "generation", "instance", "code"),
    [
        ("client-1", 2, None, E.ILLEGAL_GENERATION),
        ("client-1", 0, None, E.ILLEGAL_GENERATION),
        ("client-9", 1, None, E.UNKNOWN_MEMBER_ID),
        ("client-1", 1, "host-a", E.UNKNOWN_MEMBER_ID),
        ("client-1", 1, None, E.NONE),
    ],
)
def test_heartbeats(talk: Any, member_id: str, generation: int, instance: str | None, code: E) -> None:
    talk.stable(b"")
    assert talk.heartbeat(member_id, generation, instance) == code


# Leaving


def test_leaving(talk: Any) -> None:
    generation, (first, second) = talk.stable(b"1", b"2")
    assert talk.leave("nobody") == E.UNKNOWN_MEMBER_ID
    assert talk.leave(first, "host-a") == E.UNKNOWN_MEMBER_ID
    assert talk.leave(first) == E.NONE
    assert talk.heartbeat(second, generation) == E.REBALANCE_IN_PROGRESS
    assert talk.join(second).leader == second
    assert talk.leave(second) == E.NONE
    assert talk.state() == "Empty"
    assert talk.leave(second, group="h") == E.UNKNOWN_MEMBER_ID


def test_who_leaves_while_it_waits_is_answered(talk: Any) -> None:
    _, ids = talk.stable(b"1", b"2")
    parked = talk.join(ids[0])
    assert talk.leave(ids[0]) == E.NONE
    assert talk.answer(parked).error_code == E.UNKNOWN_MEMBER_ID


def test_an_id_given_out_can_leave(talk: Any) -> None:
    _, (first,) = talk.stable(b"")
    pending = talk.known()
    again = talk.join(first)
    assert talk.leave(pending) == E.NONE
    assert talk.answer(again).generation_id == 2


# Waiting requests that nobody waits for


def test_a_newcomer_whose_connection_is_gone_does_not_hold_the_others_up(talk: Any) -> None:
    _, (first,) = talk.stable(b"1")
    newcomer = talk.join(version=0)
    again = talk.join(first)
    assert talk.answer(again).generation_id == 2
    assert talk.answer(newcomer).generation_id == 2
    third = talk.join(version=0)
    waits = talk.join(first)
    talk.open.remove(third)
    talk.take(talk.shard.abandon(third, talk.now))
    second = talk.answer(newcomer).member_id
    assert talk.join(second).generation_id == 3
    assert [m.member_id for m in talk.answer(waits).members] == [first, second]


def test_a_known_member_whose_connection_is_gone_may_come_back(talk: Any) -> None:
    _, (first, second) = talk.stable(b"1", b"2")
    gone = talk.join(first)
    talk.open.remove(gone)
    talk.take(talk.shard.abandon(gone, talk.now))
    waits = talk.join(second)
    assert waits in talk.open
    assert talk.join(first).generation_id == 3


def test_a_static_newcomer_whose_connection_is_gone_stays(talk: Any) -> None:
    _, (first,) = talk.stable(b"1")
    gone = talk.join(instance="i")
    talk.open.remove(gone)
    talk.take(talk.shard.abandon(gone, talk.now))
    waits = talk.join(first)
    assert waits in talk.open
    back = talk.answer(talk.join(instance="i"))
    assert (back.generation_id, len(talk.answer(waits).members)) == (2, 2)


def test_unloading_answers_all_that_wait(talk: Any) -> None:
    leader = talk.join(version=0).member_id
    wait = talk.join(version=0)
    talk.join(leader)
    syncs = talk.sync(talk.answer(wait).member_id, 2)
    other = talk.join(version=0, group="h").member_id
    joins = talk.join(version=0, group="h")
    talk.take(talk.shard.unload(E.NOT_COORDINATOR))
    assert talk.open == set()
    assert [talk.answer(parked).error_code for parked in (syncs, joins)] == [E.NOT_COORDINATOR] * 2
    assert talk.answer(joins).member_id != other
