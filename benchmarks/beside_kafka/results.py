"""What was measured, round by round, and what it comes to: medians, spreads, ratios. Pure."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

EVEN = 0.05
"""Within this of a target, with rounds on both sides of it, nothing is told apart."""
OURS, THEIRS = "pykbroker", "Apache Kafka"
Figures = dict[str, dict[str, float]]
"""Of one broker in one round: measurement → figure → value."""


class Verdict(Enum):
    """What became of a line's target, in the words of the table."""

    MET = "met"
    EVEN = "even"
    UNMET = "**not met**"
    FREE = ""


@dataclass(frozen=True)
class Line:
    """A line of the table: a figure of a measurement in words, how it is written, and the ratio that is wanted."""

    section: str
    measurement: str
    figure: str
    words: str
    form: str
    better: Literal["less", "more"] = "less"
    target: float | None = None
    plotted: bool = True

    def verdict(self, ratio: Summary) -> Verdict:
        """Of the rounds' ratios (pykbroker / Apache Kafka).

        Even: the median misses the target by less than EVEN, and there are rounds that reach it.
        """
        if self.target is None:
            return Verdict.FREE
        if self._reaches(ratio.median, self.target):
            return Verdict.MET
        missed_by = abs(ratio.median - self.target) / self.target
        best = ratio.low if self.better == "less" else ratio.high
        return Verdict.EVEN if missed_by < EVEN and self._reaches(best, self.target) else Verdict.UNMET

    def is_behind(self, ratio: Summary) -> bool:
        """Whether it misses its target or, without one, is worse than Apache Kafka by more than EVEN."""
        verdict = self.verdict(ratio)
        return verdict is Verdict.UNMET or (verdict is Verdict.FREE and self.advantage(ratio.median) < 1 - EVEN)

    def _reaches(self, ratio: float, target: float) -> bool:
        return ratio <= target if self.better == "less" else ratio >= target

    def advantage(self, ratio: float) -> float:
        """How many times better than Apache Kafka; below 1: worse."""
        return 1 / ratio if self.better == "less" else ratio


@dataclass(frozen=True)
class Summary:
    """The median of some samples, the least and the greatest."""

    median: float
    low: float
    high: float
    count: int

    def written(self, form: str) -> str:
        """As it stands in a table."""
        median = format(self.median, form)
        return median if self.count == 1 else f"{median} ({self.low:{form}}–{self.high:{form}})"


def summary(samples: list[float]) -> Summary | None:
    """None without samples."""
    return Summary(statistics.median(samples), min(samples), max(samples), len(samples)) if samples else None


@dataclass
class Results:
    """Every sample: measurement → figure → broker → round → value; and what failed, in words."""

    samples: dict[str, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    minutes: float = 0.0

    def add(self, broker: str, number: int, figures: Figures) -> None:
        """What a broker did in a round."""
        for measurement, values in figures.items():
            kept = self.samples.setdefault(measurement, {})
            for figure, value in values.items():
                kept.setdefault(figure, {}).setdefault(broker, {})[number] = value

    def of(self, broker: str, line: Line) -> Summary | None:
        """A broker's figures of all rounds."""
        return summary([*self._rounds(broker, line).values()])

    def ratio(self, line: Line) -> Summary | None:
        """pykbroker / Apache Kafka, in each round by itself: what disturbs the machine disturbs both of them."""
        ours, theirs = self._rounds(OURS, line), self._rounds(THEIRS, line)
        return summary([ours[number] / theirs[number] for number in ours if theirs.get(number)])

    def rounds(self) -> int:
        """The most samples that a figure has."""
        kept = [by for figures in self.samples.values() for brokers in figures.values() for by in brokers.values()]
        return max(map(len, kept), default=0)

    def _rounds(self, broker: str, line: Line) -> dict[int, float]:
        return self.samples.get(line.measurement, {}).get(line.figure, {}).get(broker, {})

    def replaced(self, anew: Results, cell: str) -> Results:
        """With figures and failures of cells (with `cell` in their names) that were measured anew."""
        kept = [failure for failure in self.failures if cell not in failure]
        return Results(self.samples | anew.samples, kept + anew.failures, self.machine, self.minutes + anew.minutes)

    def to_json(self) -> str:
        return json.dumps(vars(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        kept = json.loads(text)
        for figures in kept["samples"].values():
            for brokers in figures.values():
                for broker, by_round in brokers.items():
                    brokers[broker] = {int(number): value for number, value in by_round.items()}
        return cls(**kept)
