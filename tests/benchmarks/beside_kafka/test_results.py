"""Medians, spreads and ratios: each round beside itself."""

import pytest
from benchmarks.beside_kafka.results import OURS, THEIRS, Line, Results, Verdict, summary

SPEED = Line("Produce", "produce", "mb_per_s", "produce, MB/s", ",.0f", "more", 1.0)
FREE = Line("Groups", "group", "seconds", "a group, s", ".2f")
TIME = Line("Start", "start", "seconds", "start, s", ".2f", "less", 0.1)


def test_a_summary_is_the_median_with_the_least_and_the_greatest() -> None:
    found = summary([3.0, 1.0, 2.0, 10.0, 4.0])
    assert found is not None
    assert found.written(".1f") == "3.0 (1.0–10.0)"
    assert summary([]) is None


def test_a_single_round_shows_no_spread() -> None:
    found = summary([1234.0])
    assert found is not None
    assert found.written(",.0f") == "1,234"


def test_a_ratio_compares_within_a_round_and_forgets_rounds_that_one_of_them_missed() -> None:
    results = Results()
    for number, (ours, theirs) in enumerate([(100.0, 50.0), (30.0, 10.0), (9.0, 9.0)]):
        results.add(OURS, number, {"produce": {"mb_per_s": ours}})
        results.add(THEIRS, number, {"produce": {"mb_per_s": theirs}})
    results.add(OURS, 3, {"produce": {"mb_per_s": 1e9}})
    ratio = results.ratio(SPEED)
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high, ratio.count) == (2.0, 1.0, 3.0, 3)
    assert results.rounds() == 4


def test_nothing_is_divided_by_zero() -> None:
    results = Results()
    results.add(OURS, 0, {"start": {"seconds": 1.0}})
    results.add(THEIRS, 0, {"start": {"seconds": 0.0}})
    assert results.ratio(TIME) is None


@pytest.mark.parametrize(
    ("line", "ratios", "verdict"),
    [
        (SPEED, [1.0], Verdict.MET),
        (SPEED, [0.96, 0.97, 1.01], Verdict.EVEN),
        (SPEED, [0.96, 0.97, 0.99], Verdict.UNMET),
        (SPEED, [0.5, 0.9, 1.5], Verdict.UNMET),
        (TIME, [0.1], Verdict.MET),
        (TIME, [0.09, 0.104, 0.2], Verdict.EVEN),
        (TIME, [0.2], Verdict.UNMET),
        (FREE, [9.0], Verdict.FREE),
    ],
)
def test_a_target_bounds_from_the_side_that_is_better(line: Line, ratios: list[float], verdict: Verdict) -> None:
    ratio = summary(ratios)
    assert ratio is not None
    assert line.verdict(ratio) is verdict


@pytest.mark.parametrize(
    ("line", "ratio", "is_behind"), [(SPEED, 0.9, True), (SPEED, 1.0, False), (FREE, 1.2, True), (FREE, 1.03, False)]
)
def test_what_misses_its_target_or_is_plainly_worse_is_behind(line: Line, ratio: float, is_behind: bool) -> None:
    found = summary([ratio])
    assert found is not None
    assert line.is_behind(found) is is_behind


def test_less_time_is_an_advantage() -> None:
    assert TIME.advantage(0.25) == 4.0
    assert SPEED.advantage(0.25) == 0.25


def test_what_is_kept_as_json_comes_back() -> None:
    results = Results(machine={"cpus": 2}, minutes=1.5)
    results.add(OURS, 7, {"start": {"seconds": 0.25}})
    results.failures.append("round 1, start, Apache Kafka: TimeoutError")
    assert Results.from_json(results.to_json()) == results


def test_what_is_measured_anew_replaces_its_figures_and_failures() -> None:
    results, anew = Results(minutes=10.0, failures=["round 1, a, x: gone", "round 1, b, x: gone"]), Results(minutes=1.0)
    results.add(OURS, 4, {"a": {"s": 1.0}, "b": {"s": 2.0}})
    anew.add(OURS, 0, {"a": {"s": 3.0}})
    both = results.replaced(anew, "a,")
    assert both.samples == {"a": {"s": {OURS: {0: 3.0}}}, "b": {"s": {OURS: {4: 2.0}}}}
    assert (both.failures, both.minutes) == (["round 1, b, x: gone"], 11.0)
