"""Apache Kafka's own programs, `kafka-producer-perf-test` and `kafka-consumer-perf-test`, on either broker."""

from __future__ import annotations

import re
import subprocess

from tests.verified import apache_kafka

from benchmarks.measurements import LostRecordsError
from benchmarks.targets import Target

SIZE = 1000
HEAP = ("-Xmx512M",)  # As their scripts have it.
MIB = 1 << 20
TIMEOUT_SECONDS = 60
_SENT = re.compile(r"^(\d+) records sent, ([\d.]+) records/sec", re.MULTILINE)


def produce(target: Target, topic: str, count: int) -> dict[str, float]:
    """MB/s and the broker's CPU seconds per GB."""
    props = ("--producer-props", f"bootstrap.servers={target.bootstrap}", "acks=1")
    wanted = ("--topic", topic, "--num-records", str(count), "--record-size", str(SIZE), "--throughput", "-1")
    cpu, text = _run(target, "ProducerPerformance", *wanted, *props)
    return {"mb_per_s": produced(text, count) * SIZE / 1e6, "cpu_s_per_gb": cpu / (count * SIZE / 1e9)}


def produced(text: str, count: int) -> float:
    """Records per second, of the last line. Raises LostRecordsError."""
    lines = _SENT.findall(text)
    if not lines or int(lines[-1][0]) != count:
        raise LostRecordsError(f"ProducerPerformance: {text[-200:]}")
    return float(lines[-1][1])


def consume(target: Target, topic: str, count: int) -> dict[str, float]:
    """MB/s without the time to join the group, and the broker's CPU seconds per GB."""
    wanted = ("--bootstrap-server", target.bootstrap, "--topic", topic, "--messages", str(count), "--hide-header")
    cpu, text = _run(target, "ConsumerPerformance", *wanted)
    return {"mb_per_s": consumed(text, count), "cpu_s_per_gb": cpu / (count * SIZE / 1e9)}


def consumed(text: str, count: int) -> float:
    """MB per second (fetch.MB.sec), of the only line. Raises LostRecordsError."""
    fields = text.strip().rpartition("\n")[2].split(", ")
    if len(fields) != 10 or int(fields[4]) < count:
        raise LostRecordsError(f"ConsumerPerformance: {text[-200:]}")
    return float(fields[8]) * MIB / 1e6


def _run(target: Target, tool: str, *arguments: str) -> tuple[float, str]:
    """The broker's CPU seconds meanwhile, and what the tool said. Raises LostRecordsError."""
    command = apache_kafka.java(apache_kafka.VERSION, f"org.apache.kafka.tools.{tool}", *arguments, options=HEAP)
    cpu = target.cpu_seconds()
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    if run.returncode:
        raise LostRecordsError(f"{tool}: {(run.stderr or run.stdout)[-300:]}")
    return target.cpu_seconds() - cpu, run.stdout
