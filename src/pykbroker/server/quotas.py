"""Client quotas enforced: what a client used, how long it is muted for it, and what its answers say about that.

The answer goes out first, then the connection is muted (KIP-219): its next request isn't looked at before. While nobody
has a quota it costs one look at a flag for each request. The rules are in `cluster.client_quota`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.cluster.client_quota import (
    CLIENT_KEYS,
    CONNECTION_CREATION_RATE,
    CONSUMER_BYTE_RATE,
    CONTROLLER_MUTATION_RATE,
    DEFAULT,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    Bounds,
    Entity,
    Name,
    Rate,
    Tags,
    TokenBucket,
    quotas_of,
)
from pykbroker.metadata import znodes
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.server.request_time import RequestTimes

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.protocol.connection import Answer
    from pykbroker.server.clock import Clock
    from pykbroker.server.entity_configs import EntityConfigs
    from pykbroker.server.purgatory import Purgatory
    from pykbroker.server.request import RequestContext

NANOSECONDS_TO_PERCENT = 100.0 / 1_000_000_000
MEASURED_BEFORE_PURGE = 1000
"""So many rates, and those that a new one would equal are dropped: client ids are the clients' to invent."""

EXEMPT_FROM_REQUEST_QUOTA = frozenset(
    (
        ApiKey.LEADER_AND_ISR,
        ApiKey.STOP_REPLICA,
        ApiKey.UPDATE_METADATA,
        ApiKey.CONTROLLED_SHUTDOWN,
        ApiKey.WRITE_TXN_MARKERS,
        ApiKey.ALTER_PARTITION,
        ApiKey.ALLOCATE_PRODUCER_IDS,
        ApiKey.SASL_HANDSHAKE,
        ApiKey.SASL_AUTHENTICATE,
    )
)
"""What brokers ask of each other, and what comes before a client is known."""


class Mutations:
    """The partitions that one request creates and deletes, against its client's quota (KIP-599)."""

    def __init__(self, quotas: ClientQuotas, context: RequestContext, *, strict: bool) -> None:
        self._quotas = quotas
        self._strict = strict
        self._found = quotas.find(CONTROLLER_MUTATION_RATE, context)
        self.throttle_ms = 0

    @property
    def limited(self) -> bool:
        """Whether there is a quota for this client."""
        return self._found is not None

    def charge(self, partitions: int) -> None:
        """Counts partitions; where the quota is used up a newer client is refused with THROTTLING_QUOTA_EXCEEDED.

        An older one gets them, and is muted for it.
        """
        if self._found is None:
            return
        bucket, bound, now_ms = self._quotas.bucket(self._found[0]), self._found[1], self._quotas.now_ms()
        if self._strict:
            self.throttle_ms = bucket.throttle_ms(bound, now_ms)
            if self.throttle_ms:
                message = "The throttling quota has been exceeded."
                raise KafkaError(ErrorCode.THROTTLING_QUOTA_EXCEEDED, message)
        bucket.spend(partitions, bound, now_ms)
        if not self._strict:
            self.throttle_ms = bucket.throttle_ms(bound, now_ms)


