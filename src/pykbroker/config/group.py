"""The keys of a group's dynamic config, each declared once, with the broker key behind its default."""

from __future__ import annotations

from typing import Any

from pykbroker.config.keys import Boolean, Int, Key, String, keys_of


class GroupKeys:
    """What a group may set, by attribute: `consumer.session.timeout.ms` is `consumer_session_timeout_ms`."""

    consumer_assignment_interval_ms = Int(1000, valid="[0,...]", source="group.consumer.assignment.interval.ms")
    consumer_heartbeat_interval_ms = Int(5000, valid="[1,...]", source="group.consumer.heartbeat.interval.ms")
    consumer_session_timeout_ms = Int(45000, valid="[1,...]", source="group.consumer.session.timeout.ms")
    share_assignment_interval_ms = Int(1000, valid="[0,...]", source="group.share.assignment.interval.ms")
    share_auto_offset_reset = String("latest", valid="[latest, earliest, by_duration:PnDTnHnMn.nS]")
    share_delivery_count_limit = Int(5, valid="[2,...]", source="group.share.delivery.count.limit")
    share_heartbeat_interval_ms = Int(5000, valid="[1,...]", source="group.share.heartbeat.interval.ms")
    share_isolation_level = String("read_uncommitted", valid="[read_committed, read_uncommitted]")
    share_partition_max_record_locks = Int(2000, valid="[100,...]", source="group.share.partition.max.record.locks")
    share_record_lock_duration_ms = Int(30000, valid="[1000,...]", source="group.share.record.lock.duration.ms")
    share_renew_acknowledge_enable = Boolean(True)
    share_session_timeout_ms = Int(45000, valid="[1,...]", source="group.share.session.timeout.ms")
    streams_assignment_interval_ms = Int(1000, valid="[0,...]", source="group.streams.assignment.interval.ms")
    streams_heartbeat_interval_ms = Int(5000, valid="[1,...]", source="group.streams.heartbeat.interval.ms")
    streams_initial_rebalance_delay_ms = Int(3000, valid="[0,...]", source="group.streams.initial.rebalance.delay.ms")
    streams_num_standby_replicas = Int(0, valid="[0,...]", source="group.streams.num.standby.replicas")
    streams_session_timeout_ms = Int(45000, valid="[1,...]", source="group.streams.session.timeout.ms")


GROUP_KEYS: dict[str, Key[Any]] = keys_of(GroupKeys)
