"""`python tests/compat/wire/wire_record.py HOST:PORT`: hold all conversations with a broker and record its answers.

Meant for Apache Kafka; what it says becomes what is expected (apache_kafka.json).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "src"))

import wire_admin
import wire_consumer_groups
import wire_data
import wire_dynamic
import wire_groups
import wire_share_groups
import wire_transactions
from wire_talk import CONVERSATIONS, hold

RECORDED = Path(__file__).parent / "apache_kafka.json"
MODULES = (wire_data, wire_groups, wire_consumer_groups, wire_share_groups, wire_admin, wire_transactions, wire_dynamic)


def record(bootstrap: str) -> dict[str, dict[str, list[str]]]:
    """By conversation and step: the answers, one for each version; null where a version has no such step."""
    recorded = {}
    for name, (_, versions) in CONVERSATIONS.items():
        by_version = {version: hold(bootstrap, name, version) for version in versions}
        labels = dict.fromkeys(label for said in by_version.values() for label in said)
        recorded[name] = {label: grouped(by_version, label) for label in labels}
    return recorded


def grouped(by_version: dict[int, dict[str, str]], label: str) -> dict[str, str]:
    """The answers of a step by range of versions, neighbours that say the same in one."""
    ranges: list[tuple[int, int, str]] = []
    for version, said in by_version.items():
        if label not in said:
            continue
        if ranges and ranges[-1][1] == version - 1 and ranges[-1][2] == said[label]:
            ranges[-1] = (ranges[-1][0], version, said[label])
        else:
            ranges.append((version, version, said[label]))
    return {f"{first}-{last}": answer for first, last, answer in ranges}


def expected(name: str, version: int) -> dict[str, str]:
    """What Apache Kafka said in a conversation at a version, by step."""
    steps = json.loads(RECORDED.read_text())[name]
    found = {}
    for label, ranges in steps.items():
        for span, answer in ranges.items():
            first, _, last = span.partition("-")
            if int(first) <= version <= int(last):
                found[label] = answer
    return found


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(sys.argv[1]), indent=1) + "\n")
