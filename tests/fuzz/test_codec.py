"""A few seconds of the codec's fuzzing, the same frames each time; `make fuzz-codec` goes on."""

import pytest
from tests.fuzz import codec

FRAMES = 60_000


@pytest.mark.slow
def test_mutated_frames_raise_one_exception() -> None:
    tally = codec.fuzz(FRAMES, seed=3)
    assert tally.refused > FRAMES // 3
    assert tally.decoded > FRAMES // 10
