"""Who is in the ISR, what is committed, which epochs are stale: a leader's conversation with its followers."""

from uuid import UUID

import pytest

from pykbroker.cluster.image import PartitionState
from pykbroker.cluster.partition import ALLOWED, COMMITTED, EXPANDING, SHRINKING, Partition, Proposal
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

STATE = PartitionState(leader=1, leader_epoch=3, isr=(1,), replicas=(1,), partition_epoch=0, controller_epoch=1)
FOLLOWED = STATE._replace(isr=(1, 2, 3), replicas=(1, 2, 3))


def partition(high_watermark: int = 0, log_end_offset: int = 0, min_insync_replicas: int = 1) -> Partition:
    tp = TopicPartition("t", 0)
    return Partition(tp, UUID(int=1), 1, high_watermark, log_end_offset, min_insync_replicas=min_insync_replicas)


def led(isr: tuple[int, ...] = (1, 2, 3), end: int = 10, **values: int) -> Partition:
    made = partition(log_end_offset=end, **values)
    assert made.become_leader(FOLLOWED._replace(isr=isr))
    return made


def fetch(one: Partition, broker: int, offset: int, now: float = 0.0) -> bool:
    return one.follower_fetched(broker, offset, 0, one.log_end_offset, now)[0]


def proposed(proposal: Proposal | None) -> tuple[int, ...]:
    assert proposal is not None
    return proposal.state.isr


# ---- alone -------------------------------------------------------------------------------------------------------


def test_alone_in_the_isr_everything_appended_is_committed() -> None:
    alone = partition(high_watermark=4, log_end_offset=10)
    assert alone.high_watermark == 4
    assert alone.become_leader(STATE)
    assert alone.high_watermark == 10
    assert alone.appended(12)
    assert not alone.appended(12)
    assert alone.high_watermark == 12


def test_a_checkpoint_beyond_the_log_is_cut_to_its_end() -> None:
    assert partition(high_watermark=10, log_end_offset=4).high_watermark == 4


@pytest.mark.parametrize("epoch", [2, 3])
def test_an_older_or_equal_leadership_decision_is_stale(epoch: int) -> None:
    alone = partition()
    assert alone.become_leader(STATE)
    assert not alone.become_leader(STATE._replace(leader_epoch=epoch))
    assert not alone.become_follower(STATE._replace(leader_epoch=epoch, leader=2))
    assert alone.leader_epoch == 3
    assert alone.is_leader


@pytest.mark.parametrize(("epoch", "code"), [(2, ErrorCode.FENCED_LEADER_EPOCH), (4, ErrorCode.UNKNOWN_LEADER_EPOCH)])
def test_a_client_of_another_epoch_is_fenced(epoch: int, code: ErrorCode) -> None:
    alone = partition()
    alone.become_leader(STATE)
    with pytest.raises(KafkaError) as caught:
        alone.check_leader_epoch(epoch)
    assert caught.value.code == code
    alone.check_leader_epoch(3)
    alone.check_leader_epoch(-1)


# ---- the high watermark ------------------------------------------------------------------------------------------


def test_the_high_watermark_is_what_all_members_have() -> None:
    one = led()
    assert one.high_watermark == 0
    assert not fetch(one, 2, 8)
    assert fetch(one, 3, 6)
    assert one.high_watermark == 6
    assert not one.appended(20)
    assert fetch(one, 3, 20)
    assert one.high_watermark == 8


def test_who_is_about_to_join_is_waited_for() -> None:
    one = led(isr=(1, 2))
    fetch(one, 3, 10)
    one.appended(20)
    fetch(one, 2, 20)
    assert one.high_watermark == 10
    assert one.appended(21, now=31.0) is True
    assert one.high_watermark == 20


def test_a_follower_that_goes_back_doesnt_take_the_high_watermark_back() -> None:
    one = led(isr=(1, 2))
    fetch(one, 2, 10)
    fetch(one, 2, 4)
    assert one.high_watermark == 10


def test_the_high_watermark_stands_still_below_min_insync_replicas() -> None:
    one = led(isr=(1,), min_insync_replicas=2)
    one.appended(20)
    assert one.high_watermark == 0
    one.min_insync_replicas = 1
    one.appended(20)
    assert one.high_watermark == 20


def test_a_new_leader_doesnt_know_its_followers_but_one_elected_again_does() -> None:
    one = led(isr=(1, 2))
    fetch(one, 2, 10)
    one.become_leader(FOLLOWED._replace(isr=(1, 2), leader_epoch=4))
    assert one.leading_since == 3
    assert one.followers[2].log_end_offset == 10
    one.become_follower(FOLLOWED._replace(leader=2, leader_epoch=5))
    assert (one.is_leader, one.followers) == (False, {})
    one.become_leader(FOLLOWED._replace(leader_epoch=6))
    assert one.leading_since == 6
    assert one.followers[2].log_end_offset == -1


def test_an_epoch_that_was_missed_may_have_been_another_leaders() -> None:
    one = led(isr=(1, 2))
    fetch(one, 2, 10)
    one.become_leader(FOLLOWED._replace(isr=(1, 2), leader_epoch=5))
    assert one.leading_since == 5
    assert one.followers[2].log_end_offset == -1


# ---- as follower -------------------------------------------------------------------------------------------------


