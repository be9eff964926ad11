"""Where pykbroker answers otherwise than Apache Kafka, by conversation and step, and why.

The tests leave these steps out, and fail when one of them no longer differs.
"""

from __future__ import annotations

from collections.abc import Mapping

NOT_YET = "to be brought in line"

STEPS = {
    "produce_errors": ["unknown magic", "cut short", "control batch", "far future", "base offset isn't 0"],
    "produce_to_compacted": ["no key"],
    "produce_idempotently": [
        "same start, other count",
        "gap",
        "new epoch not at 0",
        "old epoch",
        "older than the last five",
    ],
    "init_producer_id": ["empty transactional id"],
}

DIFFERENCES: Mapping[tuple[str, str], str] = {
    ("describe_configs", "topic with documentation"): "the texts are Apache Kafka's, and none are served here",
    **{(name, step): NOT_YET for name, steps in STEPS.items() for step in steps},
}


def without_known_differences(name: str, steps: Mapping[str, str]) -> dict[str, str]:
    return {label: answer for label, answer in steps.items() if (name, label) not in DIFFERENCES}
