"""The rules of client quotas: which one counts for a client, how a rate is measured, how long a client has to wait.

Kafka's precedence (KIP-13, KIP-55), its sampled windows, its token bucket for controller mutations (KIP-599). Time is
an argument, in milliseconds that never go back. Nothing here waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

PRODUCER_BYTE_RATE = "producer_byte_rate"
CONSUMER_BYTE_RATE = "consumer_byte_rate"
REQUEST_PERCENTAGE = "request_percentage"
CONTROLLER_MUTATION_RATE = "controller_mutation_rate"
CONNECTION_CREATION_RATE = "connection_creation_rate"

CLIENT_KEYS = (PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE, REQUEST_PERCENTAGE, CONTROLLER_MUTATION_RATE)
IP_KEYS = (CONNECTION_CREATION_RATE,)

USER, CLIENT_ID, IP = "user", "client-id", "ip"

Tags = tuple[str, str]
"""The user and the client id that share one measured rate; empty for one that doesn't count."""


class Default:
    """The entity that stands for everyone without a quota of their own."""

    def __repr__(self) -> str:
        return "<default>"


DEFAULT = Default()
Name = str | Default | None
"""A name, the default, or None where an entity has no such part."""


class Entity(NamedTuple):
    """Whom a quota is for: a user, a client id, both, or an address."""

    user: Name = None
    client_id: Name = None
    ip: Name = None

    def parts(self) -> dict[str, Name]:
        """The parts that it has, by Kafka's names of types."""
        parts = {USER: self.user, CLIENT_ID: self.client_id, IP: self.ip}
        return {kind: name for kind, name in parts.items() if name is not None}


