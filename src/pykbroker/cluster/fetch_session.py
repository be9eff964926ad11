"""Incremental fetch sessions (KIP-227): which partitions a fetch asks for, and which its answer must name.

A session remembers a client's partitions, so that an incremental request names only what changed and the answer only
what moved. The cache is bounded; what is evicted answers FETCH_SESSION_ID_NOT_FOUND and the client starts anew.
Decides nothing about the log; is handed `now` (seconds) and random session ids.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

INVALID_SESSION_ID = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
EVICTION_SECONDS = 120.0
"""A session unused for so long may be evicted by any other; one younger than this not at all by an equal (KIP-227)."""

PartitionKey = tuple[str | UUID, int]
"""Topic name up to Fetch 12, topic id from 13 on; partition index."""


def next_epoch(epoch: int) -> int:
    """The epoch after `epoch`: it wraps to 1, because 0 asks for a new session."""
    return 1 if epoch == 0x7FFFFFFF else epoch + 1


class FetchPartition:
    """What a client asks of one partition, and what it was told last."""

    __slots__ = (
        "current_leader_epoch",
        "fetch_offset",
        "high_watermark",
        "key",
        "last_fetched_epoch",
        "log_start_offset",
        "max_bytes",
        "told_log_start_offset",
        "topic_partition",
    )

    def __init__(
        self,
        key: PartitionKey,
        fetch_offset: int,
        max_bytes: int,
        current_leader_epoch: int = -1,
        last_fetched_epoch: int = -1,
        log_start_offset: int = -1,
    ) -> None:
        self.key = key
        self.fetch_offset = fetch_offset
        self.max_bytes = max_bytes
        self.current_leader_epoch = current_leader_epoch
        self.last_fetched_epoch = last_fetched_epoch
        self.log_start_offset = log_start_offset
        self.high_watermark = -1
        self.told_log_start_offset = -1
        topic, index = key
        self.topic_partition = TopicPartition(topic, index) if isinstance(topic, str) else None
        """By name; None while the topic id is unknown. What a session has resolved stays, as in Kafka."""

    def update(self, asked: FetchPartition) -> None:
        """Takes over what an incremental request asks; what the client was told stays."""
        self.fetch_offset, self.max_bytes = asked.fetch_offset, asked.max_bytes
        self.current_leader_epoch, self.last_fetched_epoch = asked.current_leader_epoch, asked.last_fetched_epoch
        self.log_start_offset = asked.log_start_offset

    def was_told(self, high_watermark: int, log_start_offset: int) -> bool:
        """Whether the last answer about this partition said the same, without an error."""
        return high_watermark == self.high_watermark and log_start_offset == self.told_log_start_offset

    def must_answer(self, answer: PartitionAnswer) -> bool:
        """Whether an incremental answer has to name this partition; remembers what the client is told."""
        news = (
            answer.size > 0
            or not self.was_told(answer.high_watermark, answer.log_start_offset)
            or answer.error_code != ErrorCode.NONE
            or answer.redirects
        )
        self.told_log_start_offset = answer.log_start_offset
        # After an error the next good answer is news, whatever its high watermark.
        self.high_watermark = answer.high_watermark if answer.error_code == ErrorCode.NONE else -1
        return news


class PartitionAnswer(NamedTuple):
    """What of a partition's answer decides whether it is news to the session."""

    size: int
    high_watermark: int
    log_start_offset: int
    error_code: int = ErrorCode.NONE
    redirects: bool = False
    """Whether it sends the reader elsewhere: to an earlier offset, or to another replica."""


class FetchSession:
    """One client's partitions, in the order in which they are served next."""

    __slots__ = ("created", "epoch", "id", "last_used", "partitions", "privileged", "uses_topic_ids")

    def __init__(self, session_id: int, privileged: bool, uses_topic_ids: bool, now: float) -> None:
        self.id = session_id
        self.privileged = privileged
        self.uses_topic_ids = uses_topic_ids
        self.created = self.last_used = now
        self.epoch = next_epoch(INITIAL_EPOCH)
        self.partitions: dict[PartitionKey, FetchPartition] = {}

    def update(self, asked: Iterable[FetchPartition], forgotten: Iterable[PartitionKey]) -> None:
        """Adds, changes and forgets partitions as an incremental request says."""
        for partition in asked:
            known = self.partitions.get(partition.key)
            if known is None:
                self.partitions[partition.key] = partition
            else:
                known.update(partition)
        for key in forgotten:
            self.partitions.pop(key, None)

    def served(self, key: PartitionKey) -> None:
        """Moves a partition that returned records to the end, so that the next answer's bytes go to others first."""
        self.partitions[key] = self.partitions.pop(key)

    @property
    def value(self) -> tuple[bool, int, int]:
        """Orders sessions by what is lost with them: a follower's before a consumer's, many partitions before few."""
        return self.privileged, len(self.partitions), self.id


