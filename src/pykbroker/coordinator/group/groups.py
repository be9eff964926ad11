"""The groups of a shard by id, of whatever kind, and which of them is due next.

It finds, keeps and forgets groups; it knows nothing of what they decide.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TypeVar

from pykbroker.coordinator.group.group import Group
from pykbroker.coordinator.group.offsets import GroupOffsets
from pykbroker.coordinator.result import NEVER, Now
from pykbroker.protocol.errors import ErrorCode, KafkaError

G = TypeVar("G", bound=Group)


class Groups(dict[str, Group]):
    """All groups by id."""

    def __init__(self, offsets: GroupOffsets) -> None:
        super().__init__()
        self._offsets = offsets
        self._due: list[tuple[float, str]] = []
        self._scheduled: dict[str, float] = {}

    def find(self, group_id: str, kind: type[G]) -> G:
        """The group of that id and kind. Raises GROUP_ID_NOT_FOUND: there is none, or it is of another kind."""
        group = self.get(group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
        if not isinstance(group, kind):
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a {kind.kind.value} group.")
        return group

    def of_kind(self, group_id: str, kind: type[G]) -> G | None:
        """The group of that id if it is of that kind."""
        group = self.get(group_id)
        return group if isinstance(group, kind) else None

    def keep(self, group: G) -> G:
        """Puts a group in, in place of one with its id."""
        self[group.group_id] = group
        return group

    def settle(self, group_id: str) -> None:
        """After each decision: forgets a group of which nothing is left or written, else notes when it is due."""
        group = self.get(group_id)
        if group is None:
            return
        if group.is_unwritten and group_id not in self._offsets:
            del self[group_id]
        elif group.deadline < self._scheduled.get(group_id, NEVER):
            self._scheduled[group_id] = group.deadline
            heapq.heappush(self._due, (group.deadline, group_id))

    @property
    def deadline(self) -> float:
        """When the next group is due: maybe early, never late."""
        return self._due[0][0] if self._due else NEVER

    def due(self, now: Now) -> Iterator[Group]:
        """The groups that are due; each is to be settled before the next is taken."""
        while self._due and self._due[0][0] <= now.monotonic:
            deadline, group_id = heapq.heappop(self._due)
            if self._scheduled.get(group_id) != deadline:
                continue
            del self._scheduled[group_id]
            group = self.get(group_id)
            if group is not None:
                yield group
