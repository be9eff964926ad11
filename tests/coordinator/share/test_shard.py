"""The share coordinator as a conversation: states begun, written, read, fenced, deleted, and their records."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.result import NEVER, Now, Record, Result
from pykbroker.coordinator.share.records import ShareUpdate, read_record, snapshot_record, update_record
from pykbroker.coordinator.share.shard import COLD_MS, ShareShard, ShareWrite
from pykbroker.coordinator.share.state import ShareKey, ShareState
from pykbroker.protocol.errors import ErrorCode, KafkaError, MalformedMessage

TOPIC = UUID(int=7)
KEY = ShareKey("g", TOPIC, 0)
ACKED = StateBatch(0, 4, 2, 1)


class Conversation:
    """Asks a shard, and does with its results what the runtime does."""

    def __init__(self, updates: int = 500) -> None:
        self.partitions = {TOPIC: 2}
        self.updates = updates
        self.log: list[Record] = []
        self.now = Now(0, 1000)
        self.shard = self.new()

    def new(self) -> ShareShard:
        return ShareShard(self.updates, lambda topic: self.partitions.get(topic, 0))

    def take(self, result: Result[Any]) -> Any:
        for record in result.records:
            self.shard.replay_at(record, len(self.log))
            self.log.append(record)
        return result.answer

    def restart(self) -> None:
        self.shard = self.new()
        for offset, record in enumerate(self.log):
            self.shard.replay_at(record, offset)

    def begin(self, key: ShareKey = KEY, epoch: int = 0, start: int = -1) -> None:
        self.take(self.shard.initialize(key, epoch, start, self.now))

    def read(self, leader_epoch: int = 0, key: ShareKey = KEY) -> ShareState:
        state = self.take(self.shard.read(key, leader_epoch, self.now))
        assert isinstance(state, ShareState)
        return state

    def write(self, *batches: StateBatch, start: int = 0, state: int = 0, leader: int = 0, key: ShareKey = KEY) -> None:
        self.take(self.shard.write(key, ShareWrite(state, leader, start, 0, batches), self.now))

    def said(self, offset: int = -1) -> Any:
        entry = read_record(self.log[offset])
        assert entry is not None
        return entry[1]


def refused(code: ErrorCode) -> Any:
    return pytest.raises(KafkaError, match=code.name)


def test_a_state_is_begun_read_and_written() -> None:
    group = Conversation()
    group.begin()
    assert group.said() == ShareState(0, 0, 0, -1, -1, (), 1000, 1000)
    assert group.read().start_offset == -1
    group.write(ACKED, start=0)
    assert group.said() == ShareUpdate(0, 0, 0, 0, (ACKED,))
    assert group.read().batches == (ACKED,)
    group.write(start=5)
    assert group.read() == ShareState(0, 0, 0, 5, 0, (), 1000, 1000)


def test_a_restart_knows_what_was_written() -> None:
    group = Conversation()
    group.begin(start=10)
    group.write(StateBatch(12, 13, 0, 2), start=10)
    before = group.read()
    group.restart()
    assert group.read() == before


def test_after_enough_updates_comes_a_snapshot() -> None:
    group = Conversation(updates=2)
    group.begin(start=0)
    group.write(ACKED)
    group.write(StateBatch(5, 6, 2, 1))
    group.now = Now(0, 2000)
    group.write(StateBatch(7, 7, 0, 1), start=-1)
    batches = (StateBatch(0, 6, 2, 1), StateBatch(7, 7, 0, 1))
    assert group.said() == ShareState(1, 0, 0, 0, 0, batches, 2000, 2000)
    group.write(start=5)
    assert isinstance(group.said(), ShareUpdate)
    assert group.said().snapshot_epoch == 1


def test_nothing_is_read_or_written_before_it_is_begun() -> None:
    group = Conversation()
    with refused(ErrorCode.INVALID_REQUEST):
        group.read()
    with refused(ErrorCode.INVALID_REQUEST):
        group.write(ACKED)
    assert group.take(group.shard.summary(KEY)) == ShareState()


def test_a_leader_that_reads_fences_those_before_it() -> None:
    group = Conversation()
    group.begin()
    group.read(leader_epoch=3)
    assert group.said().leader_epoch == 3
    with refused(ErrorCode.FENCED_LEADER_EPOCH):
        group.read(leader_epoch=2)
    with refused(ErrorCode.FENCED_LEADER_EPOCH):
        group.write(ACKED, leader=2)
    group.restart()
    with refused(ErrorCode.FENCED_LEADER_EPOCH):
        group.write(ACKED, leader=2)
    written = len(group.log)
    group.read(leader_epoch=3)
    assert len(group.log) == written
    group.write(ACKED, leader=-1)


def test_a_state_that_is_begun_anew_fences_writes_for_the_old_one() -> None:
    group = Conversation()
    group.begin(start=0)
    group.write(ACKED)
    group.begin(epoch=1, start=100)
    assert group.said() == ShareState(1, 1, 0, 100, 0, (), 1000, 1000)
    with refused(ErrorCode.FENCED_STATE_EPOCH):
        group.write(ACKED, state=0)
    with refused(ErrorCode.FENCED_STATE_EPOCH):
        group.begin(epoch=0)
    group.write(StateBatch(100, 101, 2, 1), state=1, start=100)


def test_partitions_that_aren_t_there_are_refused() -> None:
    group = Conversation()
    for key in (ShareKey("g", TOPIC, 2), ShareKey("g", UUID(int=9), 0)):
        for question in (
            lambda key=key: group.begin(key),
            lambda key=key: group.shard.summary(key),
            lambda key=key: group.shard.delete(key),
        ):
            with refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
                question()
    with refused(ErrorCode.INVALID_REQUEST):
        group.begin(ShareKey("g", TOPIC, -1))


def test_a_deleted_state_is_gone_and_with_it_its_epochs() -> None:
    group = Conversation()
    group.begin(epoch=4)
    group.read(leader_epoch=9)
    group.take(group.shard.delete(KEY))
    assert group.said() is None
    assert group.take(group.shard.summary(KEY)) == ShareState()
    group.begin(epoch=0)
    group.read(leader_epoch=0)
    written = len(group.log)
    group.take(group.shard.delete(ShareKey("other", TOPIC, 0)))
    assert len(group.log) == written


def test_states_of_topics_that_are_gone_are_forgotten() -> None:
    group = Conversation()
    group.begin()
    group.take(group.shard.forget_topics())
    assert group.shard.states
    group.partitions.clear()
    group.take(group.shard.forget_topics())
    assert not group.shard.states


def test_what_later_snapshots_supersede_is_redundant() -> None:
    group = Conversation(updates=1)
    other = ShareKey("g", TOPIC, 1)
    group.begin()  # 0
    group.begin(other)  # 1
    group.write(ACKED)  # 2
    assert group.shard.redundant_below == 0
    group.write(ACKED)  # 3, a snapshot
    assert group.shard.redundant_below == 1
    group.take(group.shard.delete(other))  # 4
    assert group.shard.redundant_below == 3
    group.take(group.shard.delete(KEY))  # 5
    assert group.shard.redundant_below == 5


def test_cold_states_get_a_snapshot_while_others_are_written() -> None:
    group = Conversation()
    group.begin()
    group.take(group.shard.snapshot_cold(group.now))
    assert len(group.log) == 1
    group.now = Now(0, 1000 + COLD_MS)
    group.take(group.shard.snapshot_cold(group.now))
    assert group.said() == ShareState(1, 0, 0, -1, -1, (), 1000, 1000 + COLD_MS)
    group.now = Now(0, 1000 + 2 * COLD_MS)
    group.take(group.shard.snapshot_cold(group.now))
    assert len(group.log) == 2


def test_a_record_that_isn_t_known_is_passed_over_and_one_that_can_t_be_read_is_said() -> None:
    shard = Conversation().shard
    shard.replay(Record(b"\x00\x09", b""))
    key = snapshot_record(KEY, None).key
    for record in (Record(b"\x00", None), Record(key, b"\x00\x01"), Record(key, b"")):
        with pytest.raises(MalformedMessage):
            shard.replay(record)
    shard.replay(update_record(KEY, ShareUpdate(2, 1, 5, 0, (StateBatch(6, 7, 0, 1),))))
    assert shard.states[KEY] == ShareState(2, 0, 1, 5, 0, (StateBatch(6, 7, 0, 1),))


def test_nothing_in_it_waits() -> None:
    group = Conversation()
    assert group.shard.deadline == NEVER
    for result in (group.shard.expire(group.now), group.shard.loaded(group.now), group.shard.unload(1)):
        assert result == Result(None)
