"""Which metrics a client shall push, how often, and whether a push is taken (KIP-714).

A client instance is known from its first question on, until it is silent for three intervals, its connection ends, or
too many others came after it. Times are milliseconds, handed in; what becomes of the metrics is not decided here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import uuid_text
from pykbroker.config.client_metrics import Subscription
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.checksum import crc32c

MOST_INSTANCES = 16_384
SHORTEST_MEMORY_MS = 60_000
DEFAULT_INTERVAL_MS = 300_000
ALL_METRICS = "*"
RESERVED = frozenset((UUID(int=0), UUID(int=1)))
COMPRESSIONS = (4, 3, 1, 2)
"""What a push may be compressed with, the best first: zstd, lz4, gzip, snappy."""
NEVER = float("-inf")


class Instance:
    """One client instance and what it was told."""

    __slots__ = (
        "connection_id",
        "expires_ms",
        "id",
        "interval_ms",
        "last_error",
        "last_get_ms",
        "last_push_ms",
        "metrics",
        "subscription_id",
        "terminating",
        "version",
    )

    def __init__(self, instance_id: UUID, version: int, metrics: tuple[str, ...], interval_ms: int) -> None:
        self.id = instance_id
        self.version = version
        """Of the subscriptions, when they were looked at for this client."""
        self.metrics = metrics
        self.interval_ms = interval_ms
        self.subscription_id = subscription_id(instance_id, metrics, interval_ms)
        self.connection_id = 0
        self.last_get_ms = self.last_push_ms = NEVER
        self.last_error = ErrorCode.NONE
        self.terminating = False
        self.expires_ms = 0.0


class Push(NamedTuple):
    """What a client sends, as far as it decides whether it is taken."""

    instance_id: UUID
    subscription_id: int
    terminating: bool
    compression: int
    size: int


def subscription_id(instance_id: UUID, metrics: tuple[str, ...], interval_ms: int) -> int:
    """The CRC-32C of what is subscribed, mixed with the client instance: signed 32 bits."""
    crc = crc32c(f"[{', '.join(metrics)}]{interval_ms}".encode())
    high, low = instance_id.int >> 64, instance_id.int & (1 << 64) - 1
    mixed = high ^ low
    value = crc ^ (mixed >> 32 ^ mixed) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


class ClientTelemetry:
    """The subscriptions, and the client instances that know theirs."""

    def __init__(self, most_instances: int = MOST_INSTANCES) -> None:
        self._subscriptions: dict[str, Subscription] = {}
        self._version = 0
        self._instances: OrderedDict[UUID, Instance] = OrderedDict()
        self._by_connection: dict[int, UUID] = {}
        self._most = most_instances

    def __len__(self) -> int:
        return len(self._instances)

    def subscribe(self, name: str, overrides: Mapping[str, str]) -> None:
        """A subscription is set, or removed by having no config. Clients hear of it at their next request."""
        if overrides:
            self._subscriptions[name] = Subscription(overrides)
        elif self._subscriptions.pop(name, None) is None:
            return
        self._version += 1

    def asked(self, instance_id: UUID, client: Mapping[str, str], connection_id: int, now_ms: float) -> Instance:
        """What a client shall push. Raises THROTTLING_QUOTA_EXCEEDED where it asks too early.

        After an UNKNOWN_SUBSCRIPTION_ID or UNSUPPORTED_COMPRESSION_TYPE, or when the subscriptions have changed, it
        may ask at once.
        """
        found = self._instance(instance_id, client, connection_id, now_ms)
        last = max(found.last_get_ms, found.last_push_ms)
        if now_ms - last >= found.interval_ms:
            found.last_get_ms = now_ms
        elif found.last_error not in (ErrorCode.UNKNOWN_SUBSCRIPTION_ID, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE):
            raise KafkaError(ErrorCode.THROTTLING_QUOTA_EXCEEDED)
        found.last_error = ErrorCode.NONE
        return found

    def pushed(
        self, push: Push, client: Mapping[str, str], connection_id: int, now_ms: float, max_bytes: int
    ) -> Instance:
        """The instance whose push is taken.

        Raises KafkaError: INVALID_REQUEST without an instance id or after a terminating push,
        THROTTLING_QUOTA_EXCEEDED too early, UNKNOWN_SUBSCRIPTION_ID, UNSUPPORTED_COMPRESSION_TYPE,
        TELEMETRY_TOO_LARGE.
        """
        if push.instance_id in RESERVED:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        found = self._instance(push.instance_id, client, connection_id, now_ms)
        code = self._judge(push, found, now_ms, max_bytes)
        found.terminating = push.terminating
        found.last_error = code
        if code is not ErrorCode.NONE:
            raise KafkaError(code)
        return found

    def _judge(self, push: Push, found: Instance, now_ms: float, max_bytes: int) -> ErrorCode:
        if found.terminating:
            return ErrorCode.INVALID_REQUEST
        # The first push after a question may come early: a client spreads its intervals from half to one and a half.
        on_time = found.last_get_ms > found.last_push_ms or now_ms - found.last_push_ms >= found.interval_ms
        if on_time:
            found.last_push_ms = now_ms
        elif not push.terminating:
            return ErrorCode.THROTTLING_QUOTA_EXCEEDED
        if push.subscription_id != found.subscription_id:
            return ErrorCode.UNKNOWN_SUBSCRIPTION_ID
        if push.compression != 0 and push.compression not in COMPRESSIONS:
            return ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
        return ErrorCode.TELEMETRY_TOO_LARGE if push.size > max_bytes else ErrorCode.NONE

    def disconnected(self, connection_id: int) -> None:
        """A connection is gone, and the instance that was last heard of over it."""
        instance_id = self._by_connection.pop(connection_id, None)
        if instance_id is not None:
            self._instances.pop(instance_id, None)

    def _instance(self, instance_id: UUID, client: Mapping[str, str], connection_id: int, now_ms: float) -> Instance:
        while self._instances:
            oldest = next(iter(self._instances.values()))
            if oldest.expires_ms > now_ms:
                break
            self._forget(oldest)
        found = self._instances.get(instance_id)
        if found is None or found.version < self._version or found.expires_ms <= now_ms:
            found = self._evaluate(instance_id, client)
            self._instances[instance_id] = found
        self._instances.move_to_end(instance_id)
        found.expires_ms = now_ms + max(SHORTEST_MEMORY_MS, 3 * found.interval_ms)
        if found.connection_id != connection_id:
            self._unbind(found)
            found.connection_id = connection_id
        self._by_connection[connection_id] = instance_id
        if len(self._instances) > self._most:
            self._forget(next(iter(self._instances.values())))
        return found

    def _forget(self, instance: Instance) -> None:
        del self._instances[instance.id]
        self._unbind(instance)

    def _unbind(self, instance: Instance) -> None:
        if self._by_connection.get(instance.connection_id) == instance.id:
            del self._by_connection[instance.connection_id]

    def _evaluate(self, instance_id: UUID, client: Mapping[str, str]) -> Instance:
        matching = [
            one
            for one in self._subscriptions.values()
            if one.matches({**client, "client_instance_id": uuid_text(instance_id)})
        ]
        metrics = tuple(sorted({metric for one in matching for metric in one.metrics}))
        if ALL_METRICS in metrics:
            metrics = (ALL_METRICS,)
        interval_ms = min([DEFAULT_INTERVAL_MS, *(one.interval_ms for one in matching)])
        return Instance(instance_id, self._version, metrics, interval_ms)
