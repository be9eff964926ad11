"""The keys of a topic, each declared once, and `LogConfig`, which holds a topic's values.

A topic's value is its own override, else the value of the broker key behind it, else Kafka's default.
It never reads the metadata store and never knows a topic's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.config.keys import MAX_LONG, Boolean, ConfigError, Double, Int, Key, List, Long, String, keys_of

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig


class TopicKeys:
    """What a topic may set, by attribute: `segment.bytes` is `segment_bytes`."""

    cleanup_policy = List("delete", valid="[compact, delete]", source="log.cleanup.policy")
    compression_gzip_level = Int(-1, valid="[1,...,9] or -1", source="compression.gzip.level")
    compression_lz4_level = Int(9, valid="[1,...,17]", source="compression.lz4.level")
    compression_type = String(
        "producer", valid="[uncompressed, zstd, lz4, snappy, gzip, producer]", source="compression.type"
    )
    compression_zstd_level = Int(3, valid="[-131072,...,22]", source="compression.zstd.level")
    delete_retention_ms = Long(86400000, valid="[0,...]", source="log.cleaner.delete.retention.ms")
    file_delete_delay_ms = Long(60000, valid="[0,...]", source="log.segment.delete.delay.ms")
    flush_messages = Long(MAX_LONG, valid="[1,...]", source="log.flush.interval.messages")
    flush_ms = Long(MAX_LONG, valid="[0,...]", source="log.flush.interval.ms")
    follower_replication_throttled_replicas = List("", valid="[partitionId]:[brokerId],[partitionId]:[brokerId],...")
    index_interval_bytes = Int(4096, valid="[0,...]", source="log.index.interval.bytes")
    leader_replication_throttled_replicas = List("", valid="[partitionId]:[brokerId],[partitionId]:[brokerId],...")
    local_retention_bytes = Long(-2, valid="[-2,...]", source="log.local.retention.bytes")
    local_retention_ms = Long(-2, valid="[-2,...]", source="log.local.retention.ms")
    max_compaction_lag_ms = Long(MAX_LONG, valid="[1,...]", source="log.cleaner.max.compaction.lag.ms")
    max_message_bytes = Int(1048588, valid="[0,...]", source="message.max.bytes")
    message_timestamp_after_max_ms = Long(3600000, valid="[0,...]", source="log.message.timestamp.after.max.ms")
    message_timestamp_before_max_ms = Long(MAX_LONG, valid="[0,...]", source="log.message.timestamp.before.max.ms")
    message_timestamp_type = String(
        "CreateTime", valid="[CreateTime, LogAppendTime]", source="log.message.timestamp.type"
    )
    min_cleanable_dirty_ratio = Double(0.5, valid="[0,...,1]", source="log.cleaner.min.cleanable.ratio")
    min_compaction_lag_ms = Long(0, valid="[0,...]", source="log.cleaner.min.compaction.lag.ms")
    min_insync_replicas = Int(1, valid="[1,...]", source="min.insync.replicas")
    preallocate = Boolean(False, source="log.preallocate")
    remote_log_copy_disable = Boolean(False)
    remote_log_delete_on_disable = Boolean(False)
    remote_storage_enable = Boolean(False)
    retention_bytes = Long(-1, source="log.retention.bytes")
    retention_ms = Long(604800000, valid="[-1,...]", source="log.retention.ms")
    segment_bytes = Int(1073741824, valid="[1048576,...]", source="log.segment.bytes")
    segment_index_bytes = Int(10485760, valid="[4,...]", source="log.index.size.max.bytes")
    segment_jitter_ms = Long(0, valid="[0,...]", source="log.roll.jitter.ms")
    segment_ms = Long(604800000, valid="[1,...]", source="log.roll.ms")
    unclean_leader_election_enable = Boolean(False, source="unclean.leader.election.enable")

    # Kafka 3.9 and before
    message_downconversion_enable = Boolean(True, source="log.message.downconversion.enable", removed=True)
    message_format_version = String("3.0-IV1", source="log.message.format.version", removed=True)
    message_timestamp_difference_max_ms = Long(
        MAX_LONG, valid="[0,...]", source="log.message.timestamp.difference.max.ms", removed=True
    )


TOPIC_KEYS: dict[str, Key[Any]] = keys_of(TopicKeys)


class LogConfig(TopicKeys):
    """A topic's values, typed; `LogConfig()` has Kafka's defaults; `LogConfig(segment_bytes=1000)` checks nothing.

    It doesn't change: `replace` makes another. Topics without overrides share one object.
    """

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - _DEFAULTS.keys()
        if unknown:
            raise TypeError(f"no topic config is called {', '.join(sorted(unknown))}")
        self.__dict__.update(_DEFAULTS)
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a LogConfig doesn't change: use replace()")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogConfig) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in self.__dict__.items() if value != _DEFAULTS[name]]
        return f"LogConfig({', '.join(changed)})"

    def replace(self, **values: Any) -> LogConfig:
        """The same values but for those given, by attribute, unchecked."""
        return LogConfig(**{**self.__dict__, **values})

    @property
    def compact(self) -> bool:
        """Whether `cleanup.policy` has `compact`."""
        return "compact" in self.cleanup_policy

    @classmethod
    def resolve(cls, broker: BrokerConfig, overrides: Mapping[str, str]) -> LogConfig:
        """A topic's values on a broker, from the topic's own overrides by Kafka's names.

        Overrides that don't parse raise ConfigError; unknown ones (a store of another release) are left out.
        """
        values = broker.topic_defaults()
        values.update(parse_overrides(overrides))
        return cls(**values)


_DEFAULTS: dict[str, Any] = {key.attribute: key.ours for key in TOPIC_KEYS.values()}


def parse_overrides(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Attribute → value of a topic's own overrides; raises ConfigError for a value that isn't allowed."""
    values: dict[str, Any] = {}
    for name, text in overrides.items():
        key = TOPIC_KEYS.get(name)
        if key is not None:
            values[key.attribute] = key.parse(text)
    return values


def validate_overrides(broker: BrokerConfig, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """The overrides of a topic to be made or altered, checked; raises ConfigError at the first bad one."""
    checked: dict[str, str] = {}
    for name, text in overrides.items():
        if text is None:
            raise ConfigError(name, None, f"Null value not supported for topic configs: {name}")
        if name not in TOPIC_KEYS:
            raise ConfigError(name, text, f"Unknown topic config name: {name}")
        checked[name] = text
    config = LogConfig.resolve(broker, checked)
    if config.max_compaction_lag_ms < config.min_compaction_lag_ms:
        lags = f"({config.min_compaction_lag_ms}) > max.compaction.lag.ms ({config.max_compaction_lag_ms})"
        conflict = f"conflict topic config setting min.compaction.lag.ms {lags}"
        raise ConfigError("min.compaction.lag.ms", str(config.min_compaction_lag_ms), conflict)
    return checked
