"""The share coordinator at random: what is read is what was written, restarted or pruned, and who is late is fenced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.result import Now, Record, Result
from pykbroker.coordinator.share.shard import COLD_MS, ShareShard, ShareWrite
from pykbroker.coordinator.share.state import ShareKey, ShareState
from pykbroker.protocol.errors import ErrorCode, KafkaError

TOPICS = (UUID(int=7), UUID(int=8))
KEYS = [ShareKey("g", topic, index) for topic in TOPICS for index in range(2)]
UPDATES = 3
RECORDS = 12

KEY = st.sampled_from(KEYS)
EPOCH = st.integers(0, 3)
BATCH = st.builds(
    lambda first, size, state, deliveries: StateBatch(first, first + size, state, deliveries),
    st.integers(0, RECORDS),
    st.integers(0, 4),
    st.sampled_from([0, 2, 4]),
    st.integers(1, 3),
)


@dataclass
class Stored:
    """What the share-partition's leader knows to be stored."""

    state_epoch: int
    start: int
    leader_epoch: int = 0
    records: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Deliveries and state by offset."""
    begun_again: bool = False
    """Kafka's record of an initialization has no leader epoch: what was known before it, memory alone keeps."""

    def told(self, write: ShareWrite) -> None:
        for batch in write.batches:
            for offset in range(batch.first, batch.last + 1):
                known = self.records.get(offset, (0, 0))
                self.records[offset] = max(known, (batch.deliveries, batch.state))
        self.start = write.start_offset
        self.records = {offset: known for offset, known in self.records.items() if offset >= self.start}


class ShardAtRandom(RuleBasedStateMachine):
    """The shard, its log, and the model of every share-partition."""

    def __init__(self) -> None:
        super().__init__()
        self.topics = set(TOPICS)
        self.shard = self.new()
        self.log: list[Record] = []
        self.model: dict[ShareKey, Stored] = {}
        self.ms = 0

    def new(self) -> ShareShard:
        return ShareShard(UPDATES, lambda topic: 2 if topic in self.topics else 0)

    @property
    def now(self) -> Now:
        return Now(self.ms / 1000, self.ms)

    def take(self, result: Result[Any]) -> Any:
        for record in result.records:
            self.shard.replay_at(record, len(self.log))
            self.log.append(record)
        return result.answer

    def refusal(self, key: ShareKey, state_epoch: int | None, leader_epoch: int) -> ErrorCode | None:
        """What a request in these epochs is refused with."""
        stored = self.model.get(key)
        if stored is None:
            return ErrorCode.INVALID_REQUEST
        if leader_epoch < stored.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if state_epoch is not None and state_epoch < stored.state_epoch:
            return ErrorCode.FENCED_STATE_EPOCH
        return None if key.topic_id in self.topics else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def asked(self, refusal: ErrorCode | None, ask: Any) -> Any:
        if refusal is None:
            return self.take(ask())
        with pytest.raises(KafkaError) as refused:
            ask()
        assert refused.value.code == refusal
        return None

    @rule(key=KEY, epoch=EPOCH, start=st.integers(-1, RECORDS))
    def initialize(self, key: ShareKey, epoch: int, start: int) -> None:
        known = self.model.get(key)
        refusal = ErrorCode.FENCED_STATE_EPOCH if known is not None and epoch < known.state_epoch else None
        if refusal is None and key.topic_id not in self.topics:
            refusal = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self.asked(refusal, lambda: self.shard.initialize(key, epoch, start, self.now))
        if refusal is None:
            self.model[key] = Stored(epoch, start, 0 if known is None else known.leader_epoch)
            self.model[key].begun_again = known is not None

    @rule(key=KEY, epoch=EPOCH)
    def lead(self, key: ShareKey, epoch: int) -> None:
        refusal = self.refusal(key, None, epoch)
        state = self.asked(refusal, lambda: self.shard.read(key, epoch, self.now))
        if refusal is None:
            self.model[key].leader_epoch = epoch
            self.compare(state, self.model[key])

    @rule(key=KEY, state=EPOCH, leader=EPOCH, start=st.integers(0, RECORDS), batches=st.lists(BATCH, max_size=3))
    def write(self, key: ShareKey, state: int, leader: int, start: int, batches: list[StateBatch]) -> None:
        known = self.model.get(key)
        start = start if known is None else max(start, known.start)
        write = ShareWrite(state, leader, start, 0, tuple(batches))
        refusal = self.refusal(key, state, leader)
        self.asked(refusal, lambda: self.shard.write(key, write, self.now))
        if refusal is None:
            self.model[key].told(write)

    @rule(key=KEY)
    def delete(self, key: ShareKey) -> None:
        refusal = None if key.topic_id in self.topics else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self.asked(refusal, lambda: self.shard.delete(key))
        if refusal is None:
            self.model.pop(key, None)

    @rule(topic=st.sampled_from(TOPICS), there=st.booleans())
    def topic_goes(self, topic: UUID, there: bool) -> None:
        (self.topics.add if there else self.topics.discard)(topic)

    @rule()
    def forget_topics(self) -> None:
        self.take(self.shard.forget_topics())
        self.model = {key: stored for key, stored in self.model.items() if key.topic_id in self.topics}

    @rule()
    def snapshot_cold(self) -> None:
        self.ms += COLD_MS
        self.take(self.shard.snapshot_cold(self.now))

    @rule(pruned=st.booleans())
    def restart(self, pruned: bool) -> None:
        before = self.shard
        self.shard = self.new()
        for offset, record in enumerate(self.log):
            if not pruned or offset >= before.redundant_below:
                self.shard.replay_at(record, offset)
        assert self.shard.states == before.states
        for key, stored in self.model.items():
            if stored.begun_again:
                stored.leader_epoch = min(stored.leader_epoch, self.shard.leader_epoch(key))

    @invariant()
    def reads_as_written(self) -> None:
        assert self.shard.states.keys() == self.model.keys()
        for key, stored in self.model.items():
            self.compare(self.shard.states[key], stored)

    def compare(self, state: ShareState, stored: Stored) -> None:
        assert (state.state_epoch, state.start_offset) == (stored.state_epoch, stored.start)
        told = {
            offset: (batch.deliveries, batch.state)
            for batch in state.batches
            for offset in range(batch.first, batch.last + 1)
        }
        assert told == stored.records
        lasts = [-1, *(batch.last for batch in state.batches)]
        assert all(last < batch.first for last, batch in zip(lasts, state.batches, strict=False)), "in order, apart"


@pytest.mark.slow
class TestShardAtRandom(ShardAtRandom.TestCase):
    settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
