"""Where answers differ on purpose, by conversation and step, and why.

What isn't here doesn't differ, and what is here does: the tests and the run beside Apache Kafka
(tests.verified.conversations) fail on anything else.
"""

from __future__ import annotations

from collections.abc import Mapping

Lines = Mapping[tuple[str, str], str]

OURS: Lines = {
    ("share_fetch", "a topic that isn't there"): "Apache Kafka fails over it (-1); here it is an unknown topic",
}
"""As neither Apache Kafka 4.3 nor 3.9."""

OLDER: Lines = {}
"""As Apache Kafka 3.9 on a ZooKeeper, and not as 4.3."""

NEWER: Lines = {}
"""As Apache Kafka 4.3, and not as 3.9."""


def differing(major: str) -> Lines:
    """The steps whose answers aren't those of Apache Kafka of a major version."""
    return {**OURS, **(NEWER if major == "3" else OLDER)}


def without_known_differences(name: str, steps: Mapping[str, str], major: str = "4") -> dict[str, str]:
    """The answers that have to be the same."""
    known = differing(major)
    return {label: answer for label, answer in steps.items() if (name, label) not in known}
