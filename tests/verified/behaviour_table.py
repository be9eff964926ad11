"""The behaviour table with pykbroker and with Apache Kafka side by side.

What the table expects of pykbroker has to be what Apache Kafka does: a cell that comes out otherwise there is a row
that isn't true.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "compat"))
sys.path.append(str(Path(__file__).parents[1] / "compat" / "clients"))

import raw
from compat_runs import Runs
from compat_table import NEWER_PROTOCOL, SHARING, cells, expected, told

FAMILIES = ("kafka_python_3", "confluent_kafka", "kcat", "java_4", "java_3_9", "franz_go", "kafkajs", "rdkafka")
"""The clients that take part unless others are named: one of each family, and Apache Kafka's own of both versions."""
NOT_YET = {"3": (*NEWER_PROTOCOL, *SHARING)}
"""Rows of what a major version doesn't serve by itself."""


def compare(
    version: str, brokers: Sequence[str], clients: Sequence[str], rows: Sequence[str], at_once: int
) -> tuple[int, list[str]]:
    """Runs the clients' cells with both brokers, Apache Kafka's first: how many there are, and what isn't as expected.

    A client that can't be had is said to be left out, with the reason.
    """
    chosen = [
        (client, behaviour)
        for client, behaviour in cells()
        if behaviour not in NOT_YET.get(version[0], ()) and client in clients and (not rows or behaviour in rows)
    ]
    held, faults = 0, []
    for who, bootstrap in zip((f"Apache Kafka {version}", "pykbroker"), brokers, strict=True):
        raw.settle(bootstrap)
        runs = Runs(bootstrap, chosen, at_once)
        try:
            runs.start()
            for client, reason in runs.missing.items():
                print(f"{client} is left out: {reason}", flush=True)
            for client, behaviour in chosen:
                if client in runs.missing:
                    continue
                held += 1
                answer = runs.answer(client, behaviour)
                if "error" in answer or told(client, behaviour, answer["outcome"]) != expected(client, behaviour):
                    faults.append(f"{who}: {client} {behaviour}: {answer.get('error', answer.get('outcome'))}")
        finally:
            runs.stop()
    return held, faults
