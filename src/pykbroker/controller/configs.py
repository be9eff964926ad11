"""The controller's rules for changing a topic's config: what its overrides come to, or why they can't be so.

Errors are Kafka's codes with its messages. It never writes and knows no other resource than topics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pykbroker.cluster.image import ClusterImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import List, split
from pykbroker.config.topic import TOPIC_KEYS, LogConfig
from pykbroker.controller.topics import checked_overrides, invalid_name
from pykbroker.protocol.errors import ErrorCode, KafkaError

SET, DELETE, APPEND, SUBTRACT = range(4)

_OPERATIONS = ("SET", "DELETE", "APPEND", "SUBTRACT")


class Change(NamedTuple):
    """What is done to one key, as IncrementalAlterConfigs has it (KIP-339); DELETE needs no value."""

    key: str
    value: str | None
    operation: int = SET


@dataclass(frozen=True, slots=True)
class Alteration:
    """The changes of one topic's config; with `replaces` (AlterConfigs), overrides that it doesn't name are gone."""

    topic: str
    changes: Sequence[Change]
    replaces: bool = False


def plan_alteration(image: ClusterImage, config: BrokerConfig, alteration: Alteration) -> dict[str, str]:
    """All overrides of the topic as they will be; raises KafkaError where they must not be.

    A bad value is found before a missing topic is. Overrides that are unknown here and aren't touched are kept.
    """
    _check_form(alteration.changes)
    topic = image.topics.get(alteration.topic)
    current = {} if topic is None or alteration.replaces else dict(topic.config)
    changed = _changed(config, current, alteration.changes)
    _check_name(alteration.topic)
    touched = {change.key for change in alteration.changes}
    kept = {key: value for key, value in changed.items() if key not in TOPIC_KEYS and key not in touched}
    checked = checked_overrides(config, {key: value for key, value in changed.items() if key not in kept})
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{alteration.topic}' does not exist.")
    return kept | checked


def _check_form(changes: Sequence[Change]) -> None:
    if len({change.key for change in changes}) < len(changes):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [change.key for change in changes if change.value is None and change.operation != DELETE]
    if nulls:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(nulls)}")
    for change in changes:
        if not 0 <= change.operation < len(_OPERATIONS):
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown operation type {change.operation}")


def _check_name(name: str) -> None:
    if not name:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    wrong = invalid_name(name)
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong)


def _changed(config: BrokerConfig, current: dict[str, str], changes: Sequence[Change]) -> dict[str, str]:
    for key, value, operation in changes:
        if operation == DELETE or value is None:
            current.pop(key, None)
        elif operation == SET:
            current[key] = value
        else:
            current[key] = ",".join(_listed(config, current, Change(key, value, operation)))
    return current


def _listed(config: BrokerConfig, current: Mapping[str, str], change: Change) -> list[str]:
    """A list's parts after APPEND or SUBTRACT; one that isn't overridden starts as the broker has it."""
    key = TOPIC_KEYS.get(change.key)
    if not isinstance(key, List):
        what = f"Can't {_OPERATIONS[change.operation]} to key {change.key} because its type is not LIST."
        raise KafkaError(ErrorCode.INVALID_CONFIG, what)
    if change.key in current:
        before = list(split(current[change.key]))
    else:
        before = list(getattr(LogConfig.resolve(config, {}), key.attribute))
    parts = split(change.value or "")
    if change.operation == SUBTRACT:
        return [part for part in before if part not in parts]
    return before + [part for part in dict.fromkeys(parts) if part not in before]