class FetchContext:
    """The partitions of one Fetch request, and the session (if any) that its answer belongs to."""

    __slots__ = ("_epoch", "_partitions", "incremental", "session")

    def __init__(
        self, partitions: dict[PartitionKey, FetchPartition], session: FetchSession | None, incremental: bool
    ) -> None:
        self._partitions = partitions
        self.session = session
        self.incremental = incremental
        self._epoch = INITIAL_EPOCH if session is None else session.epoch

    def __iter__(self) -> Iterator[FetchPartition]:
        return iter(self._partitions.values())

    def __len__(self) -> int:
        return len(self._partitions)

    @property
    def session_id(self) -> int:
        """The id for the answer: 0 where there is no session."""
        return INVALID_SESSION_ID if self.session is None else self.session.id

    @property
    def overtaken(self) -> bool:
        """Whether another request went on with the session while this one waited: INVALID_FETCH_SESSION_EPOCH."""
        return self.session is not None and self.session.epoch != self._epoch

    def must_answer(self, partition: FetchPartition, answer: PartitionAnswer) -> bool:
        """Whether the answer names this partition: always, except in an incremental answer without news."""
        if self.session is None:
            return True
        news = partition.must_answer(answer)
        if self.incremental and answer.size > 0:
            self.session.served(partition.key)
        return news or not self.incremental


class FetchSessionCache:
    """The sessions of a broker, `slots` at most (`max.incremental.fetch.session.cache.slots`)."""

    def __init__(self, slots: int, new_id: Callable[[], int]) -> None:
        self._slots = slots
        self._new_id = new_id
        self._sessions: dict[int, FetchSession] = {}
        """By id, the one longest unused first."""
        self._values: list[tuple[bool, int, int]] = []
        """Every session's value, the least first. Where slots are short, each poll of one without looks here."""

    def __len__(self) -> int:
        return len(self._sessions)

    def context(
        self,
        session_id: int,
        epoch: int,
        asked: dict[PartitionKey, FetchPartition],
        forgotten: Iterable[PartitionKey],
        *,
        uses_topic_ids: bool,
        privileged: bool,
        now: float,
    ) -> FetchContext:
        """What a Fetch request with this session id and epoch is about.

        Raises FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, or FETCH_SESSION_TOPIC_ID_ERROR where a session
        of names is asked by ids or the reverse.
        """
        if epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            self._remove(session_id)
            if epoch == FINAL_EPOCH:
                return FetchContext(asked, None, incremental=False)
            session = self._create(asked, uses_topic_ids, privileged, now)
            return FetchContext(asked, session, incremental=False)
        session = self._sessions.get(session_id)
        if session is None:
            raise KafkaError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        if session.epoch != epoch:
            raise KafkaError(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        if session.uses_topic_ids != uses_topic_ids:
            raise KafkaError(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
        self._remove(session_id)
        session.update(asked.values(), forgotten)
        if not session.partitions:
            return FetchContext({}, None, incremental=False)
        session.last_used = now
        session.epoch = next_epoch(epoch)
        self._add(session)
        return FetchContext(session.partitions, session, incremental=True)

    def _add(self, session: FetchSession) -> None:
        self._sessions[session.id] = session
        insort(self._values, session.value)

    def _remove(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            del self._values[bisect_left(self._values, session.value)]

    def _create(
        self, asked: dict[PartitionKey, FetchPartition], uses_topic_ids: bool, privileged: bool, now: float
    ) -> FetchSession | None:
        """A new session (of no partitions too, as in Kafka), or None where no slot is to be had."""
        if self._slots <= 0:
            return None
        if len(self._sessions) >= self._slots and not self._evict(privileged, len(asked), now):
            return None
        session_id = self._new_id()
        while session_id in self._sessions or session_id == INVALID_SESSION_ID:
            session_id = self._new_id()
        session = FetchSession(session_id, privileged, uses_topic_ids, now)
        session.partitions.update(asked)
        self._add(session)
        return session

    def _evict(self, privileged: bool, size: int, now: float) -> bool:
        """Makes room: the session longest unused if it is stale, else the least valuable of those that may go.

        Never one as valuable as the new one: equals would put each other out for ever.
        """
        oldest = next(iter(self._sessions.values()))
        if now - oldest.last_used > EVICTION_SECONDS:
            self._remove(oldest.id)
            return True
        for value in self._values:
            if value[:2] >= (privileged, size):
                return False
            session = self._sessions[value[2]]
            if now - session.created > EVICTION_SECONDS or (privileged and not session.privileged):
                self._remove(session.id)
                return True
        return False
