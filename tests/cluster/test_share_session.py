"""Share sessions as conversations (KIP-932), and against a plain dict at random."""

from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pykbroker.cluster.share_session import SessionKey, ShareContext, SharePartitionId, ShareSessions
from pykbroker.protocol.errors import ErrorCode, KafkaError

TOPIC = UUID(int=7)
KEY = SessionKey("g", "m")
FINAL = -1


class Conversation:
    """A member and its sessions."""

    def __init__(self, limit: int = 10) -> None:
        self.sessions = ShareSessions(limit)

    def fetch(
        self,
        epoch: int,
        *partitions: int,
        forget: tuple[int, ...] = (),
        answers: bool = False,
        connection: int = 1,
        key: SessionKey = KEY,
        topic: str | None = "t",
    ) -> ShareContext:
        asked = [((TOPIC, index), topic) for index in partitions]
        gone: list[SharePartitionId] = [(TOPIC, index) for index in forget]
        return self.sessions.context(key, epoch, asked, gone, answers=answers, connection_id=connection)

    def refused(self, epoch: int, *, answers: bool = False, key: SessionKey = KEY) -> ErrorCode:
        with pytest.raises(KafkaError) as error:
            self.fetch(epoch, answers=answers, key=key)
        return error.value.code


def named(context: ShareContext) -> list[int]:
    return [partition.id[1] for partition in context.rotated]


def answered(context: ShareContext, *, size: int = 0, error_code: int = 0) -> list[int]:
    return [one.id[1] for one in context.rotated if context.must_answer(one, size, error_code)]


def test_the_first_answer_names_all() -> None:
    context = Conversation().fetch(0, 0, 1)
    assert named(context) == [0, 1]
    assert answered(context) == [0, 1]


def test_later_answers_name_what_is_news() -> None:
    client = Conversation()
    answered(client.fetch(0, 0, 1))
    assert answered(client.fetch(1)) == []
    assert answered(client.fetch(2, 2)) == [2]
    assert sorted(answered(client.fetch(3), size=10)) == [0, 1, 2]
    assert sorted(answered(client.fetch(4, forget=(0, 1)), error_code=3)) == [2]
    assert answered(client.fetch(5)) == [2]
    assert answered(client.fetch(6)) == []


def test_each_request_begins_with_another_partition() -> None:
    client = Conversation()
    assert named(client.fetch(0, 0, 1, 2)) == [0, 1, 2]
    assert named(client.fetch(1)) == [1, 2, 0]
    assert named(client.fetch(2)) == [2, 0, 1]
    assert named(client.fetch(3)) == [0, 1, 2]


def test_what_gave_records_is_served_last() -> None:
    client = Conversation()
    answered(client.fetch(0, 0, 1, 2))
    context = client.fetch(1)
    context.must_answer(next(iter(context)), 10, 0)
    assert [one.id[1] for one in client.fetch(2)] == [1, 2, 0]


def test_a_name_that_becomes_known_stays() -> None:
    client = Conversation()
    assert [one.topic for one in client.fetch(0, 0, topic=None)] == [None]
    assert [one.topic for one in client.fetch(1, 0)] == ["t"]
    assert [one.topic for one in client.fetch(2, 0, topic=None)] == ["t"]


def test_an_epoch_has_to_fit() -> None:
    client = Conversation()
    assert client.refused(1) is ErrorCode.SHARE_SESSION_NOT_FOUND
    assert client.refused(FINAL) is ErrorCode.SHARE_SESSION_NOT_FOUND
    client.fetch(0, 0)
    assert client.refused(2) is ErrorCode.INVALID_SHARE_SESSION_EPOCH
    client.fetch(1)
    assert client.refused(1) is ErrorCode.INVALID_SHARE_SESSION_EPOCH


def test_a_new_session_takes_the_place_of_the_old() -> None:
    client = Conversation(limit=1)
    client.fetch(0, 0)
    assert named(client.fetch(0, 5)) == [5]
    assert len(client.sessions) == 1
    assert client.refused(0, answers=True) is ErrorCode.INVALID_REQUEST


def test_no_session_is_evicted_for_another() -> None:
    client = Conversation(limit=1)
    client.fetch(0, 0)
    other = SessionKey("g", "other")
    assert client.refused(0, key=other) is ErrorCode.SHARE_SESSION_LIMIT_REACHED
    client.sessions.remove(KEY)
    client.fetch(0, 0, key=other)


def test_the_last_request_of_a_session_has_no_partitions() -> None:
    client = Conversation()
    client.fetch(0, 0)
    context = client.fetch(FINAL)
    assert context.is_final
    assert named(context) == []
    assert client.sessions.remove(KEY) is not None


def test_a_request_that_was_overtaken_says_so() -> None:
    client = Conversation()
    client.fetch(0, 0)
    context = client.fetch(1)
    assert not context.overtaken
    client.fetch(2)
    assert context.overtaken


