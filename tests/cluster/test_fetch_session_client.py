"""What a follower's next request names: a conversation with a leader."""

from uuid import UUID

from pykbroker.cluster.fetch_session_client import Asked, FetchSessionClient
from pykbroker.protocol.errors import ErrorCode

A, B = (UUID(int=1), 0), (UUID(int=1), 1)
AT_0, AT_5 = Asked(0, 0, 1, -1), Asked(5, 0, 1, 1)


def test_all_at_first_then_what_changed() -> None:
    session = FetchSessionClient()
    first = session.next_request({A: AT_0, B: AT_0})
    assert (first.session_id, first.session_epoch, set(first.named)) == (0, 0, {A, B})
    assert session.answered(ErrorCode.NONE, 77)
    second = session.next_request({A: AT_5, B: AT_0})
    assert (second.session_id, second.session_epoch) == (77, 1)
    assert (second.named, second.forgotten) == ({A: AT_5}, ())
    assert session.answered(ErrorCode.NONE, 77)
    third = session.next_request({B: AT_0})
    assert (third.session_epoch, third.named, third.forgotten) == (2, {}, (A,))


def test_a_leader_without_sessions_is_asked_for_all_each_time() -> None:
    session = FetchSessionClient()
    for _ in range(2):
        asked = session.next_request({A: AT_0})
        assert (asked.session_id, asked.session_epoch, asked.named) == (0, 0, {A: AT_0})
        assert session.answered(ErrorCode.NONE, 0)


def test_after_an_error_or_a_lost_answer_it_begins_anew_and_closes_what_was() -> None:
    session = FetchSessionClient()
    session.next_request({A: AT_0})
    session.answered(ErrorCode.NONE, 77)
    session.next_request({A: AT_0})
    session.lost()
    again = session.next_request({A: AT_0})
    assert (again.session_id, again.session_epoch, again.named) == (77, 0, {A: AT_0})
    assert session.answered(ErrorCode.NONE, 78)
    session.next_request({A: AT_0})
    assert not session.answered(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0)
    unknown = session.next_request({A: AT_0})
    assert (unknown.session_id, unknown.session_epoch) == (0, 0)
