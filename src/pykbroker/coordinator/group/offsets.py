"""The committed offsets of a shard's groups: what a commit, a deletion and a vanished topic write, what a fetch reads.

Those of a transaction wait, by its producer, for the marker that decides it. Only the replay methods change anything.
Whether a member may commit is the group's to say, whether a topic exists the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pykbroker.coordinator.group.records import CommittedOffset, OffsetEntry, offset_record
from pykbroker.coordinator.result import Draft, Now
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.coordinator.group.group import Group

LATEST_MS = (1 << 63) - 1
"""A longer retention ends here, in 292 million years; Apache Kafka's sum overflows, and the offset is gone at once."""


class OffsetToCommit(NamedTuple):
    """One partition of an OffsetCommit, of whatever version."""

    offset: int
    leader_epoch: int = -1
    metadata: str | None = ""
    commit_timestamp_ms: int = -1
    """Version 1 alone says when; -1 is now."""
    retention_ms: int = -1
    """Versions 2-4 may say how long to keep it; -1 leaves it to `offsets.retention.minutes`."""


UNSTABLE = CommittedOffset(-1, -1, "", -1)
"""Stands for an offset that an open transaction may change, where a stable one was asked for (KIP-447)."""

Place = tuple[str, TopicPartition]
"""A group and a partition."""


class _Pending(NamedTuple):
    """A transaction's offset, in the order in which such came; None: a later commit has overtaken it."""

    order: int
    committed: CommittedOffset | None


def _is_over(offset: CommittedOffset, since_ms: int | None, now: Now, retention_ms: int) -> bool:
    if since_ms is None:
        return False
    if offset.expire_timestamp_ms >= 0:
        return now.wall_ms >= offset.expire_timestamp_ms
    return now.wall_ms - since_ms >= retention_ms


