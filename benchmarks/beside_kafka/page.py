"""docs/benchmarks.md: the table, the targets, what stays behind and why. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from benchmarks.beside_kafka.plot import Dot
from benchmarks.beside_kafka.reasons import NOTES, REASONS, Reason
from benchmarks.beside_kafka.results import OURS, THEIRS, Line, Results, Summary, Verdict

PAGE = """# pykbroker beside Apache Kafka

<!-- Made by `make bench`: run it instead of editing this. -->

{head}

![Times better than Apache Kafka](benchmarks.svg)

Read the tables so: the median of the rounds (the least–the greatest). *Ratio* is pykbroker / Apache Kafka within one
round, again as median and spread: what disturbs the machine disturbs both. A figure with a single round says so by
having no spread. GB and MB are 10⁹ and 10⁶ bytes of record values before compression.

{tables}

## What is behind, and why

{behind}
{failures}
## How it is measured

{notes}
"""
HEAD = """Same machine, same run, same clients: {rounds} interleaved rounds, {minutes:.0f} minutes in all.
Of the targets {met} are met, {even} are even (the median misses by less than 5 %, and some rounds reach it), {unmet}
are not met.

- **Machine**: {cpus} cores{model}, {memory:.0f} GB of memory, {system}; clients and brokers share it.
- **pykbroker** {pykbroker} on Python {python}; **Apache Kafka** {kafka} (KRaft, one node) on Java {java}.
- **Clients**: librdkafka {librdkafka} (confluent-kafka {confluent_kafka}); Apache Kafka's tools {kafka}; bare sockets.
- **Commands**: `make bench` measures and writes this page; `make bench ARGS=--quick` is a smoke test;
  `ARGS=--report` writes the page again from the last run's figures."""
UNKNOWN = Reason("Not looked into yet", "", "")


def page(results: Results, lines: Sequence[Line]) -> str:
    """The whole page."""
    measured = [(line, ratio, line.verdict(ratio)) for line in lines if (ratio := results.ratio(line))]
    count = Counter(verdict for _, _, verdict in measured)
    head = HEAD.format(
        rounds=results.rounds(),
        minutes=results.minutes,
        met=count[Verdict.MET],
        even=count[Verdict.EVEN],
        unmet=count[Verdict.UNMET],
        **results.machine,
    )
    failures = "".join(f"- {failure}\n" for failure in results.failures)
    return PAGE.format(
        head=head,
        tables=tables(results, lines),
        behind=behind([(line, ratio) for line, ratio, _ in measured if line.is_behind(ratio)]),
        failures=f"\n## What failed while measuring\n\n{failures}" if failures else "",
        notes=NOTES,
    )


def tables(results: Results, lines: Sequence[Line]) -> str:
    """A table a section, of what was measured."""
    known = [line for line in lines if results.of(OURS, line) or results.of(THEIRS, line)]
    sections = groupby(known, lambda line: line.section)
    return "\n\n".join(f"## {section}\n\n{table(results, list(of))}" for section, of in sections)


def table(results: Results, lines: Sequence[Line]) -> str:
    """A Markdown table."""
    out = [f"| | {OURS} | {THEIRS} | ratio | target | |", "|---|---:|---:|---:|---:|:-:|"]
    for line in lines:
        ours, theirs, ratio = results.of(OURS, line), results.of(THEIRS, line), results.ratio(line)
        cells = [_written(ours, line.form), _written(theirs, line.form), _written(ratio, ".2f"), target(line)]
        verdict = "" if ratio is None else line.verdict(ratio).value
        out.append(f"| {line.words} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(out)


def readme(text: str, results: Results, lines: Sequence[Line], chosen: Mapping[str, str]) -> str:
    """The README with a new table of some lines' medians; `chosen`: their words, and those to write."""
    before, head, rest = text.partition("| | pykbroker | Apache Kafka | ratio |\n|---|---:|---:|---:|\n")
    rows = []
    for line in lines:
        ours, theirs, ratio = results.of(OURS, line), results.of(THEIRS, line), results.ratio(line)
        if line.words in chosen and ours and theirs and ratio:
            figures = f"{ours.median:{line.form}} | {theirs.median:{line.form}} | {ratio.median:.2f}"
            rows.append(f"| {chosen[line.words]} | {figures} |\n")
    _, end, after = rest.partition("\n\n")
    return "".join([before, head, *rows, end[1:], after])


def _written(found: Summary | None, form: str) -> str:
    return "not measured" if found is None else found.written(form)


def target(line: Line) -> str:
    """`≤ 0.1`, or nothing."""
    return "" if line.target is None else f"{'≤' if line.better == 'less' else '≥'} {line.target:g}"


def behind(lines: Sequence[tuple[Line, Summary]]) -> str:
    """Every line that misses its target, or has none and is worse than Apache Kafka, under its reason."""
    if not lines:
        return "Nothing is."
    parts = []
    for reason in [*REASONS, UNKNOWN]:
        covered = [(line, ratio) for line, ratio in lines if reason_for(line) is reason]
        if covered:
            listed = "\n".join(
                f"- {line.words}: {ratio.median:.2f} ({target(line) or 'no target'})" for line, ratio in covered
            )
            parts.append("\n\n".join(filter(None, [f"**{reason.title}**", listed, reason.text])))
    return "\n\n".join(parts) + "\n"


def reason_for(line: Line) -> Reason:
    """The first one whose pattern is found in the line's words."""
    found = (reason for reason in REASONS if re.search(reason.pattern, line.words))
    return next(found, UNKNOWN)


def dots(results: Results, lines: Sequence[Line]) -> list[Dot]:
    """What is plotted."""
    made = []
    for line in lines:
        ratio = results.ratio(line)
        if ratio is not None and line.plotted:
            low, high = sorted((line.advantage(ratio.low), line.advantage(ratio.high)))
            middle = line.advantage(ratio.median)
            made.append(Dot(line.section, line.words.rpartition(", ")[0], middle, low, high, line.verdict(ratio)))
    return made
