"""Config keys in environment variables, in the form that the apache/kafka container image takes.

`KAFKA_LOG_RETENTION_MS` is `log.retention.ms`; two underscores stand for one, three for a dash. It reads no environment
itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pykbroker.config.broker import BROKER_KEYS

PREFIX = "KAFKA_"

# What the image's own scripts read, and what Kafka's start scripts do.
_NOT_CONFIG = frozenset(
    (
        "KAFKA_VERSION",
        "KAFKA_HOME",
        "KAFKA_HEAP_OPTS",
        "KAFKA_OPTS",
        "KAFKA_GC_LOG_OPTS",
        "KAFKA_JMX_OPTS",
        "KAFKA_JMX_PORT",
        "KAFKA_JMX_HOSTNAME",
        "KAFKA_JVM_PERFORMANCE_OPTS",
        "KAFKA_LOG4J_OPTS",
        "KAFKA_LOG4J_ROOT_LOGLEVEL",
        "KAFKA_LOG4J_LOGGERS",
        "KAFKA_LOG4J_CMD_OPTS",
        "KAFKA_TOOLS_LOG4J_LOGLEVEL",
        "KAFKA_DEBUG",
        "KAFKA_CLASSPATH",
        "KAFKA_CLUSTER_ID",
    )
)
# What a container platform sets for a service that is called "kafka".
_SERVICE = re.compile(r"KAFKA_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP)(_.*)?)?|\d+_.*)")

_SPELLING = {name.lower(): name for name in BROKER_KEYS}
_UNDERSCORES = re.compile(r"_+")


def config_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The config keys that environment variables set."""
    found: dict[str, str] = {}
    for variable, value in sorted(environment.items()):
        if variable.startswith(PREFIX) and variable not in _NOT_CONFIG and not _SERVICE.fullmatch(variable):
            key = _UNDERSCORES.sub(_separator, variable[len(PREFIX) :].lower())
            found[_SPELLING.get(key, key)] = value
    return found


def _separator(underscores: re.Match[str]) -> str:
    threes, rest = divmod(len(underscores[0]), 3)
    return "-" * threes + ("", ".", "_")[rest]
