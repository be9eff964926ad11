"""The one place where the broker learns the time: wall clock for records, monotonic for timers.

A test hands in a clock of its own; pure code is handed `now` and never asks.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the shell asks for the time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, as records and logs carry them."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for deadlines of this process alone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`, which is also trio's clock."""
        return time.monotonic()
