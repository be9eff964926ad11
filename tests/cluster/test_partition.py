"""The leader's rules: high watermark, epochs, min.insync.replicas."""

from dataclasses import replace
from uuid import UUID

import pytest

from pykbroker.cluster.image import PartitionState
from pykbroker.cluster.partition import Partition
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

STATE = PartitionState(leader=1, leader_epoch=3, isr=(1,), replicas=(1,), partition_epoch=0, controller_epoch=1)


def partition(high_watermark: int = 0, log_end_offset: int = 0) -> Partition:
    return Partition(TopicPartition("t", 0), UUID(int=1), high_watermark, log_end_offset)


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


def test_with_others_in_the_isr_the_high_watermark_waits_for_them() -> None:
    followed = partition()
    followed.become_leader(replace(STATE, isr=(1, 2)))
    assert not followed.appended(5)
    assert followed.high_watermark == 0


@pytest.mark.parametrize("epoch", [2, 3])
def test_an_older_or_equal_leadership_decision_is_stale(epoch: int) -> None:
    led = partition()
    assert led.become_leader(STATE)
    assert not led.become_leader(replace(STATE, leader_epoch=epoch))
    assert led.leader_epoch == 3


@pytest.mark.parametrize(("epoch", "code"), [(2, ErrorCode.FENCED_LEADER_EPOCH), (4, ErrorCode.UNKNOWN_LEADER_EPOCH)])
def test_a_client_of_another_epoch_is_fenced(epoch: int, code: ErrorCode) -> None:
    led = partition()
    led.become_leader(STATE)
    with pytest.raises(KafkaError) as caught:
        led.check_leader_epoch(epoch)
    assert caught.value.code == code
    led.check_leader_epoch(3)
    led.check_leader_epoch(-1)


def test_min_insync_replicas() -> None:
    led = partition()
    led.become_leader(replace(STATE, replicas=(1, 2, 3)))
    led.check_min_insync(1)
    with pytest.raises(KafkaError) as caught:
        led.check_min_insync(2)
    assert caught.value.code == ErrorCode.NOT_ENOUGH_REPLICAS


def test_no_more_replicas_are_asked_for_than_there_are() -> None:
    led = partition()
    led.become_leader(STATE)
    led.check_min_insync(2)
