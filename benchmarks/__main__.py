"""`python -m benchmarks`: measure pykbroker beside librdkafka's mock cluster, round by round in turn."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import measurements, report, targets
from benchmarks.report import Results


@dataclass(frozen=True)
class Effort:
    """How much of each thing a round does."""

    rounds: int
    records_of_100_bytes: int
    records_of_1_kb: int
    latencies: int


FULL = Effort(rounds=5, records_of_100_bytes=2_000_000, records_of_1_kb=400_000, latencies=3000)
QUICK = Effort(rounds=2, records_of_100_bytes=300_000, records_of_1_kb=60_000, latencies=500)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds: a smoke test, not a figure to quote")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="measure this broker instead of starting pykbroker")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    results = Results()
    with ExitStack() as stack:
        subject = targets.given(options.bootstrap) if options.bootstrap else targets.pykbroker()
        measured = [stack.enter_context(subject), stack.enter_context(targets.mock_cluster())]
        for number in range(options.rounds or effort.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            if not options.bootstrap:
                results.add("pykbroker", "process", targets.start_and_memory())
            one_round(measured, effort, results)
        if not options.bootstrap:
            results.add("pykbroker", "after the run", {k.lower(): v for k, v in measured[0].memory().items()})
    print(report.table(results, measured[0].name, measured[1].name))
    print(f"\nwritten to {report.write(results)}")
    return 0


def one_round(measured: list[targets.Target], effort: Effort, results: Results) -> None:
    """Each measurement of every broker, before the next measurement."""
    for size, count in ((100, effort.records_of_100_bytes), (1000, effort.records_of_1_kb)):
        topics = [(target, measurements.create_topic(target)) for target in measured]
        load = measurements.Load(size, count)
        for target, topic in topics:
            results.add(target.name, f"produce {size} B", measurements.produce(target, topic, load))
        for target, topic in topics:
            results.add(target.name, f"consume {size} B", measurements.consume(target, topic, load))
        for target, topic in topics:
            measurements.delete_topic(target, topic)
    topics = [(target, measurements.create_topic(target)) for target in measured]
    for target, topic in topics:
        results.add(target.name, "acks=1", measurements.latency(target, topic, effort.latencies))
    for target, topic in topics:
        measurements.delete_topic(target, topic)


if __name__ == "__main__":
    sys.exit(main())
