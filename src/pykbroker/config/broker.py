"""A broker's config: the values of `BrokerKeys` from texts, checked, with what was set.

It applies Kafka's synonyms (`log.retention.ms` before minutes before hours, `node.id` and `broker.id`).
It never reads a file or the environment: `properties.py` and the command line do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pykbroker.config.broker_keys import BrokerKeys
from pykbroker.config.keys import ConfigError, Key, keys_of, nearest
from pykbroker.config.listeners import Listener, parse_advertised, parse_listeners, protocol_map
from pykbroker.config.topic import TOPIC_KEYS

BROKER_KEYS: dict[str, Key[Any]] = keys_of(BrokerKeys)

HOUR_MS = 3_600_000

# In order of precedence, as DescribeConfigs shows them.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    name: group
    for group in (
        ("log.roll.ms", "log.roll.hours"),
        ("log.roll.jitter.ms", "log.roll.jitter.hours"),
        ("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
    )
    for name in group
} | {"log.flush.interval.ms": ("log.flush.interval.ms", "log.flush.scheduler.interval.ms")}

# Keys of an authorizer or a plugin, which no table lists; their presence is no mistake.
_ELSEWHERE = (
    "super.users",
    "allow.everyone.if.no.acl.found",
    "internal.",
    "config.providers.",
    "rlmm.config.",
    "rsm.config.",
)


class BrokerConfig(BrokerKeys):
    """A broker's values by attribute (`config.socket_request_max_bytes`), typed; it doesn't change.

    `BrokerConfig(num_partitions=3)` sets values as they are, for those who embed a broker; `from_properties` parses
    and checks texts.
    """

    given: Mapping[str, str]
    """The texts that were set, by Kafka's name; everything else has its default."""
    unknown: Mapping[str, str]
    """What was set under names that no broker knows."""
    dynamic: Mapping[str, str] = MappingProxyType({})
    """What is set for this broker while it runs (KIP-226); see `live.LiveConfig`."""
    dynamic_default: Mapping[str, str] = MappingProxyType({})
    """What is set for all brokers of the cluster while they run."""

    def __init__(self, **values: Any) -> None:
        stray = values.keys() - _DEFAULTS.keys()
        if stray:
            raise TypeError(f"no broker config is called {', '.join(sorted(stray))}")
        given = {key.name: key.format(values[key.attribute]) or "" for key in _KEYS if key.attribute in values}
        self.__dict__.update(_DEFAULTS, given=given, unknown={})
        self.__dict__.update(values)
        self._apply_synonyms()

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> BrokerConfig:
        """Parses and checks texts by Kafka's names; raises ConfigError for the first value that isn't allowed."""
        values: dict[str, Any] = {}
        unknown: dict[str, str] = {}
        for name, text in properties.items():
            key = BROKER_KEYS.get(name)
            if key is None:
                unknown[name] = text
            else:
                values[key.attribute] = _parse(key, text)
        config = cls(**values)
        config.__dict__["given"] = {name: text for name, text in properties.items() if name in BROKER_KEYS}
        config.__dict__["unknown"] = unknown
        config._check()
        return config

    def with_properties(self, properties: Mapping[str, str]) -> BrokerConfig:
        """This config with some texts set over it."""
        return BrokerConfig.from_properties({**self.given, **self.unknown, **properties})

    @property
    def static_config(self) -> BrokerConfig:
        """What the broker was started with."""
        static: BrokerConfig = self.__dict__.get("static", self)
        return static

    def subscribe(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Has `changed` called with the names of keys that have another value now: never, as this doesn't change."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a BrokerConfig doesn't change: use with_properties()")

    def is_set(self, name: str) -> bool:
        """Whether a key, by Kafka's name, was given a value, be it the default's."""
        return name in self.given

    def value(self, name: str) -> Any:
        """The value of a key by Kafka's name."""
        return getattr(self, BROKER_KEYS[name].attribute)

    def warnings(self) -> list[str]:
        """A line for each name that no broker knows, with the known one nearest to it."""
        lines = []
        for name in self.unknown:
            if name.startswith(_ELSEWHERE) or _without_listener(name) in BROKER_KEYS:
                continue
            known = nearest(name, BROKER_KEYS)
            lines.append(f"unknown config {name}" + (f": did you mean {known}?" if known else ""))
        return lines

    def topic_defaults(self) -> dict[str, Any]:
        """The values, by attribute of LogConfig, that a topic without overrides has on this broker."""
        values = {attribute: getattr(self, broker_attribute) for attribute, broker_attribute in _TOPIC_SOURCES}
        values["retention_ms"] = self.retention_ms
        values["segment_ms"] = self.roll_ms
        values["segment_jitter_ms"] = self.roll_jitter_ms
        values["flush_ms"] = self.flush_interval_ms
        return values

    @property
    def retention_ms(self) -> int:
        """`log.retention.ms`, else minutes, else hours; -1 for no limit."""
        if self.log_retention_ms is not None:
            value = self.log_retention_ms
        elif self.log_retention_minutes is not None:
            value = self.log_retention_minutes * 60_000
        else:
            value = self.log_retention_hours * HOUR_MS
        return max(value, -1)

    @property
    def roll_ms(self) -> int:
        """`log.roll.ms`, else hours."""
        return self.log_roll_hours * HOUR_MS if self.log_roll_ms is None else self.log_roll_ms

    @property
    def roll_jitter_ms(self) -> int:
        """`log.roll.jitter.ms`, else hours."""
        return self.log_roll_jitter_hours * HOUR_MS if self.log_roll_jitter_ms is None else self.log_roll_jitter_ms

    @property
    def flush_interval_ms(self) -> int:
        """`log.flush.interval.ms`, else the scheduler's interval."""
        return (
            self.log_flush_scheduler_interval_ms if self.log_flush_interval_ms is None else self.log_flush_interval_ms
        )

    @property
    def log_directories(self) -> tuple[str, ...]:
        """`log.dirs`, else `log.dir`."""
        return self.log_dirs or self.log_dir

    @property
    def broker_listeners(self) -> tuple[Listener, ...]:
        """`listeners`, parsed, without those of a KRaft controller."""
        protocols = protocol_map(self.listener_security_protocol_map)
        return parse_listeners(self.listeners, protocols, without=self.controller_listener_names or ())

    @property
    def inter_broker_listener(self) -> str:
        """`inter.broker.listener.name`, else the first listener of `security.inter.broker.protocol`, else the first."""
        if self.inter_broker_listener_name is not None:
            return self.inter_broker_listener_name.upper()
        listeners = self.broker_listeners
        protocol = self.security_inter_broker_protocol
        return next((one.name for one in listeners if one.security_protocol == protocol), listeners[0].name)

    @property
    def advertised(self) -> tuple[Listener, ...]:
        """`advertised.listeners`, parsed; empty where it isn't set."""
        if not self.advertised_listeners:
            return ()
        protocols = protocol_map(self.listener_security_protocol_map)
        without = self.controller_listener_names or ()
        return parse_advertised(self.advertised_listeners, protocols, self.broker_listeners, without=without)

    def _apply_synonyms(self) -> None:
        if self.broker_id >= 0 and "node.id" not in self.given:
            self.__dict__["node_id"] = self.broker_id
        else:
            self.__dict__["broker_id"] = self.node_id

    def _check(self) -> None:
        given = self.given
        listeners = self.broker_listeners
        inter_broker = self.inter_broker_listener_name
        if inter_broker is not None and inter_broker.upper() not in [listener.name for listener in listeners]:
            known = ", ".join(listener.name for listener in listeners)
            raise ConfigError("inter.broker.listener.name", inter_broker, f"must be the name of a listener: {known}")
        _ = self.advertised
        if "broker.id" in given and "node.id" in given and int(given["broker.id"]) not in (-1, int(given["node.id"])):
            raise ConfigError(
                "broker.id", given["broker.id"], f"node.id is {given['node.id']}: set one of them, or both alike"
            )
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ConfigError(
                "group.min.session.timeout.ms",
                str(self.group_min_session_timeout_ms),
                f"Value must be no more than group.max.session.timeout.ms ({self.group_max_session_timeout_ms})",
            )
        for name in ("log.retention.ms", "log.retention.minutes", "log.retention.hours"):
            if self.value(name) == 0:
                raise ConfigError(name, given.get(name, "0"), "Value must be at least 1, or -1 for no limit")


_KEYS = tuple(BROKER_KEYS.values())
_DEFAULTS: dict[str, Any] = {key.attribute: key.ours for key in _KEYS}
_TOPIC_SOURCES = [
    (key.attribute, BROKER_KEYS[key.source].attribute) for key in TOPIC_KEYS.values() if key.source is not None
]


def _parse(key: Key[Any], text: str) -> Any:
    if not text.strip() and key.ours is None:
        return None
    try:
        return key.parse(text)
    except ConfigError as error:
        if key.sensitive:
            raise ConfigError(key.name, "[hidden]", error.allowed) from None
        raise


def _without_listener(name: str) -> str:
    """`listener.name.internal.ssl.protocol` → `ssl.protocol`; SASL's mechanism is left out likewise."""
    if not name.startswith("listener.name."):
        return name
    parts = name.split(".")[3:]
    rest = ".".join(parts)
    return rest if rest in BROKER_KEYS else ".".join(parts[1:])
