"""`python -m tests.verified.behaviour_table [VERSION…]`: the behaviour table against Apache Kafka itself.

What the table expects of pykbroker has to be what Apache Kafka does: a cell that comes out otherwise here is a row that
isn't true. Exit status 1 when there is one; a version whose jars can't be had is left out, with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "compat")]
sys.path.append(str(Path(__file__).parents[1] / "compat" / "clients"))

import raw  # noqa: E402
from apache_kafka import VERSION, ApacheKafka, Unavailable  # noqa: E402
from compat_runs import AUTHORIZER, CLIENTS_AT_ONCE, HASTE, Runs  # noqa: E402
from compat_table import NEWER_PROTOCOL, SHARING, cells, expected, told  # noqa: E402

NOT_YET = {"3": (*NEWER_PROTOCOL, *SHARING)}
"""Rows of what a major version doesn't serve by itself."""

ONE_BROKER = {
    "broker.session.timeout.ms": "18000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
}
"""Patience on a busy machine, and share groups without two more brokers."""
GROUPS = 5
"""Questions until its one partition of offsets certainly serves."""


def compare(version: str, clients: list[str], rows: list[str], at_once: int) -> int:
    """Runs all cells, prints those that aren't as the table says, and gives their number. Raises Unavailable."""
    chosen = [
        (client, behaviour)
        for client, behaviour in cells()
        if behaviour not in NOT_YET.get(version[0], ())
        and (not clients or client in clients)
        and (not rows or behaviour in rows)
    ]
    haste = dict(word.split("=", 1) for word in HASTE if "=" in word)
    config = AUTHORIZER | (ONE_BROKER | haste if version[0] != "3" else {})
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(Path(folder), version, config) as kafka:
        raw.settle(kafka.bootstrap_servers, GROUPS)
        runs = Runs(kafka.bootstrap_servers, chosen, at_once)
        try:
            runs.start()
            return report(version, runs, [cell for cell in chosen if cell[0] not in runs.missing])
        finally:
            runs.stop()


def report(version: str, runs: Runs, chosen: list[tuple[str, str]]) -> int:
    other = 0
    for client, reason in runs.missing.items():
        print(f"{client} is left out: {reason}")
    for client, behaviour in chosen:
        answer = runs.answer(client, behaviour)
        if "error" in answer or told(client, behaviour, answer["outcome"]) != expected(client, behaviour):
            other += 1
            print(f"{client} {behaviour}: {answer.get('error', answer.get('outcome'))}", flush=True)
    print(f"Apache Kafka {version}: {len(chosen) - other} of {len(chosen)} cells as in the table", flush=True)
    return other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of Apache Kafka; {VERSION} unless told")
    parser.add_argument("--client", action="append", default=[], help="one of the table's; all unless told")
    parser.add_argument("--row", action="append", default=[], help="one of the table's behaviours; all unless told")
    parser.add_argument("--at-once", type=int, default=CLIENTS_AT_ONCE, metavar="N", help="clients side by side")
    options = parser.parse_args()
    other = 0
    for version in options.versions or [VERSION]:
        try:
            other += compare(version, options.client, options.row, options.at_once)
        except Unavailable as reason:
            print(f"Apache Kafka {version} is left out: {reason}")
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
