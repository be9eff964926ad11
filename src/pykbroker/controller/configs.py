"""The rules for changing a config: what a resource's overrides come to, or why they can't be so.

Errors are Kafka's codes with its messages. It never writes, and knows nothing of what is stored but what it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pykbroker.config.broker import BROKER_KEYS, BrokerConfig
from pykbroker.config.client_metrics import CLIENT_METRICS_KEYS, MAX_INTERVAL_MS, MIN_INTERVAL_MS, parse_match
from pykbroker.config.dynamic import NotDynamic, check_broker_change
from pykbroker.config.group import GROUP_KEYS, validate_group_overrides
from pykbroker.config.keys import ConfigError, Key, List, split
from pykbroker.config.live import LiveConfig
from pykbroker.config.topic import TOPIC_KEYS, LogConfig
from pykbroker.controller.topics import checked_overrides, invalid_name
from pykbroker.protocol.errors import ErrorCode, KafkaError

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
"""The types of resources that have a config, as DescribeConfigs numbers them."""

SET, DELETE, APPEND, SUBTRACT = range(4)

_OPERATIONS = ("SET", "DELETE", "APPEND", "SUBTRACT")
MAX_VALUE_LENGTH = 32767

_KEYS: Mapping[int, Mapping[str, Key[Any]]] = {
    TOPIC: TOPIC_KEYS,
    BROKER: BROKER_KEYS,
    CLIENT_METRICS: {},  # Kafka's controller doesn't know that two of them are lists.
    GROUP: GROUP_KEYS,
}
"""Where APPEND and SUBTRACT look for lists."""


class Change(NamedTuple):
    """What is done to one key, as IncrementalAlterConfigs has it (KIP-339); DELETE needs no value."""

    key: str
    value: str | None
    operation: int = SET


class Alteration(NamedTuple):
    """The changes of one resource's config; with `replaces` (AlterConfigs), overrides that it doesn't name are gone."""

    name: str
    changes: Sequence[Change]
    replaces: bool = False
    type: int = TOPIC


def check_form(alteration: Alteration) -> None:
    """What is looked at before anything else, for every type. Raises KafkaError."""
    changes = alteration.changes
    if len({change.key for change in changes}) < len(changes):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [change.key for change in changes if change.value is None and change.operation != DELETE]
    if nulls:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(nulls)}")


def plan_topic(config: BrokerConfig, alteration: Alteration, current: Mapping[str, str] | None) -> dict[str, str]:
    """All overrides of a topic as they will be; `current` is None for a topic that isn't there. Raises KafkaError.

    A bad value is found before a missing topic is. Overrides that are unknown here and aren't touched are kept.
    """
    changed = _changed(config, alteration, current or {})
    if not alteration.name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    wrong = invalid_name(alteration.name)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong)
    touched = {change.key for change in alteration.changes}
    kept = {key: value for key, value in changed.items() if key not in TOPIC_KEYS and key not in touched}
    checked = checked_overrides(config, {key: value for key, value in changed.items() if key not in kept})
    if current is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{alteration.name}' does not exist.")
    return kept | checked


def check_broker_name(name: str, node_id: int) -> None:
    """Whether a broker's config is changed at that very broker; the empty name is all brokers'. Raises KafkaError."""
    if not name:
        return
    try:
        broker = int(name)
    except ValueError:
        message = f"Node id must be an integer, but it is: {name}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message) from None
    if broker != node_id:
        message = f"Unexpected broker id, expected {node_id}, but received {name}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message)


def plan_broker(
    config: LiveConfig,
    alteration: Alteration,
    current: Mapping[str, str],
    check: Callable[[BrokerConfig], None] = lambda after: None,
) -> dict[str, str]:
    """All that a broker (a name) or the cluster (no name) will have set dynamically. Raises KafkaError.

    `check` is asked about the config of a broker, as it would be, when the rules have nothing against it.
    """
    check_broker_name(alteration.name, config.node_id)
    changed = _changed(config, alteration, current)
    try:
        check_broker_change(config, changed, per_broker=bool(alteration.name))
        if alteration.name:
            check(config.with_update(own=changed))
    except NotDynamic as error:
        raise KafkaError(ErrorCode.INVALID_REQUEST, str(error)) from None
    except ConfigError as error:
        raise KafkaError(ErrorCode.INVALID_REQUEST, error.kafka_message) from None
    return changed


def plan_client_metrics(config: BrokerConfig, alteration: Alteration, current: Mapping[str, str]) -> dict[str, str]:
    """All that a client metrics subscription will have; nothing ends it. Raises KafkaError."""
    changed = _changed(config, alteration, current)
    if not alteration.name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Subscription name can't be empty")
    for name in changed:
        if name not in CLIENT_METRICS_KEYS:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown client metrics configuration: {name}")
    try:
        values = {name: CLIENT_METRICS_KEYS[name].parse(text) for name, text in changed.items()}
    except ConfigError as error:
        raise KafkaError(ErrorCode.INVALID_CONFIG, error.kafka_message) from None
    interval = values.get("interval.ms")
    if interval is not None and not MIN_INTERVAL_MS <= interval <= MAX_INTERVAL_MS:
        message = f"Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message)
    try:
        parse_match(values.get("match", ()))
    except ValueError as error:
        raise KafkaError(ErrorCode.INVALID_CONFIG, f"Illegal client matching pattern: {error}") from None
    return changed


def plan_group(config: BrokerConfig, alteration: Alteration, current: Mapping[str, str]) -> dict[str, str]:
    """All overrides of a group as they will be, whether it is there or not. Raises KafkaError."""
    changed = _changed(config, alteration, current)
    if not alteration.name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
    try:
        validate_group_overrides(config, changed)
    except ConfigError as error:
        stands_alone = " must be " in error.allowed or error.allowed.startswith("Unknown group")
        message = error.allowed if stands_alone else error.kafka_message
        raise KafkaError(ErrorCode.INVALID_CONFIG, message) from None
    return changed


def _changed(config: BrokerConfig, alteration: Alteration, before: Mapping[str, str]) -> dict[str, str]:
    current = {} if alteration.replaces else dict(before)
    for key, value, operation in alteration.changes:
        if not 0 <= operation < len(_OPERATIONS):
            # Kafka answers so, as its controller meets an operation that it can't name.
            raise _unknown_operation(alteration.type, operation)
        if operation == DELETE or value is None:
            current.pop(key, None)
        elif operation == SET:
            current[key] = value
        else:
            current[key] = ",".join(_listed(config, current, Change(key, value, operation), alteration.type))
        if len(current.get(key, "")) > MAX_VALUE_LENGTH:
            message = (
                "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes."
            )
            raise KafkaError(ErrorCode.INVALID_CONFIG, message)
    return current


def _unknown_operation(resource_type: int, operation: int) -> KafkaError:
    if resource_type == BROKER:
        return KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown operations type {operation}")
    return KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)


def _listed(config: BrokerConfig, current: Mapping[str, str], change: Change, resource_type: int) -> list[str]:
    """A list's parts after APPEND or SUBTRACT; one that isn't overridden starts as the broker has it."""
    key = _KEYS[resource_type].get(change.key)
    if not isinstance(key, List):
        raise _no_list(change, resource_type, known=key is not None)
    if change.key in current:
        before = list(split(current[change.key]))
    elif resource_type == TOPIC:
        before = list(getattr(LogConfig.resolve(config, {}), key.attribute))
    elif resource_type == BROKER:
        before = list(config.value(change.key) or ())
    else:
        before = []
    parts = split(change.value or "")
    if change.operation == SUBTRACT:
        return [part for part in before if part not in parts]
    return before + [part for part in dict.fromkeys(parts) if part not in before]


def _no_list(change: Change, resource_type: int, *, known: bool) -> KafkaError:
    operation = _OPERATIONS[change.operation]
    if resource_type != BROKER:
        message = f"Can't {operation} to key {change.key} because its type is not LIST."
    elif known:
        message = f"Config value {operation.lower()} is not allowed for config key: {change.key}"
    else:
        message = f"Unknown config name: {change.key}"
    return KafkaError(ErrorCode.INVALID_CONFIG, message)
