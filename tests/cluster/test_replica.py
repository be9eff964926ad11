"""When a follower counts as caught up."""

from pykbroker.cluster.replica import RemoteReplica

LAG = 30.0


def follower(now: float = 0.0, leader_end: int = 10, *, in_sync: bool = True) -> RemoteReplica:
    made = RemoteReplica(2)
    made.reset(now, leader_end, in_sync=in_sync, new_leader=True)
    return made


def test_a_member_has_its_time_before_its_first_fetch_and_another_one_has_none() -> None:
    assert follower().is_caught_up(10, 30.0, LAG)
    assert not follower().is_caught_up(10, 30.1, LAG)
    assert not follower(in_sync=False).is_caught_up(10, 0.0, LAG)


def test_having_everything_counts_however_long_ago_the_fetch_was() -> None:
    one = follower()
    one.fetched(10, 0, 10, 1.0)
    assert one.is_caught_up(10, 1000.0, LAG)
    assert not one.is_caught_up(11, 1000.0, LAG)


def test_under_steady_load_reaching_the_end_of_the_fetch_before_is_enough() -> None:
    one = follower()
    one.fetched(10, 0, 20, 10.0)
    one.fetched(20, 0, 30, 20.0)
    assert one.last_caught_up == 10.0
    one.fetched(25, 0, 40, 30.0)
    assert one.last_caught_up == 10.0
    assert not one.is_caught_up(40, 40.1, LAG)


def test_a_leader_elected_again_knows_how_far_its_followers_are() -> None:
    one = follower()
    one.fetched(10, 3, 10, 1.0)
    one.reset(5.0, 12, in_sync=False, new_leader=False)
    assert (one.log_end_offset, one.log_start_offset) == (10, 3)
    assert not one.is_caught_up(12, 5.0, LAG)
    one.reset(6.0, 12, in_sync=True, new_leader=True)
    assert (one.log_end_offset, one.log_start_offset) == (-1, -1)
