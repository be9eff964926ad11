"""`python -m benchmarks.beside_kafka`: measure pykbroker and Apache Kafka in turns; write docs/benchmarks.{md,svg}.

The README's table is written too.

Figures are kept after every cell in benchmarks/results/beside_kafka.json: a run that is broken off can be reported.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.verified import apache_kafka

from benchmarks import report
from benchmarks.beside_kafka.brokers import BROKERS, Standing
from benchmarks.beside_kafka.lines import IN_README, LINES
from benchmarks.beside_kafka.measuring import FULL, QUICK, Cell, Effort, cells
from benchmarks.beside_kafka.page import dots, page, readme, tables
from benchmarks.beside_kafka.plot import svg
from benchmarks.beside_kafka.results import Results
from benchmarks.measurements import keep_memory
from benchmarks.targets import ROOT

KEPT = report.FOLDER / "beside_kafka.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_kafka", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, printed: a smoke test")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    parser.add_argument("--only", metavar="TEXT", help="only cells whose name has this in it; printed, not written")
    parser.add_argument("--anew", action="store_true", help="with --only: replaces the last run's figures of that")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the page from the last run")
    parser.add_argument("--folder", help="where the brokers' data lies (several GB)")
    options = parser.parse_args()
    if options.report:
        write(Results.from_json(KEPT.read_text()))
        return 0
    try:
        apache_kafka.jars()
    except apache_kafka.Unavailable as reason:
        print(f"Apache Kafka can't be run here: {reason}")
        return 1
    effort, results = QUICK if options.quick else FULL, Results(machine=machine())
    is_kept = not (options.quick or options.only)
    compileall.compile_dir(ROOT / "src", quiet=2)  # As pip does.
    keep_memory()
    with tempfile.TemporaryDirectory(prefix="pykbroker-bench-", dir=options.folder, ignore_cleanup_errors=True) as name:
        standing = Standing(Path(name))
        try:
            measure(standing, effort, options.rounds or effort.rounds, options.only or "", results, is_kept)
        finally:
            standing.close()
    if options.only and options.anew:
        results = Results.from_json(KEPT.read_text()).replaced(results, options.only)
        KEPT.write_text(results.to_json())
    if is_kept or options.anew:
        write(results)
    else:
        print(tables(results, LINES))
    return 1 if results.failures else 0


def measure(standing: Standing, effort: Effort, rounds: int, only: str, results: Results, is_kept: bool) -> None:
    """All rounds, after one that isn't recorded."""
    if is_kept:
        for cell in chosen(QUICK, only, is_last=False):
            for broker in BROKERS:
                if cell.measure is not None:
                    one(cell, broker, standing, 0, Results())
    begun = time.monotonic()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for cell in chosen(effort, only, is_last=number == rounds - 1):
            for broker in BROKERS if number % 2 == 0 else BROKERS[::-1]:
                one(cell, broker, standing, number, results)
            results.minutes = (time.monotonic() - begun) / 60
            if is_kept:
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(results.to_json())


def chosen(effort: Effort, only: str, *, is_last: bool) -> Iterator[Cell]:
    return (cell for cell in cells(effort, is_last=is_last) if only in cell.name)


def one(cell: Cell, broker: str, standing: Standing, number: int, results: Results) -> None:
    """One cell; when it fails it is written down, and all others go on."""
    begun = time.monotonic()
    try:
        if cell.alone is not None:
            figures = cell.alone(broker)
        else:
            assert cell.measure is not None
            figures = cell.measure(standing.target(broker))
        results.add(broker, number, figures)
        words = "; ".join(f"{k} {v:.4g}" for values in figures.values() for k, v in values.items())
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        results.failures.append(f"round {number + 1}, {cell.name}, {broker}: {' '.join(words.split())[:300]}")
    print(f"  {time.monotonic() - begun:5.1f} s  {cell.name}, {broker}: {words}", file=sys.stderr, flush=True)


def write(results: Results) -> None:
    """The page, the plot beside it, and the README's table."""
    (ROOT / "docs" / "benchmarks.md").write_text(page(results, LINES))
    (ROOT / "docs" / "benchmarks.svg").write_text(svg(dots(results, LINES)))
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(), results, LINES, IN_README))
    print("written: docs/benchmarks.md, docs/benchmarks.svg, README.md")


def machine() -> dict[str, Any]:
    """What it runs on, in neutral words."""
    from importlib.metadata import version

    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    java = re.search(r'version "([^"]+)"', subprocess.run(["java", "-version"], capture_output=True, text=True).stderr)
    return report.machine() | {
        "model": f" ({model[1].strip()})" if model else "",
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "pykbroker": version("pykbroker"),
        "kafka": apache_kafka.VERSION,
        "java": java[1] if java else "?",
    }


if __name__ == "__main__":
    sys.exit(main())
