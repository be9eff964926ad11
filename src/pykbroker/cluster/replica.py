"""A follower as its leader knows it: how far it has fetched, and when it last had everything.

It decides whether a follower counts as caught up. Offsets are record offsets; times are seconds of any clock that
never goes back. It never knows whether the follower is in the ISR.
"""

from __future__ import annotations

UNKNOWN_OFFSET = -1
NEVER = float("-inf")


class RemoteReplica:
    """One follower. Its log's end is known by what it fetches next, so it is known one fetch late."""

    __slots__ = ("_leader_end_at_fetch", "id", "last_caught_up", "last_fetch", "log_end_offset", "log_start_offset")

    def __init__(self, broker_id: int) -> None:
        self.id = broker_id
        self.log_end_offset = UNKNOWN_OFFSET
        self.log_start_offset = UNKNOWN_OFFSET
        self.last_fetch = NEVER
        self.last_caught_up = NEVER
        self._leader_end_at_fetch = UNKNOWN_OFFSET

    def __repr__(self) -> str:
        return f"RemoteReplica({self.id}, {self.log_start_offset}..{self.log_end_offset})"

    def reset(self, now: float, leader_end: int, *, in_sync: bool, new_leader: bool) -> None:
        """A leader epoch begins: a member of the ISR has its full time from now on, another one has to fetch first.

        A leader that was it before still knows how far its followers are; a new one doesn't.
        """
        since = now if in_sync else NEVER
        if new_leader:
            self.log_end_offset = self.log_start_offset = self._leader_end_at_fetch = UNKNOWN_OFFSET
            self.last_fetch = NEVER
        else:
            self._leader_end_at_fetch = leader_end
            self.last_fetch = since
        self.last_caught_up = since

    def fetched(self, offset: int, log_start_offset: int, leader_end: int, now: float) -> None:
        """It fetches from `offset` on while the leader's log ends at `leader_end`.

        It had everything now, or at its fetch before if it has reached what the leader's end was then: under steady
        load it is always behind the end of this moment (KAFKA-1461's rule).
        """
        if offset >= leader_end:
            self.last_caught_up = max(self.last_caught_up, now)
        elif offset >= self._leader_end_at_fetch:
            self.last_caught_up = max(self.last_caught_up, self.last_fetch)
        self.log_end_offset = offset
        self.log_start_offset = log_start_offset
        self.last_fetch = now
        self._leader_end_at_fetch = max(leader_end, self._leader_end_at_fetch)

    def is_caught_up(self, leader_end: int, now: float, max_lag: float) -> bool:
        """Whether it has everything, or had at most `max_lag` seconds ago (`replica.lag.time.max.ms`)."""
        return self.log_end_offset == leader_end or now - self.last_caught_up <= max_lag


def truncation_offset(
    leader_epoch: int, leader_end: int, own_epoch: int, own_end: int, log_end_offset: int, high_watermark: int
) -> int:
    """Where a follower cuts its log when the leader says that `leader_epoch` ended at `leader_end` (KIP-101, KIP-279).

    `own_epoch` and `own_end`: the follower's largest epoch not above `leader_epoch` and where it ended; -1 where it
    knows none. If that is an older epoch, the next fetch finds out about the rest.
    """
    if leader_end == UNKNOWN_OFFSET:
        return high_watermark
    if own_epoch < 0:
        return min(leader_end, log_end_offset)
    if own_epoch != leader_epoch:
        return min(own_end, log_end_offset)
    return min(own_end, leader_end, log_end_offset)
