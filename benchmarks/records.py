"""Record values as services write them: lines of JSON that compress as such lines do, the same in every run."""

from __future__ import annotations

import json
import random
from functools import cache

DISTINCT_BYTES = 2_000_000
"""Of values before they repeat: more than a batch, and more than a codec looks back."""
MOST_DISTINCT = 10_000
WORDS = (
    *("order", "payment", "shipped", "cancelled", "customer", "invoice", "warehouse", "delayed", "refund", "basket"),
    *("checkout", "session", "voucher", "address", "confirmed", "pending", "retry", "gateway", "timeout", "accepted"),
    *("rejected", "partial", "delivery", "express", "standard", "pickup"),
)


@cache
def text_values(size: int) -> list[bytes]:
    """Distinct values of exactly `size` bytes each."""
    source = random.Random(size)
    return [value(source, size) for _ in range(max(1, min(MOST_DISTINCT, DISTINCT_BYTES // size)))]


def value(source: random.Random, size: int) -> bytes:
    """The next value of a source: the head of a line of JSON, and a brace at its end."""
    fields = {
        "id": source.getrandbits(40),
        "at": 1_700_000_000_000 + source.randrange(10**9),
        "user": f"u{source.randrange(100_000):05d}",
        "kind": source.choice(WORDS),
    }
    parts = [json.dumps(fields, separators=(",", ":"))[:-1]]
    left = size - len(parts[0])
    while left > 0:
        parts.append(f',"{source.choice(WORDS)}":"{source.choice(WORDS)} {source.randrange(10**6)}"')
        left -= len(parts[-1])
    return "".join(parts)[: size - 1].encode() + b"}"
