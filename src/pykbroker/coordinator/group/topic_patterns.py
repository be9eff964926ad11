"""Subscriptions by regular expression, in RE2's syntax (KIP-848): its time is linear, so that none can stall a broker.

The library is loaded when a group first subscribes so; it is the extra `regex`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError


class ResolvedPattern(NamedTuple):
    """The topics that an expression stands for, as of when; in milliseconds."""

    topics: frozenset[str]
    timestamp_ms: int


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The expression. Raises INVALID_REGULAR_EXPRESSION, also where RE2 isn't installed."""
    try:
        import re2
    except ImportError as error:
        raise KafkaError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            "Regular expressions need RE2 in the broker: pip install google-re2",
        ) from error
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise KafkaError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"SubscribedTopicRegex `{pattern}` is not a valid regular expression: {text}.",
        ) from error


def resolve(
    patterns: Iterable[str], topics: Collection[str], may_see: Callable[[str], bool], timestamp_ms: int
) -> Mapping[str, ResolvedPattern]:
    """The topics whose whole name matches, of those that the member may see.

    An expression of a record that can't be used any more matches nothing.
    """
    resolved = {}
    for pattern in patterns:
        try:
            fullmatch = compiled(pattern).fullmatch
        except KafkaError:
            found: frozenset[str] = frozenset()
        else:
            found = frozenset(topic for topic in topics if fullmatch(topic) and may_see(topic))
        resolved[pattern] = ResolvedPattern(found, timestamp_ms)
    return resolved
