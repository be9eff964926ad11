"""Medians, spreads and ratios of what was measured, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"

# Measurement, figure, its words, format.
ROWS = [
    ("process", "start", "start to first Metadata answer, s", ".3f"),
    ("process", "rss", "idle memory RSS, MB", ".1f"),
    ("process", "pss", "idle memory PSS, MB", ".1f"),
    ("after the run", "rss", "memory after the run RSS, MB", ".1f"),
    ("produce 100 B", "records_per_s", "produce 100 B, records/s", ",.0f"),
    ("produce 100 B", "cpu_s_per_gb", "produce 100 B, broker CPU s/GB", ".2f"),
    ("produce 1000 B", "mb_per_s", "produce 1 KB, MB/s", ".0f"),
    ("produce 1000 B", "cpu_s_per_gb", "produce 1 KB, broker CPU s/GB", ".2f"),
    ("consume 100 B", "records_per_s", "consume 100 B, records/s", ",.0f"),
    ("consume 100 B", "cpu_s_per_gb", "consume 100 B, broker CPU s/GB", ".2f"),
    ("consume 1000 B", "mb_per_s", "consume 1 KB, MB/s", ".0f"),
    ("consume 1000 B", "cpu_s_per_gb", "consume 1 KB, broker CPU s/GB", ".2f"),
    ("acks=1", "p50_ms", "acks=1 latency p50, ms", ".3f"),
    ("acks=1", "p99_ms", "acks=1 latency p99, ms", ".3f"),
]


class Results:
    """Every figure of every round: broker → measurement → figure → samples in the order of the rounds."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(self, broker: str, measurement: str, figures: dict[str, float]) -> None:
        kept = self.samples.setdefault(broker, {}).setdefault(measurement, {})
        for name, value in figures.items():
            kept.setdefault(name, []).append(value)

    def of(self, broker: str, measurement: str, figure: str) -> list[float]:
        return self.samples.get(broker, {}).get(measurement, {}).get(figure, [])


def table(results: Results, subject: str, yardstick: str) -> str:
    """A Markdown table: medians with the least and the greatest sample, and the ratio of the medians."""
    lines = [f"| | {subject} | {yardstick} | ratio |", "|---|---:|---:|---:|"]
    for measurement, figure, words, form in ROWS:
        ours, theirs = (results.of(broker, measurement, figure) for broker in (subject, yardstick))
        if not ours:
            continue
        ratio = ""
        if theirs and statistics.median(theirs):
            ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}"
        lines.append(f"| {words} | {spread(ours, form)} | {spread(theirs, form)} | {ratio} |")
    return "\n".join(lines)


def spread(samples: list[float], form: str) -> str:
    if not samples:
        return ""
    median = format(statistics.median(samples), form)
    return median if len(samples) == 1 else f"{median} ({min(samples):{form}}–{max(samples):{form}})"


def write(results: Results) -> Path:
    """All samples and what they were taken on, as JSON under results/; the path."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine(), "samples": results.samples}, indent=1))
    return path


def machine() -> dict[str, Any]:
    import confluent_kafka

    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "confluent_kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
