"""How many bytes a second may go to, or come from, replicas that aren't in sync (KIP-73).

A reassignment or a broker that comes back must not take the bandwidth that producers need; replicas in sync are never
held back. It counts bytes in windows; times are seconds, handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

ALL = "*"


@lru_cache(maxsize=1024)
def _named(entries: Sequence[str], broker: int) -> frozenset[int] | None:
    """The partitions that a topic's list of `partition:broker` throttles on a broker; None for all of them."""
    if tuple(entries) == (ALL,):
        return None
    found = set()
    for entry in entries:
        partition, _, replica = entry.partition(":")
        if replica == str(broker) and partition.isdigit():
            found.add(int(partition))
    return frozenset(found)


def is_named(entries: Sequence[str], partition: int, broker: int) -> bool:
    """Whether `leader.` or `follower.replication.throttled.replicas` names a partition's replica on a broker."""
    if not entries:
        return False
    named = _named(tuple(entries), broker)
    return named is None or partition in named


class ReplicationQuota:
    """Bytes in the last windows: `replication.quota.window.num` of `replication.quota.window.size.seconds`."""

    def __init__(self, windows: int, seconds: float) -> None:
        self._windows = windows
        self._seconds = seconds
        self._counts: deque[tuple[float, int]] = deque()
        """When each window began, and its bytes."""

    def record(self, size: int, now: float) -> None:
        """So many bytes went over now."""
        if self._counts and now - self._counts[-1][0] < self._seconds:
            began, known = self._counts[-1]
            self._counts[-1] = began, known + size
        else:
            self._counts.append((now, size))

    def rate(self, now: float) -> float:
        """Bytes a second, over the windows of which the current one is a part: at least all but one are whole."""
        while self._counts and now - self._counts[0][0] >= self._windows * self._seconds:
            self._counts.popleft()
        if not self._counts:
            return 0.0
        elapsed = max(now - self._counts[0][0], (self._windows - 1) * self._seconds, self._seconds)
        return sum(size for _, size in self._counts) / elapsed

    def is_exceeded(self, limit: float, now: float) -> bool:
        """Whether the rate is above a limit (bytes a second)."""
        return bool(self._counts) and self.rate(now) > limit
