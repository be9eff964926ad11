"""What DescribeConfigs says of a broker's, a topic's, a group's config: each key's value, source, type and synonyms.

Synonyms come in order of precedence; the first of them that is set is the source. It never reads the metadata store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pykbroker.config.broker import BROKER_KEYS, SYNONYMS, BrokerConfig
from pykbroker.config.client_metrics import CLIENT_METRICS_KEYS
from pykbroker.config.dynamic import base_name, is_dynamic
from pykbroker.config.group import GROUP_KEYS
from pykbroker.config.keys import Key
from pykbroker.config.topic import TOPIC_KEYS, LogConfig

DYNAMIC_TOPIC = 1
DYNAMIC_BROKER = 2
DYNAMIC_DEFAULT_BROKER = 3
STATIC_BROKER = 4
DEFAULT = 5
DYNAMIC_BROKER_LOGGER = 6
CLIENT_METRICS = 7
DYNAMIC_GROUP = 8

TYPES = {
    "boolean": 1,
    "string": 2,
    "int": 3,
    "short": 4,
    "long": 5,
    "double": 6,
    "list": 7,
    "class": 8,
    "password": 9,
}
UNKNOWN_TYPE = 0

# Kafka knows these as dynamic configs alone and doesn't show them until they are set.
_DYNAMIC_ONLY = frozenset(
    (
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    )
)

# User interfaces tell what a cluster can do by the level of metadata.version, which one on ZooKeeper lacks, or by this
# key: Kafka 3.9's brokers show it.
_SHOWN_ALL_THE_SAME = "inter.broker.protocol.version"


class Synonym(NamedTuple):
    """A key whose value stands in where those before it aren't set."""

    name: str
    value: str | None
    source: int


class ConfigEntry(NamedTuple):
    """One key as DescribeConfigs shows it; the value of a sensitive one is None."""

    name: str
    value: str | None
    source: int
    type: int
    read_only: bool = False
    sensitive: bool = False
    synonyms: tuple[Synonym, ...] = ()


def describe_broker(config: BrokerConfig) -> list[ConfigEntry]:
    """Every key that Kafka 4.3's brokers have, of older ones those that are set; then the unknown ones, hidden.

    And the inter-broker protocol's version.
    """
    entries = []
    for name, key in BROKER_KEYS.items():
        if config.is_set(name) or name == _SHOWN_ALL_THE_SAME or not (key.removed or name in _DYNAMIC_ONLY):
            value = _effective(config, name, key)
            entries.append(_entry(key, value, _broker_synonyms(config, name), read_only=not is_dynamic(name)))
    entries += [_unknown(config, name) for name in config.unknown]
    return sorted(entries)


def describe_cluster_default(config: BrokerConfig) -> list[ConfigEntry]:
    """What is set dynamically for all brokers at once, and nothing else."""
    entries = []
    for name, text in config.dynamic_default.items():
        key = BROKER_KEYS.get(name)
        if key is None:
            entries.append(_unknown(config, name))
            continue
        synonyms = [one for one in _broker_synonyms(config, name) if one.source == DYNAMIC_DEFAULT_BROKER]
        entries.append(_entry(key, key.format(key.parse(text)), synonyms, read_only=not is_dynamic(name)))
    return sorted(entries)


def _unknown(config: BrokerConfig, name: str) -> ConfigEntry:
    """A key of a plugin, or one with a listener's prefix: nobody knows whether it is a secret."""
    synonyms = tuple(_set_synonyms(config, (name, base_name(name)) if base_name(name) != name else (name,)))
    source = synonyms[0].source if synonyms else STATIC_BROKER
    key = BROKER_KEYS.get(base_name(name))
    return (
        ConfigEntry(name, None, source, UNKNOWN_TYPE, not is_dynamic(name), True, synonyms)
        if key is None
        else (
            ConfigEntry(
                name,
                None if key.sensitive else config.unknown[name],
                source,
                TYPES[key.kind],
                not is_dynamic(name),
                key.sensitive,
                synonyms,
            )
        )
    )


