"""Other replicas for a partition: allowed or not, begun, cancelled, done."""

import pytest

from pykbroker.cluster.image import PartitionState
from pykbroker.controller.reassignment import begun, check_target, ended, is_caught_up, origin, target
from pykbroker.protocol.errors import ErrorCode, KafkaError

STATE = PartitionState(1, 4, (1, 2), (1, 2), 8, 2)


def code(state: PartitionState, wanted: tuple[int, ...], **options: bool) -> ErrorCode:
    try:
        check_target(state, wanted, (1, 2, 3), **options)
    except KafkaError as error:
        return error.code
    return ErrorCode.NONE


def test_what_is_refused() -> None:
    for wrong in ((), (1, 1), (-1, 1), (1, 9)):
        assert code(STATE, wrong) is ErrorCode.INVALID_REPLICA_ASSIGNMENT, wrong
    assert code(STATE, (3, 1)) is ErrorCode.NONE
    assert code(PartitionState(1, 4, (1,), (1, 9), 8, 2), (9, 1)) is ErrorCode.NONE, "one that is assigned may be dead"
    assert code(STATE, (3,), allow_factor_change=False) is ErrorCode.INVALID_REPLICATION_FACTOR
    assert code(STATE, (3, 2), allow_factor_change=False) is ErrorCode.NONE


def test_old_and_new_replicas_are_assigned_until_the_new_ones_are_in_sync() -> None:
    state = begun(STATE, (3, 1), 5)
    assert (state.replicas, state.adding, state.removing) == ((3, 1, 2), (3,), (2,))
    assert (state.leader, state.leader_epoch, state.isr, state.controller_epoch) == (1, 5, (1, 2), 5)
    assert (origin(state), target(state)) == ((1, 2), (3, 1))
    assert not is_caught_up(state)
    done = PartitionState(1, 5, (1, 2, 3), (3, 1, 2), 9, 5, (3,), (2,))
    assert is_caught_up(done)
    assert (ended(done).replicas, ended(done).adding, ended(done).removing) == ((3, 1), (), ())


def test_a_cancelled_one_goes_back_to_where_it_came_from() -> None:
    under_way = begun(STATE, (3, 1), 5)
    back = begun(under_way, origin(under_way), 5)
    assert (back.replicas, back.adding, back.removing) == ((1, 2), (), ())
    assert is_caught_up(back)


def test_another_target_replaces_the_first() -> None:
    under_way = begun(STATE, (3, 1), 5)
    other = begun(under_way, (4, 1), 5)
    assert (other.replicas, other.adding, other.removing) == ((4, 1, 2), (4,), (2,))


@pytest.mark.parametrize("wanted", [(2, 1), (1,)])
def test_fewer_replicas_or_another_order_is_done_at_once(wanted: tuple[int, ...]) -> None:
    assert is_caught_up(begun(STATE, wanted, 5))
