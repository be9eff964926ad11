"""Kafka's notation for ranges of versions: `3`, `0-4`, `2+`, `none`.

It holds a range and answers whether a version is in it; it never knows which message the range belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator

HIGHEST = 32767
"""An open range (`2+`) ends here: versions are int16 on the wire."""


class Versions:
    """A closed range of versions; `none` (or None) holds no version. Raises ValueError for any other text."""

    __slots__ = ("high", "low")

    def __init__(self, text: str | None) -> None:
        if text is None or text == "none":
            self.low, self.high = 1, 0
            return
        low, dash, high = text.removesuffix("+").partition("-")
        self.low = int(low)
        self.high = HIGHEST if text.endswith("+") else int(high) if dash else self.low

    def __contains__(self, version: int) -> bool:
        return self.low <= version <= self.high

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.low, self.high + 1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Versions) and (self.low, self.high) == (other.low, other.high)

    def __hash__(self) -> int:
        return hash((self.low, self.high))

    def __repr__(self) -> str:
        return f"Versions({str(self)!r})"

    def __str__(self) -> str:
        if self.low > self.high:
            return "none"
        if self.high == HIGHEST:
            return f"{self.low}+"
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