def describe_topic(config: BrokerConfig, overrides: Mapping[str, str]) -> list[ConfigEntry]:
    """Every key that Kafka 4.3's topics have, and of older ones those that are set."""
    effective = LogConfig.resolve(config, overrides)
    return [
        _override_entry(config, key, getattr(effective, key.attribute), overrides, DYNAMIC_TOPIC)
        for name, key in TOPIC_KEYS.items()
        if not key.removed or name in overrides
    ]


def describe_group(config: BrokerConfig, overrides: Mapping[str, str]) -> list[ConfigEntry]:
    """Every key that a group's config has."""
    entries = []
    for name, key in GROUP_KEYS.items():
        if name in overrides:
            value = key.parse(overrides[name])
        else:
            value = key.ours if key.source is None else config.value(key.source)
        entry = _override_entry(config, key, value, overrides, DYNAMIC_GROUP)
        if key.source is None:
            entry = entry._replace(synonyms=(*entry.synonyms, Synonym(name, key.format(key.ours), DEFAULT)))
        entries.append(entry)
    return entries


def describe_client_metrics(overrides: Mapping[str, str]) -> list[ConfigEntry]:
    """Every key of a client metrics subscription, whether somebody has made it or not."""
    entries = []
    for name, key in CLIENT_METRICS_KEYS.items():
        value = key.format(key.parse(overrides[name]) if name in overrides else key.ours)
        synonyms = (Synonym(name, value, CLIENT_METRICS),) if name in overrides else ()
        entries.append(_entry(key, value, synonyms, read_only=False))
    return entries


def _effective(config: BrokerConfig, name: str, key: Key[Any]) -> str | None:
    if name == "log.dirs" and config.log_dirs is None:
        return None
    return key.format(config.value(name))


def _override_entry(
    config: BrokerConfig, key: Key[Any], value: Any, overrides: Mapping[str, str], source: int
) -> ConfigEntry:
    synonyms = list(_broker_synonyms(config, key.source)) if key.source is not None else []
    if key.name in overrides:
        synonyms.insert(0, Synonym(key.name, overrides[key.name], source))
    return _entry(key, key.format(value), synonyms, read_only=False)


def _entry(key: Key[Any], value: str | None, synonyms: Iterable[Synonym], *, read_only: bool) -> ConfigEntry:
    all_synonyms = tuple(synonyms)
    source = all_synonyms[0].source if all_synonyms else DEFAULT
    shown = None if key.sensitive else value
    return ConfigEntry(key.name, shown, source, TYPES[key.kind], read_only, key.sensitive, all_synonyms)


def _broker_synonyms(config: BrokerConfig, name: str) -> list[Synonym]:
    """Those that are set, this broker's dynamic ones first and its static ones last; then the default of the key."""
    found = _set_synonyms(config, SYNONYMS.get(name, (name,)))
    own = BROKER_KEYS[name]
    if own.ours is not None:
        found.append(Synonym(name, None if own.sensitive else own.format(own.ours), DEFAULT))
    return found


def _set_synonyms(config: BrokerConfig, names: Iterable[str]) -> list[Synonym]:
    static = config.static_config
    names = tuple(names)
    layers = (
        (DYNAMIC_BROKER, config.dynamic),
        (DYNAMIC_DEFAULT_BROKER, config.dynamic_default),
        (STATIC_BROKER, {**static.given, **static.unknown}),
    )
    found = []
    for source, texts in layers:
        for name in names:
            if name in texts:
                key = BROKER_KEYS.get(name)
                if key is None:
                    shown = BROKER_KEYS.get(base_name(name))
                    text = None if shown is None or shown.sensitive else texts[name]
                elif source == STATIC_BROKER:
                    text = key.format(static.value(name))
                else:
                    text = key.format(key.parse(texts[name]))
                found.append(Synonym(name, None if key is not None and key.sensitive else text, source))
    return found