class Rate:
    """Values a second over the last `samples` windows of `window_ms`, measured as Kafka's quotas are."""

    __slots__ = ("_current", "_samples", "_slots", "_window_ms", "last_ms")

    def __init__(self, samples: int, window_ms: int) -> None:
        self._samples = samples
        self._window_ms = window_ms
        self._slots: list[list[float]] = []
        """Each a start, the time of the last value, and a sum. One more than samples, for the one that overlaps."""
        self._current = 0
        self.last_ms = 0.0

    def record(self, value: float, now_ms: float) -> None:
        """Adds a value; a negative one takes an earlier one back."""
        self.last_ms = now_ms
        slots = self._slots
        if not slots:
            slots.append([now_ms, now_ms, 0.0])
        if now_ms - slots[self._current][0] >= self._window_ms:
            self._current = (self._current + 1) % (self._samples + 1)
            if self._current == len(slots):
                slots.append([now_ms, now_ms, 0.0])
            else:
                slots[self._current] = [now_ms, now_ms, 0.0]
        slot = slots[self._current]
        slot[1] = now_ms
        slot[2] += value

    def span_ms(self, now_ms: float) -> float:
        """The time that the rate is over: never less than all full windows but one."""
        self._purge(now_ms)
        elapsed = now_ms - min((slot[0] for slot in self._slots), default=now_ms)
        missing = self._samples - 1 - int(elapsed // self._window_ms)
        return max(elapsed + max(0, missing) * self._window_ms, 1)

    def measure(self, now_ms: float) -> float:
        """The rate, a second."""
        span = self.span_ms(now_ms)
        return sum(slot[2] for slot in self._slots) / (span / 1000)

    def throttle_ms(self, bound: float, now_ms: float) -> int:
        """How long to wait until the rate is within its bound, if nothing more comes."""
        rate = self.measure(now_ms)
        return 0 if rate <= bound else _round((rate - bound) / bound * self.span_ms(now_ms))

    def is_forgotten(self, now_ms: float) -> bool:
        """Whether a new one would measure the same."""
        return now_ms - self.last_ms >= self._samples * self._window_ms

    def _purge(self, now_ms: float) -> None:
        expired = self._samples * self._window_ms
        for slot in self._slots:
            if now_ms - slot[1] >= expired:
                slot[:] = (now_ms, now_ms, 0.0)


class TokenBucket:
    """Tokens that come at a rate, up to what the windows hold; spending may go below zero once (KIP-599)."""

    __slots__ = ("_burst_s", "_tokens", "last_ms")

    def __init__(self, samples: int, window_ms: int) -> None:
        self._burst_s = samples * window_ms / 1000
        self._tokens = math.inf
        self.last_ms = 0.0

    def spend(self, tokens: float, bound: float, now_ms: float) -> None:
        """Takes tokens, whether they are there or not."""
        self._refill(bound, now_ms)
        self._tokens = min(self._burst_s * bound, self._tokens - tokens)

    def throttle_ms(self, bound: float, now_ms: float) -> int:
        """How long to wait until no token is owed."""
        self._refill(bound, now_ms)
        return _round(-self._tokens / bound * 1000) if self._tokens < 0 else 0

    def is_forgotten(self, now_ms: float) -> bool:
        """Whether a new one would hold as much."""
        return self._tokens >= 0 and now_ms - self.last_ms >= self._burst_s * 1000

    def _refill(self, bound: float, now_ms: float) -> None:
        came = bound * (now_ms - self.last_ms) / 1000
        self._tokens = min(self._burst_s * bound, self._tokens + came)
        self.last_ms = now_ms


def _round(value: float) -> int:
    return math.floor(value + 0.5)


class Bounds:
    """The quotas of one kind, by entity, and which of them counts for a client."""

    def __init__(self) -> None:
        self._bounds: dict[tuple[Name, Name], float] = {}

    def __len__(self) -> int:
        return len(self._bounds)

    def set(self, user: Name, client_id: Name, bound: float | None) -> None:
        """Sets an entity's quota, or removes it."""
        if bound is None:
            self._bounds.pop((user, client_id), None)
        else:
            self._bounds[user, client_id] = bound

    def find(self, user: str, client_id: str) -> tuple[Tags, float] | None:
        """Who shares a rate with this client, and its bound; None where no quota is for it.

        The most special counts: user and client id, user and any client, user, any user and this client id, any user
        and any client, any user, client id, any client.
        """
        bounds = self._bounds
        for key, tags in (
            ((user, client_id), (user, client_id)),
            ((user, DEFAULT), (user, client_id)),
            ((user, None), (user, "")),
            ((DEFAULT, client_id), (user, client_id)),
            ((DEFAULT, DEFAULT), (user, client_id)),
            ((DEFAULT, None), (user, "")),
            ((None, client_id), ("", client_id)),
            ((None, DEFAULT), ("", client_id)),
        ):
            bound = bounds.get(key)
            if bound is not None:
                return tags, bound
        return None


class QuotaError(ValueError):
    """A quota, or a question for some, that can't be so; its text is Kafka's."""


def check_entity(parts: Iterable[tuple[str, str | None]], is_address: Callable[[str], bool]) -> Entity:
    """An entity from its parts, a null name for the default. Raises QuotaError.

    `is_address` says whether a text is an address or a host's name that can be resolved.
    """
    found: dict[str, Name] = {}
    for kind, name in parts:
        if kind in found:
            raise QuotaError(f"Invalid client quota entity, duplicate entity entry {kind}")
        if kind not in (USER, CLIENT_ID, IP):
            raise QuotaError(f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise QuotaError(f"Empty {kind} not supported")
        found[kind] = DEFAULT if name is None else name
    if not found:
        raise QuotaError("Invalid empty client quota entity")
    entity = Entity(found.get(USER), found.get(CLIENT_ID), found.get(IP))
    if entity.ip is not None and len(found) > 1:
        raise QuotaError("Invalid quota entity combination, IP entity should not be combined with User or ClientId")
    if isinstance(entity.ip, str) and not is_address(entity.ip):
        raise QuotaError(f"{entity.ip} is not a valid IP or resolvable host.")
    return entity


def plan_quotas(entity: Entity, ops: Iterable[tuple[str, float | None]], current: Mapping[str, str]) -> dict[str, str]:
    """An entity's config as it will be: quotas set, or removed for None; what else stands there stays.

    Raises QuotaError.
    """
    changed = dict(current)
    seen = set()
    keys = CLIENT_KEYS if entity.ip is None else IP_KEYS
    for key, value in ops:
        if key in seen:
            raise QuotaError(f"Duplicate quota key {key}")
        seen.add(key)
        if value is None:
            changed.pop(key, None)
            continue
        if key not in keys:
            raise QuotaError(f"Invalid configuration key {key}")
        changed[key] = _text(key, value)
    return changed


def _text(key: str, value: float) -> str:
    if not value > 0:
        raise QuotaError(f"Quota {key} must be greater than 0")
    if key in (REQUEST_PERCENTAGE, CONTROLLER_MUTATION_RATE):
        return repr(float(value))
    bits, kind = (32, "an INT") if key == CONNECTION_CREATION_RATE else (64, "a LONG")
    if value >= 1 << (bits - 1):
        raise QuotaError(f"Proposed value for {key} is too large for {kind}.")
    if value % 1 > 1e-6:
        raise QuotaError(f"{key} cannot be a fractional value.")
    return str(int(value))


def quotas_of(config: Mapping[str, str]) -> dict[str, float]:
    """The quotas in an entity's config, by key; what stands there beside them, or can't be read, is left out."""
    found = {}
    for key in (*CLIENT_KEYS, *IP_KEYS):
        if key in config:
            try:
                found[key] = float(config[key])
            except ValueError:
                continue
    return found


EXACT, DEFAULT_NAME, ANY_NAME = range(3)


def check_filter(components: Iterable[tuple[str, int, str | None]]) -> dict[str, Name]:
    """What to look for, by type: a name, the default, or None for any. Raises QuotaError.

    A type that isn't known raises KeyError: Kafka answers UNSUPPORTED_VERSION.
    """
    found: dict[str, Name] = {}
    for kind, match_type, match in components:
        if not kind:
            raise QuotaError("Invalid empty entity type.")
        if kind in found:
            raise QuotaError(f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in (USER, CLIENT_ID, IP):
            raise KeyError(kind)
        if match_type == EXACT and match is None:
            raise QuotaError("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        if match_type in (DEFAULT_NAME, ANY_NAME) and match is not None:
            named = "MATCH_TYPE_DEFAULT" if match_type == DEFAULT_NAME else "MATCH_TYPE_SPECIFIED"
            raise QuotaError(f"Request specified {named}, but also specified a match string.")
        if match_type not in (EXACT, DEFAULT_NAME, ANY_NAME):
            raise QuotaError(f"Unknown match type {match_type}")
        found[kind] = match if match_type == EXACT else DEFAULT if match_type == DEFAULT_NAME else None
    if IP in found and len(found) > 1:
        raise QuotaError(
            "Invalid entity filter component combination. IP filter component should not be used with user or "
            "clientId filter component."
        )
    return found


def matching(entities: Iterable[Entity], wanted: Mapping[str, Name], *, strict: bool) -> Iterator[Entity]:
    """The entities that have all that is wanted; with `strict` nothing beside it."""
    for entity in entities:
        parts = entity.parts()
        if strict and parts.keys() != wanted.keys():
            continue
        if all(kind in parts and name in (None, parts[kind]) for kind, name in wanted.items()):
            yield entity
