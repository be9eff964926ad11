"""The lines of the table, in their order, and the targets: ratios to Apache Kafka with its default settings."""

from __future__ import annotations

from benchmarks.beside_kafka.results import Line

SIZES = {100: "100 B", 1_000: "1 KB", 10_000: "10 KB"}
PARTITIONS = (1, 12)
CODECS = {"none": "plain", "lz4": "lz4", "zstd": "zstd"}
RATES = (2, 10)
"""Requests a second of each of the many clients. Beyond what a broker answers, latency says how long it was asked."""
MANY_PARTITIONS = (1_000, 10_000)
PROTOCOLS = ("classic", "consumer")

START = "Start and memory"
PRODUCE = "Produce throughput"
CONSUME = "Consume throughput"
CPU = "Broker CPU"
JAVA = "Java's own tools"
LATENCY = "Latency"
MANY = "Many clients"
PARTITIONED = "Many partitions"
GROUPS = "Groups"


def throughput_name(size: int, partitions: int, codec: str) -> str:
    plural = "partition" if partitions == 1 else "partitions"
    return f"{SIZES[size]}, {partitions} {plural}, {CODECS[codec]}"


def _throughput() -> list[Line]:
    shapes = [(size, partitions, codec) for size in SIZES for partitions in PARTITIONS for codec in CODECS]
    lines = []
    for section, way in ((PRODUCE, "produce"), (CONSUME, "consume")):
        names = [f"{way} {throughput_name(*shape)}" for shape in shapes]
        lines += [Line(section, name, "mb_per_s", f"{name}, MB/s", ",.0f", "more", 1.0) for name in names]
    for way in ("produce", "consume"):
        for shape in shapes:
            name, plotted = f"{way} {throughput_name(*shape)}", shape[2] == "none"
            words = f"{name}, CPU s/GB"
            lines.append(Line(CPU, name, "cpu_s_per_gb", words, ".2f", target=1.0, plotted=plotted))
    return lines


def _java() -> list[Line]:
    lines = []
    for tool, way in (("ProducerPerformance", "produce"), ("ConsumerPerformance", "consume")):
        words = f"{tool}, 1 KB, 12 partitions"
        lines += [
            Line(JAVA, f"java {way}", "mb_per_s", f"{words}, MB/s", ",.0f", "more", 1.0),
            Line(JAVA, f"java {way}", "cpu_s_per_gb", f"{words}, CPU s/GB", ".2f", target=1.0, plotted=False),
        ]
    return lines


def _latencies() -> list[Line]:
    lines: list[Line] = []
    for measurement, words, targets in (
        ("acks=1", "produce with acks=1", {"p50": 1.0, "p99": 1.0}),
        ("acks=all", "produce with acks=all", {}),
        ("end to end", "producer to consumer", {}),
    ):
        lines += [
            Line(LATENCY, measurement, figure, f"{words}, {figure}, ms", ".2f", target=targets.get(figure))
            for figure in ("p50", "p99", "p99.9")
        ]
    return lines


def many_name(rate: int) -> str:
    return f"1,000 clients, each {rate} requests/s"


def _many() -> list[Line]:
    lines = []
    for rate in RATES:
        name = many_name(rate)
        lines += [
            Line(MANY, name, "per_s", f"{name}, answers/s", ",.0f", "more"),
            Line(MANY, name, "p50", f"{name}, p50, ms", ".2f", plotted=rate == RATES[0]),
            Line(MANY, name, "p99", f"{name}, p99, ms", ".2f", plotted=rate == RATES[0]),
            Line(MANY, name, "cpu", f"{name}, broker CPU s per second", ".2f", plotted=False),
        ]
    return lines


def _partitions() -> list[Line]:
    lines = []
    for count in MANY_PARTITIONS:
        name = f"{count:,} partitions"
        lines += [
            Line(PARTITIONED, name, "create", f"create {name}, s", ".2f"),
            Line(PARTITIONED, name, "start", f"start with {name} to the first acknowledged produce, s", ".2f"),
            Line(PARTITIONED, name, "rss", f"memory with {name} (RSS), MB", ",.0f"),
        ]
    return lines


LINES = [
    Line(START, "start", "seconds", "start to the first acknowledged produce, s", ".2f", target=0.1),
    Line(START, "start", "idle_rss", "idle memory (RSS), MB", ",.0f", target=0.15),
    Line(START, "loaded", "rss", "memory after the throughput runs (RSS), MB", ",.0f"),
    *_throughput(),
    *_java(),
    *_latencies(),
    *_many(),
    *_partitions(),
    *(
        Line(GROUPS, f"{protocol} group", "seconds", f"99 members join a stable {protocol} group of one, s", ".2f")
        for protocol in PROTOCOLS
    ),
]

IN_README = {
    "start to the first acknowledged produce, s": "start to the first acknowledged produce, s",
    "idle memory (RSS), MB": "idle memory (RSS), MB",
    "produce 100 B, 12 partitions, plain, MB/s": "produce, 100 B, MB/s",
    "produce 1 KB, 12 partitions, plain, MB/s": "produce, 1 KB, MB/s",
    "produce 1 KB, 12 partitions, zstd, MB/s": "produce, 1 KB, zstd, MB/s",
    "consume 100 B, 12 partitions, plain, MB/s": "consume, 100 B, MB/s",
    "consume 1 KB, 12 partitions, plain, MB/s": "consume, 1 KB, MB/s",
    "ProducerPerformance, 1 KB, 12 partitions, MB/s": "Java's ProducerPerformance, 1 KB, MB/s",
    "ConsumerPerformance, 1 KB, 12 partitions, MB/s": "Java's ConsumerPerformance, 1 KB, MB/s",
    "produce 1 KB, 12 partitions, plain, CPU s/GB": "broker CPU, produce, 1 KB, s/GB",
    "consume 1 KB, 12 partitions, plain, CPU s/GB": "broker CPU, consume, 1 KB, s/GB",
    "produce with acks=1, p50, ms": "acks=1 latency p50, ms",
    "produce with acks=1, p99, ms": "acks=1 latency p99, ms",
    "producer to consumer, p99, ms": "producer to consumer p99, ms",
    "1,000 clients, each 2 requests/s, p99, ms": "1,000 clients, each 2 requests/s, p99, ms",
    "1,000 clients, each 10 requests/s, answers/s": "1,000 clients, each 10 requests/s, answers/s",
    "create 1,000 partitions, s": "create 1,000 partitions, s",
}
"""A line's words, and those that the README has for it."""