class GroupOffsets:
    """Offsets by group and partition."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[TopicPartition, CommittedOffset]] = {}
        self._pending: dict[int, dict[Place, _Pending]] = {}
        """By producer id."""
        self._open: dict[str, dict[TopicPartition, set[int]]] = {}
        """The producers whose open transactions have an offset there."""
        self._order = 0

    def of(self, group_id: str) -> Mapping[TopicPartition, CommittedOffset]:
        """All that the group has committed."""
        return self._groups.get(group_id, {})

    def groups(self) -> Collection[str]:
        """The groups that have committed something."""
        return self._groups.keys()

    def __contains__(self, group_id: str) -> bool:
        """Whether a group has committed anything, or may have by an open transaction."""
        return group_id in self._groups or group_id in self._open

    def is_pending(self, group_id: str, tp: TopicPartition) -> bool:
        """Whether an open transaction may change this offset."""
        return tp in self._open.get(group_id, ())

    def fetch(
        self, group_id: str, partitions: Iterable[TopicPartition] | None, *, stable: bool
    ) -> dict[TopicPartition, CommittedOffset | None]:
        """What is committed for these partitions, or with None for all that have an offset."""
        committed = self.of(group_id)
        return {
            tp: UNSTABLE if stable and self.is_pending(group_id, tp) else committed.get(tp)
            for tp in (committed if partitions is None else partitions)
        }

    def commit(
        self,
        group_id: str,
        offsets: Mapping[TopicPartition, OffsetToCommit],
        max_metadata_bytes: int,
        now: Now,
        draft: Draft,
    ) -> dict[TopicPartition, ErrorCode]:
        """Writes offsets whose metadata isn't too long; an error code for each."""
        answer = {}
        for tp, asked in offsets.items():
            metadata = asked.metadata or ""
            # Kafka counts Java's characters, whatever the key's name says.
            if len(metadata.encode("utf-16-le")) // 2 > max_metadata_bytes:
                answer[tp] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                continue
            answer[tp] = ErrorCode.NONE
            committed = CommittedOffset(
                asked.offset,
                asked.leader_epoch,
                metadata,
                now.wall_ms if asked.commit_timestamp_ms < 0 else asked.commit_timestamp_ms,
                -1 if asked.retention_ms < 0 else min(now.wall_ms + asked.retention_ms, LATEST_MS),
            )
            draft.records.append(offset_record(group_id, tp, committed))
        return answer

    def delete(self, group_id: str, partitions: Iterable[TopicPartition], draft: Draft) -> None:
        """Writes a tombstone for each of these partitions that has an offset, or may get one."""
        committed = self.of(group_id)
        draft.records += [
            offset_record(group_id, tp, None) for tp in partitions if tp in committed or self.is_pending(group_id, tp)
        ]

    def delete_all(self, group_id: str, draft: Draft) -> None:
        """Writes tombstones for all that a group has committed, or may have."""
        self.delete(group_id, dict.fromkeys([*self.of(group_id), *self._open.get(group_id, ())]), draft)

    def delete_topics(self, topics: Collection[str], draft: Draft) -> None:
        """Writes tombstones for every group's offsets of topics that are gone."""
        for group_id in dict.fromkeys([*self._groups, *self._open]):
            known = dict.fromkeys([*self.of(group_id), *self._open.get(group_id, ())])
            self.delete(group_id, [tp for tp in known if tp.topic in topics], draft)

    def expire(self, group: Group, now: Now, retention_ms: int, draft: Draft) -> bool:
        """Writes tombstones for offsets that are kept no longer; whether the group then has none (KIP-211).

        An offset goes at the time that its commit named (versions 2-4), else when the group hasn't used it for the
        retention; never one of a topic that a member reads, or that an open transaction may change.
        """
        subscribed = group.subscribed_topics()
        committed = self.of(group.group_id)
        expired = [
            tp
            for tp, offset in committed.items()
            if subscribed is not None
            and tp.topic not in subscribed
            and not self.is_pending(group.group_id, tp)
            and _is_over(offset, group.offsets_idle_since(offset), now, retention_ms)
        ]
        self.delete(group.group_id, expired, draft)
        return len(expired) == len(committed) and group.group_id not in self._open

    def replay_pending(self, entry: OffsetEntry, producer_id: int) -> None:
        """Takes a record of an open transaction for the truth."""
        if entry.committed is None:
            self.replay(entry)
            return
        self._order += 1
        place = entry.group_id, entry.topic_partition
        self._pending.setdefault(producer_id, {})[place] = _Pending(self._order, entry.committed)
        self._open.setdefault(entry.group_id, {}).setdefault(entry.topic_partition, set()).add(producer_id)

    def replay_marker(self, producer_id: int, *, committed: bool) -> list[str]:
        """A transaction is decided: its offsets count, but where a later commit came first; says whose they were."""
        pending = self._pending.pop(producer_id, {})
        for (group_id, tp), offset in pending.items():
            self._close(group_id, tp, producer_id)
            if committed and offset.committed is not None:
                self._groups.setdefault(group_id, {})[tp] = offset.committed
                self._overtake(group_id, tp, offset.order)
        return list(dict.fromkeys(group_id for group_id, _ in pending))

    def _close(self, group_id: str, tp: TopicPartition, producer_id: int) -> None:
        partitions = self._open[group_id]
        partitions[tp].discard(producer_id)
        if not partitions[tp]:
            del partitions[tp]
        if not partitions:
            del self._open[group_id]

    def _overtake(self, group_id: str, tp: TopicPartition, order: int) -> None:
        """What open transactions have had pending before this no longer counts when they commit."""
        for producer_id in self._open.get(group_id, {}).get(tp, ()):
            pending = self._pending[producer_id]
            if pending[group_id, tp].order < order:
                pending[group_id, tp] = _Pending(order, None)

    def replay(self, entry: OffsetEntry) -> None:
        """Takes the record for the truth."""
        if entry.committed is not None:
            self._groups.setdefault(entry.group_id, {})[entry.topic_partition] = entry.committed
            if entry.group_id in self._open:
                self._order += 1
                self._overtake(entry.group_id, entry.topic_partition, self._order)
            return
        for producer_id in list(self._open.get(entry.group_id, {}).get(entry.topic_partition, ())):
            self._close(entry.group_id, entry.topic_partition, producer_id)
            del self._pending[producer_id][entry.group_id, entry.topic_partition]
        committed = self._groups.get(entry.group_id)
        if committed is not None:
            committed.pop(entry.topic_partition, None)
            if not committed:
                del self._groups[entry.group_id]
