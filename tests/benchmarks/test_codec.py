"""The codec's benchmark compares like with like; and the one bound that holds on any machine."""

from time import thread_time

import pytest
from benchmarks.codec_samples import Sample, metadata, samples

from benchmarks import codec

pytest.importorskip("kio")
pytest.importorskip("kafka.protocol.api_message", reason="kafka-python 3 isn't installed")

ROOMY = 0.025
"""Seconds in which 1,000 topics must be answered."""


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_all_three_codecs_know_each_sample(sample: Sample) -> None:
    kinds = codec.jobs(sample)  # Asserts equal bytes.
    assert all(works.keys() == {"pykbroker", "kio", "kafka-python"} for works in kinds.values())
    made = kinds.get(codec.MAKING, {})
    assert len({bytes(work()) for work in made.values()}) <= 1


def test_a_thousand_topics_are_answered_in_25_ms() -> None:
    for version in (1, 8, 13):
        times = []
        for _ in range(6):
            start = thread_time()
            metadata(1000).encode(version)
            times.append(thread_time() - start)
        assert min(times) < ROOMY


def test_the_table_says_how_far_ahead_we_are() -> None:
    rows = [
        codec.Row("parse", "A v1", {"pykbroker": 2.0, "kio": 1.0, "kafka-python": 5.0}),
        codec.Row("build", "B v1", {"pykbroker": 4.0}),
    ]
    table = codec.table(rows)
    assert "| parse | A v1 | 2.0 | 1.0 | 5.0 | 0.50 | 2.50 |" in table
    assert "| build | B v1 | 4.0 | — | — | — | — |" in table
