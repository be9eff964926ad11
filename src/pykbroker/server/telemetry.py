"""Clients' own metrics: who they are, what they shall push, and where what they push goes (KIP-714).

Served only where somebody wants them: Apache Kafka advertises the two APIs when a `metric.reporters` class takes
telemetry, this broker when `metric.reporters` names the one here (`config.client_metrics.REPORTER`) or whoever embeds
it hands in a receiver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid4

from pykbroker.cluster.client_telemetry import ClientTelemetry, Instance, Push
from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.compression import decompress
from pykbroker.server.clock import Clock
from pykbroker.server.entity_configs import EntityConfigs

if TYPE_CHECKING:
    from pykbroker.server.request import RequestContext

log = logging.getLogger(__name__)

MOST_GROWTH = 32
"""How many times `telemetry.max.bytes` a push may decompress to."""


class ClientMetrics(NamedTuple):
    """One push, decompressed: an OTLP MetricsData message (empty in a last push that has nothing to tell)."""

    client_instance_id: UUID
    client_id: str
    terminating: bool
    metrics: bytes


Receiver = Callable[[ClientMetrics], None]


def log_size(pushed: ClientMetrics) -> None:
    """What a broker of its own does with a push."""
    log.debug("client %r (%s) pushed %d bytes of metrics", *pushed[1::-1], len(pushed.metrics))


class Telemetry:
    """The two APIs' state on one broker."""

    def __init__(self, config: BrokerConfig, entities: EntityConfigs, clock: Clock, receive: Receiver) -> None:
        self._config = config
        self._clock = clock
        self._receive = receive
        self._software: dict[int, tuple[str, str]] = {}
        self._rules = ClientTelemetry()
        entities.on_change("client-metrics", lambda entity, values: self._rules.subscribe(entity, values))

    @property
    def max_bytes(self) -> int:
        """The size of a push that is taken at most, as it is sent."""
        return self._config.telemetry_max_bytes

    def identified(self, connection_id: int, name: str, version: str) -> None:
        """A client has said in ApiVersions what software it is."""
        self._software[connection_id] = name, version

    def disconnected(self, connection_id: int) -> None:
        """A connection is gone."""
        self._software.pop(connection_id, None)
        self._rules.disconnected(connection_id)

    def asked(self, instance_id: UUID, context: RequestContext) -> Instance:
        """What a client shall push; one without an instance id is given one. Raises KafkaError."""
        if not instance_id.int:
            instance_id = uuid4()
        return self._rules.asked(instance_id, self._client(context), context.connection_id, self._now())

    def pushed(self, push: Push, metrics: bytes | memoryview, context: RequestContext) -> None:
        """Takes a push. Raises KafkaError; INVALID_RECORD for what doesn't decompress or isn't received."""
        max_bytes = self.max_bytes
        found = self._rules.pushed(push, self._client(context), context.connection_id, self._now(), max_bytes)
        if not metrics:
            return
        try:
            plain = bytes(decompress(push.compression, metrics, MOST_GROWTH * max_bytes))
            self._receive(ClientMetrics(found.id, context.client_id or "", push.terminating, plain))
        except Exception as error:
            found.last_error = ErrorCode.INVALID_RECORD
            log.warning("metrics of client %r aren't taken: %s", context.client_id, error)
            raise KafkaError(ErrorCode.INVALID_RECORD) from error

    def _now(self) -> float:
        return self._clock.monotonic() * 1000

    def _client(self, context: RequestContext) -> dict[str, str]:
        name, version = self._software.get(context.connection_id, ("unknown", "unknown"))
        return {
            "client_id": context.client_id or "",
            "client_software_name": name,
            "client_software_version": version,
            "client_source_address": context.client_host[1:],
            "client_source_port": str(context.client_port),
        }
