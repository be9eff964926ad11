"""What groups of all kinds have in common: an id, a kind, a deadline, and who may do what with their offsets.

A shard knows its groups by this alone. The kinds: `classic_group`, `consumer_group`, `share_group`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from pykbroker.coordinator.group.records import CommittedOffset
from pykbroker.coordinator.result import NEVER, Draft, Now, Parked
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition


class GroupKind(Enum):
    """Kafka's types of groups, as ListGroups spells them."""

    CLASSIC = "classic"
    CONSUMER = "consumer"
    SHARE = "share"


class Committer(NamedTuple):
    """Who commits, as the request names it."""

    member_id: str = ""
    instance_id: str | None = None
    epoch: int = -1
    """The generation, or the member epoch; -1 is a consumer that assigns by itself, or an administrator."""
    version: int = 9
    """OffsetCommit's: members of consumer groups need 9 or later."""


class Group(ABC):
    """One group of whatever kind."""

    __slots__ = ("deadline", "group_id")

    kind: GroupKind
    """What it is; one for all groups of a class."""
    goes_when_idle = True
    """Whether it is deleted once it is empty and has no offsets."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.deadline = NEVER
        """When `expire` is due, in monotonic seconds: early where a session has been put off, never late."""

    # What it shows

    @property
    @abstractmethod
    def state_name(self) -> str:
        """Its state by Kafka's name, as ListGroups shows it."""

    @property
    @abstractmethod
    def protocol_name(self) -> str:
        """Its protocol type, as ListGroups shows it."""

    @property
    @abstractmethod
    def is_unwritten(self) -> bool:
        """Nobody is in it or about to be, and no record of it has been written: it may be forgotten."""

    # What it allows

    def check_commit(
        self, committer: Committer, partitions: Collection[TopicPartition], now: Now, *, transactional: bool = False
    ) -> None:
        """Raises unless an OffsetCommit (or a TxnOffsetCommit) for these partitions is allowed now.

        A member's commit keeps its session alive where Kafka's does.
        """
        raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {self.group_id} is not a consumer group.")

    def check_fetch(self, member_id: str | None, epoch: int) -> None:
        """Raises unless an OffsetFetch 9 or later of this member is allowed; no member and epoch -1 always are."""
        return

    def check_delete_offsets(self) -> None:
        """Raises what forbids OffsetDelete for the group as a whole."""
        return

    def subscribed_topics(self) -> Collection[str] | None:
        """The topics that members read, whose offsets aren't deleted; None where that can't be known."""
        return ()

    def offsets_idle_since(self, committed: CommittedOffset) -> int | None:
        """From when on `offsets.retention.minutes` counts for an offset (KIP-211), in ms; None while it is in use."""
        return None

    @abstractmethod
    def check_delete(self) -> None:
        """Raises unless the group may be deleted now."""

    @abstractmethod
    def tombstones(self, draft: Draft) -> None:
        """Writes what makes every record of the group void, its offsets' aside."""

    # Its life

    @abstractmethod
    def expire(self, now: Now, draft: Draft) -> None:
        """Does what is due, and sets `deadline` anew."""

    @abstractmethod
    def loaded(self, now: Now, draft: Draft) -> None:
        """Every record is replayed: its sessions begin."""

    def abandon(self, parked: Parked, now: Now, draft: Draft) -> None:
        """Nobody waits for this request any more."""
        return

    def unload(self, code: ErrorCode, draft: Draft) -> None:
        """Answers all who wait with this error."""
        return
