"""Which partition of a coordinator's topic a group or a transactional id belongs to."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=8192)
def partition_of(name: str, partitions: int) -> int:
    """Java's `String.hashCode`, its absolute value (Kafka's: of the smallest integer 0) modulo the partitions."""
    units = name.encode("utf-16-be", "surrogatepass")
    code = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        code = (31 * code + (high << 8 | low)) & 0xFFFFFFFF
    signed = code - (1 << 32) if code & 0x80000000 else code
    return 0 if signed == -(1 << 31) else abs(signed) % partitions
