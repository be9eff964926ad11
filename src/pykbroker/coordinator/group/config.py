"""What a shard is told of the broker that runs it: the broker's settings for groups, the cluster, a group's own config.

All of it changes while the broker runs: read it when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from pykbroker.cluster.image import ClusterImage

NO_CONFIG: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class GroupConfig:
    """The broker's `group.*` and `offset*`, under Kafka's names; times in milliseconds unless named otherwise."""

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 1_800_000
    group_initial_rebalance_delay_ms: int = 0
    group_max_size: int = 2_147_483_647
    group_consumer_session_timeout_ms: int = 45_000
    group_consumer_heartbeat_interval_ms: int = 5_000
    group_consumer_assignment_interval_ms: int = 1_000
    group_consumer_max_size: int = 2_147_483_647
    group_consumer_assignors: Sequence[str] = ("uniform", "range")
    group_consumer_migration_policy: str = "bidirectional"
    group_share_session_timeout_ms: int = 45_000
    group_share_heartbeat_interval_ms: int = 5_000
    group_share_assignment_interval_ms: int = 1_000
    group_share_max_size: int = 200
    group_consumer_regex_refresh_interval_ms: int = 600_000
    """Kafka's key of this name is an internal one, which no broker shows; this broker doesn't read it."""
    offset_metadata_max_bytes: int = 4096
    offsets_retention_minutes: int = 10_080
    offsets_retention_check_interval_ms: int = 600_000


def _no_image() -> ClusterImage:
    return ClusterImage(cluster_id="")


def _no_config(group_id: str) -> Mapping[str, Any]:
    return NO_CONFIG


class Surroundings(NamedTuple):
    """What changes around a shard, to be read at each decision."""

    image: Callable[[], ClusterImage] = _no_image
    """The topics, their partitions and the brokers' racks."""
    group_config: Callable[[str], Mapping[str, Any]] = _no_config
    """A group's dynamic config: parsed values by Kafka's names (`consumer.session.timeout.ms`), those set alone."""
