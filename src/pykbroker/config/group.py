"""The keys of a group's dynamic config, each declared once, with the broker key behind its default (KIP-848, KIP-932).

It never reads the metadata store and never knows a group's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pykbroker.config.broker import BROKER_KEYS, BrokerConfig
from pykbroker.config.keys import Boolean, ConfigError, Int, Key, String, keys_of


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

_BOUNDS = {
    "consumer.heartbeat.interval.ms": "group.consumer.{}.heartbeat.interval.ms",
    "consumer.session.timeout.ms": "group.consumer.{}.session.timeout.ms",
    "consumer.assignment.interval.ms": "group.consumer.{}.assignment.interval.ms",
    "share.heartbeat.interval.ms": "group.share.{}.heartbeat.interval.ms",
    "share.session.timeout.ms": "group.share.{}.session.timeout.ms",
    "share.record.lock.duration.ms": "group.share.{}.record.lock.duration.ms",
    "share.delivery.count.limit": "group.share.{}.delivery.count.limit",
    "share.partition.max.record.locks": "group.share.{}.partition.max.record.locks",
    "share.assignment.interval.ms": "group.share.{}.assignment.interval.ms",
    "streams.heartbeat.interval.ms": "group.streams.{}.heartbeat.interval.ms",
    "streams.session.timeout.ms": "group.streams.{}.session.timeout.ms",
    "streams.num.standby.replicas": "group.streams.{}.standby.replicas",
    "streams.assignment.interval.ms": "group.streams.{}.assignment.interval.ms",
}
"""The broker's keys, with `min` or `max` put in, between which a group's value must lie."""
_ONLY_IF_SET = ("consumer.assignment.interval.ms", "share.assignment.interval.ms", "streams.assignment.interval.ms")


class DynamicGroupConfig(GroupKeys):
    """A group's values, typed: its own, else those of the broker keys behind them, else Kafka's default."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    @classmethod
    def resolve(cls, broker: BrokerConfig, overrides: Mapping[str, str]) -> DynamicGroupConfig:
        """A group's values on a broker, from its overrides, within the broker's bounds; unknown ones are left out.

        Raises ConfigError for a value that can't be read.
        """
        values = {}
        for name, key in GROUP_KEYS.items():
            if name in overrides:
                value = key.parse(overrides[name])
                low, high = _bound(broker, name, "min"), _bound(broker, name, "max")
                value = value if low is None else max(value, low[1])
                values[key.attribute] = value if high is None else min(value, high[1])
            else:
                values[key.attribute] = key.ours if key.source is None else broker.value(key.source)
        return cls(**values)


BY_DURATION = "by_duration:"
"""What `share.auto.offset.reset` begins with where it names an age."""


def duration_ms(text: str) -> int:
    """Milliseconds of a duration in days, hours, minutes and seconds: `P3DT12H30M1.5S`, checked before."""
    days, _, rest = text.upper().removeprefix("P").partition("T")
    seconds = float(days.removesuffix("D") or 0) * 86_400
    for unit, factor in (("H", 3600), ("M", 60), ("S", 1)):
        number, found, after = rest.partition(unit)
        if found:
            seconds, rest = seconds + float(number) * factor, after
    return int(seconds * 1000)


def validate_group_overrides(broker: BrokerConfig, overrides: Mapping[str, str]) -> None:
    """Checks all overrides of a group; raises ConfigError, whose `allowed` may be Kafka's whole sentence."""
    for name in overrides:
        if name not in GROUP_KEYS:
            raise ConfigError(name, overrides[name], f"Unknown group config name: {name}")
    values = {}
    for name, key in GROUP_KEYS.items():
        default = key.ours if key.source is None else broker.value(key.source)
        values[name] = key.parse(overrides[name]) if name in overrides else default
    for name in _BOUNDS:
        if name in _ONLY_IF_SET and name not in overrides:
            continue
        low, high = _bound(broker, name, "min"), _bound(broker, name, "max")
        if low is not None and values[name] < low[1]:
            raise ConfigError(name, values[name], f"{name} must be greater than or equal to {low[0]}")
        if high is not None and values[name] > high[1]:
            raise ConfigError(name, values[name], f"{name} must be less than or equal to {high[0]}")
    for kind in ("consumer", "share", "streams"):
        timeout, interval = f"{kind}.session.timeout.ms", f"{kind}.heartbeat.interval.ms"
        if values[timeout] <= values[interval]:
            raise ConfigError(timeout, values[timeout], f"{timeout} must be greater than {interval}")


def _bound(broker: BrokerConfig, name: str, which: str) -> tuple[str, int] | None:
    bound = _BOUNDS.get(name, "").format(which)
    return (bound, broker.value(bound)) if bound in BROKER_KEYS else None
