"""Moments and lengths of time as people and Kafka's tools write them; they come out in milliseconds."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime

_LAST = 253_402_300_799_000
"""The last second of the year 9999. A clock that counts microseconds is beyond it."""
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SHORT = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)


def duration(text: str) -> int:
    """`90s`, `10m`, `2h`, `1d`, or ISO 8601's `P1DT2H3M4S`, as Kafka's --by-duration has it."""
    short = _SHORT.fullmatch(text)
    if short is not None:
        return int(short[1]) * _UNITS[short[2]]
    iso = _ISO.fullmatch(text)
    if iso is None or not any(iso.groups()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a duration like 10m, 2h or P1DT2H")
    days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
    return int(days * 86_400_000 + hours * 3_600_000 + minutes * 60_000 + seconds * 1000)


def moment(text: str) -> int:
    """`2026-11-25T10:00:00.000`, in UTC unless a zone is given, as Kafka's --to-datetime has it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time like 2026-11-25T10:00:00") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1000)


def moment_or_ago(text: str) -> int:
    """A moment; milliseconds since the epoch; or a duration, negative, for so long ago."""
    if text.isdecimal():
        return int(text)
    try:
        return moment(text)
    except argparse.ArgumentTypeError:
        try:
            return -duration(text)
        except argparse.ArgumentTypeError:
            message = f"{text!r}: expected a time like 2026-11-25T10:00:00, milliseconds, or how long ago, like 10m"
            raise argparse.ArgumentTypeError(message) from None


def text_of(timestamp: int) -> str | None:
    """Milliseconds since the epoch as a moment in UTC, a number where no calendar has it; None for no time."""
    if timestamp < 0:
        return None
    if timestamp > _LAST:
        return str(timestamp)
    return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