def test_a_follower_believes_its_leader_as_far_as_its_own_log_goes() -> None:
    one = partition(high_watermark=3, log_end_offset=5)
    assert one.become_follower(FOLLOWED._replace(leader=2))
    assert one.replicated(8, 20)
    assert one.high_watermark == 8
    assert not one.replicated(9, 7)
    assert one.high_watermark == 8


def test_a_cut_below_the_high_watermark_takes_it_along() -> None:
    one = partition(high_watermark=5, log_end_offset=8)
    one.become_follower(FOLLOWED._replace(leader=2))
    assert not one.truncated(6)
    assert one.truncated(4)
    assert one.high_watermark == 4
    one.restarted(100)
    assert (one.high_watermark, one.log_end_offset) == (100, 100)


# ---- the ISR -----------------------------------------------------------------------------------------------------


def test_the_transitions_are_those_of_the_table() -> None:
    assert (COMMITTED, EXPANDING) in ALLOWED
    assert (EXPANDING, SHRINKING) not in ALLOWED


def test_a_follower_comes_back_once_it_has_the_high_watermark_and_the_epochs_start() -> None:
    one = led(isr=(1, 2))
    assert fetch(one, 2, 5)
    fetch(one, 3, 7)
    assert one.propose_expansion(3) is None  # The leader's epoch began at 10: below may lie what is committed.
    fetch(one, 3, 10)
    proposal = one.propose_expansion(3)
    assert proposed(proposal) == (1, 2, 3)
    assert one.propose_expansion(3) is None
    assert one.isr == (1, 2)
    assert one.maximal_isr == (1, 2, 3)


def test_whoever_may_be_a_member_is_waited_for() -> None:
    one = led(isr=(1,), end=0)
    fetch(one, 2, 0)
    proposal = one.propose_expansion(2)
    assert proposal is not None
    one.appended(5, now=100.0)
    assert one.high_watermark == 0
    assert not one.stored(proposal, 1, now=100.0)
    assert (one.isr, one.state.partition_epoch, one.isr_state) == ((1, 2), 1, COMMITTED)
    assert fetch(one, 2, 5, now=100.0)


def test_a_refused_expansion_is_as_if_it_had_never_been() -> None:
    one = led(isr=(1,), end=0)
    fetch(one, 2, 0)
    proposal = one.propose_expansion(2)
    assert proposal is not None
    one.appended(5, now=100.0)
    assert one.refused(proposal, now=100.0)
    assert (one.isr, one.high_watermark) == ((1,), 5)


def test_a_member_that_lags_goes_and_is_waited_for_until_that_is_stored() -> None:
    one = led()
    fetch(one, 2, 10, now=29.0)
    assert one.propose_shrinking(30.0) is None
    proposal = one.propose_shrinking(30.1)
    assert proposal is not None
    assert proposal.state == one.state._replace(isr=(1, 2))
    assert one.maximal_isr == (1, 2, 3)
    assert one.propose_shrinking(30.2) is None
    assert one.high_watermark == 0
    assert one.stored(proposal, 1, now=30.2)
    assert one.high_watermark == 10


def test_whoever_has_everything_never_lags() -> None:
    one = led(isr=(1, 2))
    fetch(one, 2, 10)
    assert one.propose_shrinking(1000.0) is None


def test_a_follower_proposes_nothing() -> None:
    one = led()
    one.become_follower(FOLLOWED._replace(leader=2, leader_epoch=4))
    assert one.propose_shrinking(1000.0) is None
    assert one.propose_expansion(2) is None


def test_an_answer_from_before_a_newer_epoch_changes_nothing() -> None:
    one = led()
    proposal = one.propose_shrinking(100.0)
    assert proposal is not None
    one.become_leader(FOLLOWED._replace(leader_epoch=4, isr=(1, 2), partition_epoch=7), 100.0)
    assert not one.stored(proposal, 6, now=100.0)
    assert not one.refused(proposal, now=100.0)
    assert (one.isr, one.state.partition_epoch) == ((1, 2), 7)


# ---- acks=all ----------------------------------------------------------------------------------------------------


def test_min_insync_replicas() -> None:
    one = led(isr=(1,))
    one.check_min_insync()
    one.min_insync_replicas = 2
    with pytest.raises(KafkaError) as before:
        one.check_min_insync()
    assert before.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
    with pytest.raises(KafkaError) as after:
        one.check_min_insync_after_append()
    assert after.value.code is ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND


def test_no_more_replicas_are_asked_for_than_there_are() -> None:
    alone = partition(min_insync_replicas=2)
    alone.become_leader(STATE)
    alone.check_min_insync()
    alone.check_min_insync_after_append()


# ---- others ------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_no_replica_may_know_more_than_this_leader() -> None:
    one = led()
    one.check_follower(2, 3)
    for epoch, code in ((3, ErrorCode.UNKNOWN_LEADER_EPOCH), (-1, ErrorCode.NOT_LEADER_OR_FOLLOWER)):
        with pytest.raises(KafkaError) as caught:
            one.check_follower(9, epoch)
        assert caught.value.code is code


def test_the_low_watermark_is_what_every_live_replica_has_given_up() -> None:
    one = led()
    assert one.low_watermark(4, live={1, 2, 3}) == -1
    one.follower_fetched(2, 10, 2, 10, 0.0)
    assert one.low_watermark(4, live={1, 2}) == 2
    assert one.low_watermark(4, live={1}) == 4
