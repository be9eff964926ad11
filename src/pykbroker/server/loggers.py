"""The loggers of this process as Kafka's broker loggers (KIP-412): Python's, with Kafka's names of levels.

Changes last as long as the process, as Kafka's do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pykbroker.controller.configs import APPEND, DELETE, SET, SUBTRACT, Alteration
from pykbroker.protocol.errors import ErrorCode, KafkaError

ROOT = "root"
OWN = "pykbroker"
TRACE = 5
"""What TRACE is in Python, whose lowest named level is DEBUG."""

LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "INFO": logging.INFO,
    "TRACE": TRACE,
    "WARN": logging.WARNING,
}


def levels() -> dict[str, str]:
    """Each logger of the broker with the level that is in force for it; the root logger last."""
    known = sorted(one for one in list(logging.Logger.manager.loggerDict) if one.split(".")[0] == OWN)
    found = {one: _level_name(logging.getLogger(one).getEffectiveLevel()) for one in known}
    found[ROOT] = _level_name(logging.getLogger().level)
    return found


def alter(alteration: Alteration, node_id: int, *, validate_only: bool = False) -> None:
    """Sets and unsets levels, all or none. Raises KafkaError."""
    if alteration.replaces:  # AlterConfigs knows no loggers.
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {alteration.type}")
    _check_name(alteration.name, node_id)
    known = levels()
    for change in alteration.changes:
        if change.operation in (APPEND, SUBTRACT):
            what = "APPEND" if change.operation == APPEND else "SUBTRACT"
            message = f"{what} operation is not allowed for the BROKER_LOGGER resource"
            raise KafkaError(ErrorCode.INVALID_REQUEST, message)
        if change.operation not in (SET, DELETE):
            message = f"Unknown operation type {change.operation} is not allowed for the BROKER_LOGGER resource"
            raise KafkaError(ErrorCode.INVALID_REQUEST, message)
        if change.key not in known:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Logger {change.key} does not exist!")
        if change.operation == SET and change.value not in LEVELS:
            message = (
                f"Cannot set the log level of {change.key} to {change.value} as it is not a supported log level. "
                f"Valid log levels are {', '.join(LEVELS)}"
            )
            raise KafkaError(ErrorCode.INVALID_CONFIG, message)
        if change.operation == DELETE and change.key == ROOT:
            message = "Removing the log level of the root logger is not allowed"
            raise KafkaError(ErrorCode.INVALID_REQUEST, message)
    if not validate_only:
        for change in alteration.changes:
            level = logging.NOTSET if change.operation == DELETE else LEVELS[change.value or ""]
            logging.getLogger(None if change.key == ROOT else change.key).setLevel(level)


def _check_name(name: str, node_id: int) -> None:
    try:
        broker = int(name)
    except ValueError:
        message = f"Node id must be an integer, but it is: {name}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message) from None
    if broker != node_id:
        message = f"Unexpected node id. Expected {node_id}, but received {broker}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, message)


def _level_name(level: int) -> str:
    return next((name for name, number in sorted(LEVELS.items(), key=lambda it: -it[1]) if level >= number), "TRACE")
