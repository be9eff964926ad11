"""What the load programs make of their samples, of what others' tools print, and of failures."""

from pathlib import Path
from random import Random

import pytest
from benchmarks.beside_kafka.__main__ import one
from benchmarks.beside_kafka.brokers import Standing
from benchmarks.beside_kafka.latency import percentiles
from benchmarks.beside_kafka.measuring import Cell
from benchmarks.beside_kafka.results import OURS, Figures, Results
from benchmarks.measurements import LostRecordsError
from benchmarks.records import text_values, value

from benchmarks.beside_kafka import java_tools

PRODUCED = """1000 records sent, 900.0 records/sec (0.86 MB/sec), 1.0 ms avg latency, 9.0 ms max latency.
3000 records sent, 2500.50 records/sec (2.38 MB/sec), 1.20 ms avg latency, 9.00 ms max latency, 1 ms 50th, 2 ms 95th, \
3 ms 99th, 9 ms 99.9th.
"""
CONSUMED = "2026-01-01 00:00:00:000, 2026-01-01 00:00:01:000, 2.8610, 2.8610, 3000, 3000.0, 200, 800, 3.5763, 3750.0\n"


def test_percentiles_are_samples() -> None:
    assert percentiles([float(value) for value in range(1000, 0, -1)]) == {"p50": 501.0, "p99": 991.0, "p99.9": 1000.0}
    assert percentiles([7.0]) == {"p50": 7.0, "p99": 7.0, "p99.9": 7.0}


def test_the_last_line_of_the_producers_tool_counts() -> None:
    assert java_tools.produced(PRODUCED, 3000) == 2500.5
    with pytest.raises(LostRecordsError):
        java_tools.produced(PRODUCED, 4000)


def test_the_consumers_tool_is_read_without_the_time_to_join() -> None:
    assert java_tools.consumed(CONSUMED, 3000) == pytest.approx(3.75, rel=1e-3)
    for text in ("", "WARNING: Exiting before consuming\n" + CONSUMED):
        with pytest.raises(LostRecordsError):
            java_tools.consumed(text, 4000)


@pytest.mark.parametrize("size", [100, 1_000, 10_000])
def test_a_value_has_its_size_and_is_the_same_each_time(size: int) -> None:
    first, second = (value(Random(7), size) for _ in range(2))
    assert first == second
    assert len(first) == size
    assert first.startswith(b'{"id":')
    assert first.endswith(b"}")


def test_values_are_distinct() -> None:
    values = text_values(500_000)
    assert len(values) == len(set(values)) == 4


def test_a_cell_that_fails_costs_nothing_but_itself(tmp_path: Path) -> None:
    def breaks(broker: str) -> Figures:
        raise LostRecordsError(f"{broker}:\n  7 records are gone")

    results, standing = Results(), Standing(tmp_path)
    one(Cell("bad", alone=breaks), OURS, standing, 0, results)
    one(Cell("good", alone=lambda broker: {"start": {"seconds": 1.0}}), OURS, standing, 0, results)
    assert results.failures == ["round 1, bad, pykbroker: LostRecordsError: pykbroker: 7 records are gone"]
    assert results.samples == {"start": {"seconds": {OURS: {0: 1.0}}}}