def test_an_acknowledgement_goes_on_with_the_session() -> None:
    client = Conversation()
    for epoch, code in (
        (0, ErrorCode.INVALID_SHARE_SESSION_EPOCH),
        (1, ErrorCode.SHARE_SESSION_NOT_FOUND),
        (FINAL, ErrorCode.SHARE_SESSION_NOT_FOUND),
    ):
        with pytest.raises(KafkaError) as error:
            client.sessions.acknowledge(KEY, epoch)
        assert error.value.code is code
    client.fetch(0, 0)
    client.sessions.acknowledge(KEY, 1)
    with pytest.raises(KafkaError):
        client.sessions.acknowledge(KEY, 1)
    client.fetch(2)
    client.sessions.acknowledge(KEY, FINAL)


def test_a_session_ends_with_its_connection() -> None:
    client = Conversation()
    client.fetch(0, 0)
    client.fetch(0, 0, key=SessionKey("g", "other"), connection=2)
    ended, empty = client.sessions.disconnected(1)
    assert [session.key for session in ended] == [KEY]
    assert empty == set()
    assert client.sessions.get(KEY) is None
    ended, empty = client.sessions.disconnected(2)
    assert len(ended) == 1
    assert empty == {"g"}
    assert client.sessions.disconnected(2) == ([], set())


def test_all_sessions_of_a_connection_end_with_it() -> None:
    client = Conversation()
    client.fetch(0, 0)
    client.fetch(0, 0, key=SessionKey("h", "m"))
    ended, empty = client.sessions.disconnected(1)
    assert len(ended) == 2
    assert empty == {"g", "h"}
    assert len(client.sessions) == 0


def test_a_session_that_moved_to_another_connection_goes_on_when_the_first_is_gone() -> None:
    client = Conversation()
    client.fetch(0, 0)
    client.fetch(0, 0, connection=2)
    assert client.sessions.disconnected(1) == ([], set())
    assert client.sessions.get(KEY) is not None


def test_a_group_is_empty_when_its_last_connection_is_gone_even_if_the_session_was_closed() -> None:
    client = Conversation()
    client.fetch(0, 0)
    client.sessions.remove(KEY)
    assert client.sessions.disconnected(1) == ([], {"g"})


KEYS = st.builds(SessionKey, st.sampled_from("gh"), st.sampled_from("mn"))
INDEXES = st.lists(st.integers(0, 4), max_size=3, unique=True)


class SessionsAgainstADict(RuleBasedStateMachine):
    """At random: what a session is about is what was asked and not forgotten, and no stale epoch gets in."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Conversation(limit=3)
        self.model: dict[SessionKey, tuple[int, set[int], int]] = {}

    @rule(key=KEYS, asked=INDEXES, connection=st.integers(1, 3))
    def begin(self, key: SessionKey, asked: list[int], connection: int) -> None:
        self.model.pop(key, None)
        if len(self.model) == 3:
            assert self.client.refused(0, key=key) is ErrorCode.SHARE_SESSION_LIMIT_REACHED
            return
        assert answered(self.client.fetch(0, *asked, key=key, connection=connection)) == asked
        self.model[key] = 1, set(asked), connection

    @rule(key=KEYS, epoch=st.integers(1, 4), asked=INDEXES, forget=INDEXES, size=st.integers(0, 1))
    def go_on(self, key: SessionKey, epoch: int, asked: list[int], forget: list[int], size: int) -> None:
        known = self.model.get(key)
        if known is None:
            assert self.client.refused(epoch, key=key) is ErrorCode.SHARE_SESSION_NOT_FOUND
        elif known[0] != epoch:
            assert self.client.refused(epoch, key=key) is ErrorCode.INVALID_SHARE_SESSION_EPOCH
        else:
            context = self.client.fetch(epoch, *asked, forget=tuple(forget), key=key)
            partitions = (known[1] | set(asked)) - set(forget)
            assert set(named(context)) == partitions
            told = set(answered(context, size=size))
            assert told == (partitions if size else set(asked) - known[1] - set(forget))
            self.model[key] = epoch + 1, partitions, known[2]

    @rule(key=KEYS)
    def end(self, key: SessionKey) -> None:
        assert (self.client.sessions.remove(key) is None) == (self.model.pop(key, None) is None)

    @rule(connection=st.integers(1, 3))
    def cut(self, connection: int) -> None:
        ended, empty = self.client.sessions.disconnected(connection)
        gone = {key for key, (_, _, on) in self.model.items() if on == connection}
        assert {session.key for session in ended} == gone
        for key in gone:
            del self.model[key]
        assert not empty & {key.group_id for key in self.model}

    @invariant()
    def no_more_than_allowed(self) -> None:
        assert len(self.client.sessions) == len(self.model) <= 3


TestSessionsAgainstADict = SessionsAgainstADict.TestCase
TestSessionsAgainstADict.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
