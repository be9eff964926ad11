"""`python -m tests.verified [VERSION…]`: pykbroker beside Apache Kafka, 4.3.0 with KRaft and 3.9.1 with a ZooKeeper.

Both are asked the same in one run: raw conversations, whose answers are compared field by field, and the behaviour
table with a client of each family. Exit status 1 when anything isn't as it has to be; a version that can't be run here
is left out, with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "compat")]

import behaviour_table  # noqa: E402
import conversations  # noqa: E402
import wire_record  # noqa: E402
from apache_kafka import VERSION, Unavailable, jars  # noqa: E402
from compat_runs import CLIENTS_AT_ONCE  # noqa: E402
from compat_table import CLIENTS, TABLE  # noqa: E402
from conversations import Kind, Pair  # noqa: E402

VERSIONS = (VERSION, "3.9.1")
SHORT = (
    *("produce_errors", "produce_idempotently", "fetch_errors", "join_errors", "sync_errors", "offset_commit_errors"),
    *("end_txn", "create_topics", "unsupported_versions", "acls", "refused"),
)
"""Conversations of the short form, which holds them with the newest alone."""


@contextmanager
def brokers(version: str, kind: Kind) -> Iterator[Pair]:
    """Apache Kafka and pykbroker, while this lasts. Raises Unavailable."""
    with tempfile.TemporaryDirectory() as folder, conversations.pair(Path(folder), version, kind) as both:
        yield both


def verify(version: str, options: argparse.Namespace) -> list[str]:
    """All that doesn't hold with a version, a text each. Raises Unavailable."""
    jars(version)
    faults: list[str] = []
    if options.only != "conversations":
        with brokers(version, Kind.TABLE) as both:
            arguments = version, both, options.client, options.row, options.at_once
            cells, wrong = behaviour_table.compare(*arguments)
            faults += wrong
            print(f"Apache Kafka {version}: {cells - len(wrong)} of {cells} cells as in the table", flush=True)
    if options.only == "table":
        return faults
    held = []
    for kind in (Kind.PLAIN, Kind.GUARDED):
        with brokers(version, kind) as both:
            held.append(conversations.converse(both, version, kind, options.conversation))
    if options.record:
        record(version, held)
    found = [fault for one in held for fault in one.faults() + (one.stale() if version == VERSION else [])]
    steps, known = sum(one.steps for one in held), sum(one.known for one in held)
    print(f"Apache Kafka {version}: {steps - known - len(found)} answers alike, {known} known to differ", flush=True)
    return faults + found


def record(version: str, held: list[conversations.Comparison]) -> None:
    """Keeps what Apache Kafka said for those who don't have it."""
    said = {talk: answers for one in held for talk, answers in one.theirs.items()}
    if version == VERSION:
        wire_record.write(wire_record.RECORDED, held[0].served, said)
    else:
        kept = {talk: said[talk] for talk in wire_record.OLDER_TALKS if talk in said}
        wire_record.write(wire_record.OLDER_RECORDED, held[0].served, kept)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verified", description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of Apache Kafka; unless told {VERSIONS}")
    parser.add_argument("--only", choices=("conversations", "table"), help="one of the two")
    parser.add_argument("--conversation", action="append", default=[], metavar="NAME", help="some; all unless told")
    parser.add_argument("--short", action="store_true", help="what CI runs: some conversations, the newest Kafka")
    parser.add_argument("--client", action="append", choices=tuple(CLIENTS), help="one of the table's; repeatable")
    parser.add_argument("--row", action="append", default=[], choices=tuple(TABLE), help="of the table; repeatable")
    parser.add_argument("--all-clients", action="store_true", help="of the table, instead of one of each family")
    parser.add_argument("--at-once", type=int, default=CLIENTS_AT_ONCE, metavar="N", help="clients side by side")
    parser.add_argument("--record", action="store_true", help="keep what Apache Kafka says (tests/compat/wire)")
    options = parser.parse_args()
    if options.record and (options.conversation or options.short or options.only == "table"):
        parser.error("all conversations are recorded, or none")
    if options.short:
        options.versions, options.only, options.conversation = [VERSION], "conversations", SHORT
    options.client = list(CLIENTS) if options.all_clients else options.client or behaviour_table.FAMILIES
    faults = []
    for version in options.versions or VERSIONS:
        try:
            faults += verify(version, options)
        except Unavailable as reason:
            print(f"Apache Kafka {version} is left out: {reason}")
    if faults:
        print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
