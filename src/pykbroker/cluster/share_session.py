"""Share sessions (KIP-932): which partitions a member of a share group fetches, and which answers are news to it.

A member has one session on a broker, known by group and member id, and it ends with the member's connection. There is
no session but within the limit, and none is evicted for another. Decides nothing about records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.fetch_session import FINAL_EPOCH, INITIAL_EPOCH, next_epoch
from pykbroker.protocol.errors import ErrorCode, KafkaError

SharePartitionId = tuple[UUID, int]
"""Topic id, partition index."""


class SessionKey(NamedTuple):
    """Whose session it is."""

    group_id: str
    member_id: str


class SharedPartition:
    """A partition of a session."""

    __slots__ = ("id", "must_answer", "topic")

    def __init__(self, partition_id: SharePartitionId, topic: str | None, *, must_answer: bool) -> None:
        self.id = partition_id
        self.topic = topic
        """Its topic's name; None while the id is unknown here. What is known once stays."""
        self.must_answer = must_answer
        """Whether the next answer names it, news or not: it is new in the session, or had an error last."""

    def is_news(self, size: int, error_code: int) -> bool:
        """Whether an answer with so many bytes of records has to be sent; remembers what is."""
        news = size > 0 or self.must_answer or error_code != ErrorCode.NONE
        self.must_answer = error_code != ErrorCode.NONE
        return news


class ShareSession:
    """One member's partitions, in the order in which they are served next."""

    __slots__ = ("connection_id", "epoch", "key", "partitions")

    def __init__(self, key: SessionKey, connection_id: int) -> None:
        self.key = key
        self.connection_id = connection_id
        self.epoch = next_epoch(INITIAL_EPOCH)
        self.partitions: dict[SharePartitionId, SharedPartition] = {}

    def served(self, partition: SharedPartition) -> None:
        """Moves a partition that gave records to the end."""
        self.partitions[partition.id] = self.partitions.pop(partition.id)


class ShareContext:
    """What one ShareFetch is about: its partitions, and the session if that goes on."""

    __slots__ = ("_epoch", "_partitions", "_request_epoch", "_session", "_subsequent")

    def __init__(
        self,
        partitions: dict[SharePartitionId, SharedPartition],
        session: ShareSession | None,
        request_epoch: int,
    ) -> None:
        self._partitions = partitions
        self._session = session
        self._request_epoch = request_epoch
        self._subsequent = session is not None and request_epoch != INITIAL_EPOCH
        self._epoch = INITIAL_EPOCH if session is None else session.epoch

    def __iter__(self) -> Iterator[SharedPartition]:
        return iter(self._partitions.values())

    @property
    def rotated(self) -> list[SharedPartition]:
        """The partitions in the order of serving, which begins with another one in each request."""
        partitions = list(self._partitions.values())
        turn = self._request_epoch % len(partitions) if self._subsequent and partitions else 0
        return partitions[turn:] + partitions[:turn]

    @property
    def is_final(self) -> bool:
        """Whether the session ends with this request."""
        return self._request_epoch == FINAL_EPOCH

    @property
    def overtaken(self) -> bool:
        """Whether another request went on with the session while this one waited: INVALID_SHARE_SESSION_EPOCH."""
        return self._subsequent and self._session is not None and self._session.epoch != self._epoch

    def must_answer(self, partition: SharedPartition, size: int, error_code: int) -> bool:
        """Whether the answer names this partition: always in a session's first, later where there is news."""
        if not self._subsequent or self._session is None:
            return True
        news = partition.is_news(size, error_code)
        if size > 0 and partition.id in self._session.partitions:
            self._session.served(partition)
        return news


class ShareSessions:
    """The share sessions of a broker, `limit` at most (`group.share.max.share.sessions`)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sessions: dict[SessionKey, ShareSession] = {}
        self._connections: dict[int, set[SessionKey]] = {}
        """Whose sessions began on a connection, for as long as that lives."""

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: SessionKey) -> ShareSession | None:
        """A member's session, if it has one."""
        return self._sessions.get(key)

    def context(
        self,
        key: SessionKey,
        epoch: int,
        asked: Iterable[tuple[SharePartitionId, str | None]],
        forgotten: Iterable[SharePartitionId],
        *,
        answers: bool,
        connection_id: int,
    ) -> ShareContext:
        """What a ShareFetch with this epoch is about; `answers`: it brings acknowledgements.

        Raises SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, SHARE_SESSION_LIMIT_REACHED, or INVALID_REQUEST
        for acknowledgements in a session's first request.
        """
        if epoch == INITIAL_EPOCH:
            if answers:
                raise KafkaError(ErrorCode.INVALID_REQUEST)
            self.remove(key)
            session = self._create(key, connection_id)
            for partition_id, topic in asked:
                session.partitions[partition_id] = SharedPartition(partition_id, topic, must_answer=False)
            return ShareContext(dict(session.partitions), session, epoch)
        session = self._find(key)
        if epoch == FINAL_EPOCH:
            return ShareContext({}, session, epoch)
        if session.epoch != epoch:
            raise KafkaError(ErrorCode.INVALID_SHARE_SESSION_EPOCH)
        for partition_id, topic in asked:
            known = session.partitions.get(partition_id)
            if known is None:
                session.partitions[partition_id] = SharedPartition(partition_id, topic, must_answer=True)
            elif known.topic is None:
                known.topic = topic
        for partition_id in forgotten:
            session.partitions.pop(partition_id, None)
        session.epoch = next_epoch(epoch)
        return ShareContext(dict(session.partitions), session, epoch)

    def acknowledge(self, key: SessionKey, epoch: int) -> None:
        """Goes on with a session for a ShareAcknowledge. Raises as `context` does; it can't begin one."""
        if epoch == INITIAL_EPOCH:
            raise KafkaError(ErrorCode.INVALID_SHARE_SESSION_EPOCH)
        session = self._find(key)
        if epoch == FINAL_EPOCH:
            return
        if session.epoch != epoch:
            raise KafkaError(ErrorCode.INVALID_SHARE_SESSION_EPOCH)
        session.epoch = next_epoch(epoch)

    def remove(self, key: SessionKey) -> ShareSession | None:
        """Ends a session, if there is one."""
        return self._sessions.pop(key, None)

    def disconnected(self, connection_id: int) -> tuple[list[ShareSession], set[str]]:
        """A connection is gone: the sessions that end with it, and the groups that have none left."""
        keys = self._connections.pop(connection_id, ())
        ended = []
        for key in keys:
            session = self._sessions.get(key)
            if session is not None and session.connection_id == connection_id:
                ended.append(self._sessions.pop(key))
        return ended, {key.group_id for key in keys if not self.has_group(key.group_id)}

    def has_group(self, group_id: str) -> bool:
        """Whether a member of this group has a session."""
        return any(key.group_id == group_id for key in self._sessions)

    def _find(self, key: SessionKey) -> ShareSession:
        session = self._sessions.get(key)
        if session is None:
            raise KafkaError(ErrorCode.SHARE_SESSION_NOT_FOUND)
        return session

    def _create(self, key: SessionKey, connection_id: int) -> ShareSession:
        if len(self._sessions) >= self._limit:
            raise KafkaError(ErrorCode.SHARE_SESSION_LIMIT_REACHED)
        session = self._sessions[key] = ShareSession(key, connection_id)
        self._connections.setdefault(connection_id, set()).add(key)
        return session
