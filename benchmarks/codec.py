"""`python -m benchmarks.codec`: parsing and building of everyday messages, beside kio and kafka-python, in one run.

Every codec parses the same bytes and builds what it parsed; rounds are interleaved and medians compared, so that a slow
moment of the machine hits all three. kio's reader is native code, its writer and all of kafka-python are Python.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.codec_samples import Sample, metadata, samples
from pykbroker.protocol.api_keys import ApiKey

Work = Callable[[], Any]
OTHERS = ("kio", "kafka-python")
MAKING = "make and build"


class Row(NamedTuple):
    """What one message takes in microseconds, by codec; nothing for a codec that lacks it."""

    what: str
    name: str
    times: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="", help="messages whose name begins so")
    options = parser.parse_args()
    rows = []
    for sample in samples():
        if sample.name.startswith(options.only):
            rows += [measured(what, sample.name, works, options.rounds) for what, works in jobs(sample).items()]
    rows.sort(key=lambda row: ("parse", "build", MAKING).index(row.what))
    print(table(rows))
    return 0


def jobs(sample: Sample) -> dict[str, dict[str, Work]]:
    """What to time for one message: by kind of work, one function a codec."""
    cls, version = type(sample.message), sample.version
    raw = sample.message.encode(version)
    parse: dict[str, Work] = {"pykbroker": lambda: cls.decode(raw, version)}
    build: dict[str, Work] = {"pykbroker": lambda: sample.message.encode(version)}
    for name, codec in (("kio", kio), ("kafka-python", kafka_python)):
        found = codec(sample, raw)
        if found is not None:
            parse[name], build[name] = found
    kinds = {"parse": parse, "build": build}
    if sample.size == "1,000 topics":
        kinds[MAKING] = {
            "pykbroker": lambda: metadata(1000).encode(version),
            "kio": lambda: kio_metadata(1000, version),
            "kafka-python": lambda: kafka_python_metadata(1000, version),
        }
    return kinds


def kio(sample: Sample, raw: bytes) -> tuple[Work, Work] | None:
    """Parsing and building by kio; None where it lacks the version."""
    from kio.serial import entity_reader, entity_writer

    try:
        entity = getattr(kio_module(sample), type(sample.message).__name__)
    except ModuleNotFoundError:
        return None
    read, write = entity_reader(entity), entity_writer(entity)
    value, size = read(raw, 0)
    assert size == len(raw), sample.name

    def build() -> bytes:
        out = io.BytesIO()
        write(out, value)
        return out.getvalue()

    assert build() == raw, sample.name
    return lambda: read(raw, 0), build


def kio_module(sample: Sample) -> Any:
    kind = "request" if type(sample.message).__name__.endswith("Request") else "response"
    return importlib.import_module(
        f"kio.schema.{ApiKey(type(sample.message).key).name.lower()}.v{sample.version}.{kind}"
    )


def kafka_python(sample: Sample, raw: bytes) -> tuple[Work, Work] | None:
    """Parsing and building by kafka-python; None where it lacks the version."""
    name, version = type(sample.message).__name__, sample.version
    found = next((vars(module)[name] for module in kafka_python_modules() if name in vars(module)), None)
    if found is None or version > found.max_version:
        return None
    value = found.decode(raw, version=version)
    value._header = None  # Decoding leaves it out, encoding looks for it.
    assert value.encode(version=version) == raw, sample.name
    return lambda: found.decode(raw, version=version), lambda: value.encode(version=version)


def kafka_python_modules() -> list[Any]:
    return [importlib.import_module(f"kafka.protocol.{name}") for name in ("consumer", "metadata", "producer")]


def kio_metadata(topics: int, version: int) -> bytes:
    from datetime import timedelta

    from kio.schema.errors import ErrorCode
    from kio.serial import entity_writer

    module = importlib.import_module(f"kio.schema.metadata.v{version}.response")
    answer = module.MetadataResponse(
        throttle_time=timedelta(0),
        brokers=tuple(
            module.MetadataResponseBroker(node_id=n, host="127.0.0.1", port=9092 + n, rack=None) for n in range(3)
        ),
        cluster_id="MkU3OEVBNTcwNTJENDM2Qg",
        controller_id=0,
        topics=tuple(
            module.MetadataResponseTopic(
                error_code=ErrorCode.none,
                name=f"topic-{n}",
                is_internal=False,
                partitions=(
                    module.MetadataResponsePartition(
                        error_code=ErrorCode.none,
                        partition_index=0,
                        leader_id=0,
                        leader_epoch=3,
                        replica_nodes=(0, 1),
                        isr_nodes=(0, 1),
                        offline_replicas=(),
                    ),
                ),
            )
            for n in range(topics)
        ),
    )
    out = io.BytesIO()
    entity_writer(module.MetadataResponse)(out, answer)
    return out.getvalue()


def kafka_python_metadata(topics: int, version: int) -> bytes:
    from kafka.protocol.metadata import MetadataResponse

    broker, topic = MetadataResponse.MetadataResponseBroker, MetadataResponse.MetadataResponseTopic
    partition = topic.MetadataResponsePartition
    answer = MetadataResponse(
        version=version,
        throttle_time_ms=0,
        brokers=[broker(version=version, node_id=n, host="127.0.0.1", port=9092 + n, rack=None) for n in range(3)],
        cluster_id="MkU3OEVBNTcwNTJENDM2Qg",
        controller_id=0,
        topics=[
            topic(
                version=version,
                error_code=0,
                name=f"topic-{n}",
                partitions=[
                    partition(
                        version=version,
                        error_code=0,
                        partition_index=0,
                        leader_id=0,
                        leader_epoch=3,
                        replica_nodes=[0, 1],
                        isr_nodes=[0, 1],
                        offline_replicas=[],
                    )
                ],
            )
            for n in range(topics)
        ],
    )
    return answer.encode(version=version)


def measured(what: str, name: str, works: dict[str, Work], rounds: int) -> Row:
    """Medians of interleaved rounds, each as long as a few milliseconds."""
    repeats, times = {}, {codec: [] for codec in works}
    for codec, work in works.items():
        for _ in range(5):
            work()  # Every codec compiles, or caches, on its first uses.
        start = perf_counter()
        work()
        repeats[codec] = max(1, int(0.004 / (perf_counter() - start)))
    for _ in range(rounds):
        for codec, work in works.items():
            again = range(repeats[codec])
            start = perf_counter()
            for _ in again:
                work()
            times[codec].append((perf_counter() - start) / repeats[codec] * 1e6)
    return Row(what, name, {codec: median(each) for codec, each in times.items()})


def table(rows: list[Row]) -> str:
    """Microseconds, and how many times as long the others take: above 1 we are ahead."""
    lines = [
        "| µs | message | pykbroker | kio | kafka-python | kio ÷ ours | kafka-python ÷ ours |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for what, name, times in rows:
        ours = times["pykbroker"]
        cells = [f"{times[other]:.1f}" if other in times else "—" for other in OTHERS]
        ratios = [f"{times[other] / ours:.2f}" if other in times else "—" for other in OTHERS]
        lines.append(f"| {what} | {name} | {ours:.1f} | {' | '.join(cells)} | {' | '.join(ratios)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
