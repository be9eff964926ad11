"""Where pykbroker answers otherwise than Apache Kafka, by conversation and step, and why.

The tests leave these steps out, and fail when one of them no longer differs.
"""

from __future__ import annotations

from collections.abc import Mapping

DIFFERENCES: Mapping[tuple[str, str], str] = {
    ("share_fetch", "a topic that isn't there"): "Apache Kafka fails over it (-1); here it is an unknown topic",
}


def without_known_differences(name: str, steps: Mapping[str, str]) -> dict[str, str]:
    return {label: answer for label, answer in steps.items() if (name, label) not in DIFFERENCES}
