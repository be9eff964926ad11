"""A conversation with a transaction shard: no loop, no clock, and markers that are written when the test says so."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from typing import Any

import pytest

from pykbroker.coordinator.result import Now, Record, Result
from pykbroker.coordinator.transaction.shard import (
    Producer,
    ProducerAnswer,
    TransactionConfig,
    TransactionShard,
)
from pykbroker.coordinator.transaction.transaction_state import Transaction
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

ID = "an id"
TP = TopicPartition("t", 0)


class Conversation:
    """Asks a shard as the shell does, and does with its results what the runtime does."""

    def __init__(self, version: int = 2, **config: int) -> None:
        self.id = ID
        """Who is spoken of."""
        self.version = version
        self.config = TransactionConfig(**config)
        self.shard = TransactionShard(self.config, lambda: self.version)
        self.records: list[Record] = []
        self.seconds = 1000.0
        self.unfinished: list[Transaction] = []
        self._ids = count(100)

    @property
    def now(self) -> Now:
        return Now(self.seconds, 1_700_000_000_000 + int(self.seconds * 1000))

    @property
    def transaction(self) -> Transaction:
        return self.shard.transactions[self.id]

    @property
    def state(self) -> str:
        return self.transaction.state.value

    def at(self, ms: int) -> Now:
        """So many milliseconds from now."""
        return Now(self.seconds + ms / 1000, self.now.wall_ms + ms)

    def take(self, result: Result[Any]) -> Any:
        for record in result.records:
            self.records.append(record)
            self.shard.replay(record)
        self.unfinished += self.shard.take_unfinished()
        return result.answer

    def restart(self) -> None:
        """A load of the records so far, by another broker or later."""
        self.shard = TransactionShard(self.config, lambda: self.version)
        for record in self.records:
            self.shard.replay(record)
        self.take(self.shard.loaded(self.now))
        self.unfinished = list(self.shard.take_unfinished()) or self.unfinished

    def advance(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.shard.deadline <= end:
            self.seconds = max(self.seconds, self.shard.deadline)
            self.take(self.shard.expire(self.now))
        self.seconds = end

    def init(self, expected: Producer | None = None, *, timeout_ms: int = 60_000) -> ProducerAnswer:
        fresh = next(self._ids) if self.shard.wants_producer_id(self.id) else None
        try:
            answer: ProducerAnswer = self.take(
                self.shard.init_producer_id(self.id, timeout_ms, expected, fresh, self.now)
            )
        except KafkaError as error:
            return ProducerAnswer(error.code)
        return answer

    def begun(self) -> Producer:
        """A producer with a new epoch."""
        answer = self.init()
        if answer.code is ErrorCode.CONCURRENT_TRANSACTIONS:
            self.complete()
            answer = self.init()
        assert answer.code is ErrorCode.NONE
        return answer.producer

    def add(self, producer: Producer, partitions: Collection[TopicPartition] = (TP,), version: int = 0) -> ErrorCode:
        try:
            self.take(self.shard.add_partitions(self.id, producer, partitions, version, self.now))
        except KafkaError as error:
            return error.code
        return ErrorCode.NONE

    def end(self, producer: Producer, *, committed: bool = True, version: int = 0) -> ProducerAnswer:
        wants = version >= 2 and self.shard.wants_producer_id(self.id, ends=True)
        fresh = next(self._ids) if wants else None
        try:
            answer: ProducerAnswer = self.take(
                self.shard.end(self.id, producer, version, fresh, self.now, committed=committed)
            )
        except KafkaError as error:
            return ProducerAnswer(error.code)
        return answer

    def complete(self) -> None:
        """Every marker that is due is written."""
        while self.unfinished:
            decided = self.unfinished.pop()
            fresh = next(self._ids) if decided.used_up_by_fencing else None
            self.take(self.shard.complete(decided, self.now, fresh))


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


@pytest.fixture
def old_talk() -> Conversation:
    """A cluster with transaction.version 0."""
    return Conversation(version=0)
