"""The committed offsets of a shard's groups: what a commit, a deletion and a vanished topic write, what a fetch reads.

Only `replay` changes them. Whether a member may commit is the group's to say, whether a topic exists the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pykbroker.coordinator.group.records import CommittedOffset, OffsetEntry, offset_record
from pykbroker.coordinator.result import Draft, Now
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.topic_partition import TopicPartition


class OffsetToCommit(NamedTuple):
    """One partition of an OffsetCommit, of whatever version."""

    offset: int
    leader_epoch: int = -1
    metadata: str | None = ""
    commit_timestamp_ms: int = -1
    """Version 1 alone says when; -1 is now."""
    retention_ms: int = -1
    """Versions 2-4 may say how long to keep it; -1 leaves it to `offsets.retention.minutes`."""


class GroupOffsets:
    """Offsets by group and partition."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[TopicPartition, CommittedOffset]] = {}

    def of(self, group_id: str) -> Mapping[TopicPartition, CommittedOffset]:
        """All that the group has committed."""
        return self._groups.get(group_id, {})

    def groups(self) -> Collection[str]:
        """The groups that have committed something."""
        return self._groups.keys()

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
            if len(metadata.encode()) > max_metadata_bytes:
                answer[tp] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                continue
            answer[tp] = ErrorCode.NONE
            committed = CommittedOffset(
                asked.offset,
                asked.leader_epoch,
                metadata,
                now.wall_ms if asked.commit_timestamp_ms < 0 else asked.commit_timestamp_ms,
                -1 if asked.retention_ms < 0 else now.wall_ms + asked.retention_ms,
            )
            draft.records.append(offset_record(group_id, tp, committed))
        return answer

    def delete(self, group_id: str, partitions: Iterable[TopicPartition], draft: Draft) -> None:
        """Writes a tombstone for each of these partitions that has an offset."""
        committed = self.of(group_id)
        draft.records += [offset_record(group_id, tp, None) for tp in partitions if tp in committed]

    def delete_topics(self, topics: Collection[str], draft: Draft) -> None:
        """Writes tombstones for every group's offsets of topics that are gone."""
        for group_id, committed in self._groups.items():
            self.delete(group_id, [tp for tp in committed if tp.topic in topics], draft)

    def replay(self, entry: OffsetEntry) -> None:
        """Takes the record for the truth."""
        if entry.committed is not None:
            self._groups.setdefault(entry.group_id, {})[entry.topic_partition] = entry.committed
            return
        committed = self._groups.get(entry.group_id)
        if committed is not None:
            committed.pop(entry.topic_partition, None)
            if not committed:
                del self._groups[entry.group_id]
