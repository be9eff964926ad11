"""The states of a classic group, and every way from one to another."""

from __future__ import annotations

from enum import Enum


class GroupState(Enum):
    """Kafka's names, as DescribeGroups and ListGroups spell them."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


EMPTY, PREPARING, COMPLETING, STABLE, DEAD = GroupState

TRANSITIONS: tuple[tuple[GroupState, str, GroupState], ...] = (
    (EMPTY, "a member joins", PREPARING),
    (EMPTY, "a record with members is loaded", STABLE),
    (EMPTY, "the group is deleted", DEAD),
    (PREPARING, "all members have rejoined, or the rebalance timeout is over", COMPLETING),
    (PREPARING, "no member is left", EMPTY),
    (COMPLETING, "the leader has sent the assignment", STABLE),
    (COMPLETING, "a member joins anew or with other metadata, leaves, expires or doesn't sync in time", PREPARING),
    (STABLE, "a member joins anew or with other metadata, leaves, expires or doesn't sync in time", PREPARING),
    (STABLE, "the leader joins again", PREPARING),
)
"""From, why, to."""

ALLOWED = frozenset((before, after) for before, _, after in TRANSITIONS)