class ClientQuotas:
    """The quotas of this broker's clients, and what each has used."""

    def __init__(self, config: BrokerConfig, entities: EntityConfigs, clock: Clock, purgatory: Purgatory) -> None:
        self._config = config
        self._clock = clock
        self._purgatory = purgatory
        self._bounds = {key: Bounds() for key in CLIENT_KEYS}
        self._rates: dict[tuple[str, Tags], Rate] = {}
        self._buckets: dict[Tags, TokenBucket] = {}
        self._ip_bounds: dict[Name, float] = {}
        self._ip_rates: dict[str, Rate] = {}
        self._times = RequestTimes()
        self.active = False
        """Whether anybody has a quota for requests."""
        for kind in ("users", "clients", "ips"):
            entities.on_change(kind, self._set)

    # ---- which quotas there are ------------------------------------------------------------------------------------

    def _set(self, path: str, config: Mapping[str, str]) -> None:
        entity, quotas = entity_of(path), quotas_of(config)
        if entity.ip is not None:
            rate = quotas.get(CONNECTION_CREATION_RATE)
            if rate is None:
                self._ip_bounds.pop(entity.ip, None)
            else:
                self._ip_bounds[entity.ip] = rate
            return
        for key, bounds in self._bounds.items():
            bounds.set(entity.user, entity.client_id, quotas.get(key))
        self.active = any(self._bounds.values())

    def find(self, key: str, context: RequestContext) -> tuple[Tags, float] | None:
        """Who shares the client's rate of one kind, and its bound; None where it has no quota."""
        bounds = self._bounds[key]
        return bounds.find(context.principal.name, context.client_id or "") if bounds else None

    def now_ms(self) -> float:
        """Milliseconds that never go back."""
        return self._clock.monotonic() * 1000

    # ---- what is used ----------------------------------------------------------------------------------------------

    def _record(self, key: str, context: RequestContext, value: float) -> int:
        """Counts what a client used; how long it has to wait for it, in milliseconds."""
        found = self.find(key, context)
        if found is None:
            return 0
        now_ms = self.now_ms()
        rate = self._rate(key, found[0])
        rate.record(value, now_ms)
        return rate.throttle_ms(found[1], now_ms)

    def _rate(self, key: str, tags: Tags) -> Rate:
        rate = self._rates.get((key, tags))
        if rate is None:
            if len(self._rates) >= MEASURED_BEFORE_PURGE:
                now_ms = self.now_ms()
                self._rates = {one: rate for one, rate in self._rates.items() if not rate.is_forgotten(now_ms)}
            rate = self._rates[key, tags] = self._new_rate()
        return rate

    def _new_rate(self) -> Rate:
        return Rate(self._config.quota_window_num, self._config.quota_window_size_seconds * 1000)

    def bucket(self, tags: Tags) -> TokenBucket:
        """A client's tokens for controller mutations."""
        bucket = self._buckets.get(tags)
        if bucket is None:
            if len(self._buckets) >= MEASURED_BEFORE_PURGE:
                now_ms = self.now_ms()
                self._buckets = {one: it for one, it in self._buckets.items() if not it.is_forgotten(now_ms)}
            config = self._config
            bucket = TokenBucket(config.controller_quota_window_num, config.controller_quota_window_size_seconds * 1000)
            self._buckets[tags] = bucket
        return bucket

    def mutations(self, context: RequestContext, strict_since: int | None) -> Mutations:
        """For a request that creates or deletes partitions; from a version on it is refused what is too much."""
        strict = strict_since is not None and context.api_version >= strict_since
        return Mutations(self, context, strict=strict)

    def fetch_limit(self, context: RequestContext) -> int:
        """How many bytes a client may fetch at once, so that a quota isn't overdrawn by one answer alone."""
        found = self.find(CONSUMER_BYTE_RATE, context) if self.active else None
        if found is None:
            return (1 << 31) - 1
        windows = (self._config.quota_window_num - 1) * self._config.quota_window_size_seconds
        return int(min(found[1] * windows, (1 << 31) - 1))

    def fetched(self, context: RequestContext, size: int) -> int:
        """Counts an answer to a consumer's Fetch; where it is to be muted the answer has to be an empty one.

        What isn't sent isn't counted after all.
        """
        throttle_ms = max(self._record(CONSUMER_BYTE_RATE, context, size), self._request_throttle_ms(context))
        if throttle_ms:
            self._record(CONSUMER_BYTE_RATE, context, -size)
        return throttle_ms

    def shared(self, context: RequestContext, size: int) -> int:
        """Counts an answer to ShareFetch; how long its client is muted after it, in milliseconds.

        The answer is sent in any case. Apache Kafka withholds it, and nobody gets its records until their locks end.
        """
        return self._record(CONSUMER_BYTE_RATE, context, size)

    def _request_throttle_ms(self, context: RequestContext) -> int:
        if not self._bounds[REQUEST_PERCENTAGE] or context.api_key in EXEMPT_FROM_REQUEST_QUOTA:
            return 0
        spent = self._times.spent_ns()
        throttle_ms = self._record(REQUEST_PERCENTAGE, context, spent * NANOSECONDS_TO_PERCENT)
        return min(throttle_ms, self._config.quota_window_size_seconds * 1000)

    # ---- a request's way -------------------------------------------------------------------------------------------

    async def metered(
        self, answer: Callable[[], Awaitable[Answer | None]], request: Any, context: RequestContext, size: int
    ) -> tuple[Answer | None, int]:
        """A request's answer, and for how many milliseconds its connection is muted after it; `size` is its bytes."""
        if self._bounds[REQUEST_PERCENTAGE]:
            with self._times.measuring():
                return self._throttled(await answer(), request, context, size)
        return self._throttled(await answer(), request, context, size)

    def _throttled(
        self, response: Answer | None, request: Any, context: RequestContext, size: int
    ) -> tuple[Answer | None, int]:
        told: int = getattr(response, "throttle_time_ms", 0)
        if context.api_key == ApiKey.FETCH:
            return response, told
        throttle_ms = 0
        if context.api_key == ApiKey.PRODUCE:
            throttle_ms = self._record(PRODUCER_BYTE_RATE, context, size)
        if response is not None:
            throttle_ms = max(told, throttle_ms, self._request_throttle_ms(context))
            if "throttle_time_ms" in getattr(response, "fields", ()):
                setattr(response, "throttle_time_ms", throttle_ms)  # noqa: B010 - the class is known at run time only
        return response, throttle_ms

    async def wait_muted(self, until: float) -> None:
        """Lets a muted connection's next request wait; a broker that stops waits for nobody."""
        await self._purgatory.wait_until(lambda: False, [self], until - self._clock.monotonic())

    def muted_until(self, throttle_ms: int) -> float:
        """When a connection that is muted now may go on."""
        return self._clock.monotonic() + throttle_ms / 1000

    # ---- connections -----------------------------------------------------------------------------------------------

    def connected(self, address: str) -> float:
        """Counts a connection from an address; for how many seconds to hold it before it is closed, 0 to serve it."""
        if not self._ip_bounds:
            return 0.0
        bound = self._ip_bounds.get(address, self._ip_bounds.get(DEFAULT))
        if bound is None:
            return 0.0
        now_ms = self.now_ms()
        rate = self._ip_rates.get(address)
        if rate is None:
            if len(self._ip_rates) >= MEASURED_BEFORE_PURGE:
                self._ip_rates = {one: it for one, it in self._ip_rates.items() if not it.is_forgotten(now_ms)}
            rate = self._ip_rates[address] = self._new_rate()
        rate.record(1, now_ms)
        throttle_ms = min(rate.throttle_ms(bound, now_ms), self._config.quota_window_size_seconds * 1000)
        if throttle_ms:
            rate.record(-1, now_ms)
        return throttle_ms / 1000


def entity_of(path: str) -> Entity:
    """The entity that a path below `/config` names: `users/U/clients/C`."""
    parts = path.split("/")
    names: dict[str, Name] = {}
    for kind, escaped in zip(parts[::2], parts[1::2], strict=True):
        name = znodes.entity_name(escaped)
        names[kind] = DEFAULT if name is None else name
    return Entity(names.get("users"), names.get("clients"), names.get("ips"))


def path_of(entity: Entity) -> str:
    """Where an entity's quotas stand below `/config`."""
    paths = [
        znodes.entity(kind, None if name is DEFAULT else str(name))
        for kind, name in zip(("users", "clients", "ips"), entity, strict=True)
        if name is not None
    ]
    return "/".join(paths)
