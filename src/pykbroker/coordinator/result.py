"""What every coordinator shard hands back: records to append, an answer, and answers to requests that waited.

A shard decides and returns a `Result`; it never appends, sends, waits or asks the time. The runtime replays the records
(the one place where what they say becomes state), appends them, waits until they are committed and only then answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

A = TypeVar("A")

NEVER = float("inf")
"""The deadline of that which doesn't wait on time."""

EMPTY: Mapping[Parked, Any] = MappingProxyType({})


class Now(NamedTuple):
    """The time as the shell knows it: deadlines are monotonic seconds, what is stored is wall clock milliseconds."""

    monotonic: float
    wall_ms: int

    def after_ms(self, milliseconds: float) -> float:
        """The deadline that many milliseconds from now."""
        return self.monotonic + milliseconds / 1000


class Record(NamedTuple):
    """A record of a coordinator's topic; a null value is a tombstone."""

    key: bytes
    value: bytes | None


class Parked:
    """A request that waits for its answer, as the shard knows it: a name and an identity, nothing else."""

    __slots__ = ("group_id", "member_id")

    def __init__(self, group_id: str, member_id: str) -> None:
        self.group_id = group_id
        self.member_id = member_id

    def __repr__(self) -> str:
        return f"Parked({self.group_id!r}, {self.member_id!r})"


class Result(NamedTuple, Generic[A]):
    """What a decision comes to."""

    answer: A | Parked
    """To this request, or where its answer will be looked for later."""
    records: Sequence[Record] = ()
    """Appended, as one batch unless `divisible`, before anything is answered."""
    released: Mapping[Parked, Any] = EMPTY
    """Answers to requests parked before; each parked request is released exactly once."""
    divisible: bool = False
    """Whether each record means something by itself: however many there are, they are appended in several batches."""


class Draft:
    """A `Result` in the making, handed down through the rules of one decision."""

    __slots__ = ("records", "released")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.released: dict[Parked, Any] = {}

    def release(self, parked: Parked, answer: Any) -> None:
        """Answers a request that waits. A second answer would be a defect of the rules."""
        if parked in self.released:
            raise AssertionError(f"{parked} is answered twice")
        self.released[parked] = answer

    def result(self, answer: A | Parked, *, divisible: bool = False) -> Result[A]:
        """Closes the draft; a request that was parked and released in this very decision is simply answered."""
        if isinstance(answer, Parked) and answer in self.released:
            answer = cast("A", self.released.pop(answer))
        return Result(answer, self.records, self.released, divisible)


class Shard(Protocol):
    """The state of one partition of a coordinator's topic."""

    @property
    def deadline(self) -> float:
        """When `expire` is due next, in monotonic seconds; may be early, never late."""
        ...

    def expire(self, now: Now) -> Result[None]:
        """Does what time has made due."""
        ...

    def replay(self, record: Record) -> None:
        """Takes a record of the partition for the truth."""
        ...

    def loaded(self, now: Now) -> Result[None]:
        """Every record is replayed: time begins to count."""
        ...

    def abandon(self, parked: Parked, now: Now) -> Result[None]:
        """Forgets a parked request that nobody waits for any more."""
        ...

    def unload(self, code: int) -> Result[None]:
        """Answers every parked request with this error code."""
        ...


@runtime_checkable
class TransactionalShard(Protocol):
    """A shard whose records may be part of a producer's transaction, which a marker in the partition decides."""

    def replay_pending(self, record: Record, producer_id: int) -> None:
        """Takes a record of a transaction that is open."""
        ...

    def replay_marker(self, producer_id: int, *, committed: bool) -> None:
        """The producer's transaction is decided."""
        ...
