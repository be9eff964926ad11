"""What Apache Kafka said in the conversations, as it was recorded: by tests.verified.conversations, which runs it.

Of 4.3.0 all conversations are kept (apache_kafka.json); of 3.9.1 (apache_kafka_3.9.json) those in versions that the
newer one has no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import wire_admin
import wire_between
import wire_cluster
import wire_consumer_groups
import wire_data
import wire_dynamic
import wire_formats
import wire_groups
import wire_security
import wire_share_groups
import wire_transactions
import wire_versions
from wire_talk import CONVERSATIONS

RECORDED = Path(__file__).parent / "apache_kafka.json"
OLDER_RECORDED = Path(__file__).parent / "apache_kafka_3.9.json"
MODULES = (
    *(wire_data, wire_groups, wire_consumer_groups, wire_share_groups, wire_admin, wire_cluster, wire_transactions),
    *(wire_dynamic, wire_formats, wire_versions, wire_security, wire_between),
)
Said = Mapping[str, str]
"""The answers of a conversation at one version, by step."""
TALKS = [(name, version) for name, held in CONVERSATIONS.items() for version in held.versions]
OLDER_TALKS = [
    (name, version)
    for name, held in CONVERSATIONS.items()
    if held.versions
    for version in range(held.older.start, held.versions.start)
]


def write(file: Path, served: Mapping[int, range], said: Mapping[tuple[str, int], Said]) -> None:
    """Keep what was said, neighbouring versions that say the same in one, and what the broker serves."""
    kept: dict[str, Any] = {}
    for name in dict.fromkeys(name for name, _ in said):
        by_version = {version: answers for (one, version), answers in said.items() if one == name}
        labels = dict.fromkeys(label for answers in by_version.values() for label in answers)
        kept[name] = {label: _grouped(by_version, label) for label in labels}
    listed = {str(key): [versions.start, versions.stop] for key, versions in sorted(served.items())}
    file.write_text(json.dumps({"served": listed, "said": kept}, indent=1) + "\n")


def _grouped(by_version: Mapping[int, Said], label: str) -> dict[str, str]:
    """The answers of a step by range of versions."""
    ranges: list[tuple[int, int, str]] = []
    for version, said in by_version.items():
        if label not in said:
            continue
        if ranges and ranges[-1][1] == version - 1 and ranges[-1][2] == said[label]:
            ranges[-1] = (ranges[-1][0], version, said[label])
        else:
            ranges.append((version, version, said[label]))
    return {f"{first}-{last}": answer for first, last, answer in ranges}


@cache
def _read(file: Path) -> Any:
    return json.loads(file.read_text())


def served(file: Path = RECORDED) -> dict[int, range]:
    """The versions of each API that the recorded broker has."""
    return {int(key): range(start, stop) for key, (start, stop) in _read(file)["served"].items()}


def expected(name: str, version: int, file: Path = RECORDED) -> dict[str, str]:
    """What Apache Kafka said in a conversation at a version, by step."""
    found = {}
    for label, ranges in _read(file)["said"].get(name, {}).items():
        for span, answer in ranges.items():
            first, _, last = span.partition("-")
            if int(first) <= version <= int(last):
                found[label] = answer
    return found
