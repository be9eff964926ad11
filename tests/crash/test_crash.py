"""A few rounds of what `make crash` does in a row."""

from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from tests.crash.rounds import Crash

pytestmark = pytest.mark.slow


def test_kill(tmp_path: Path) -> None:
    crash = Crash(tmp_path, seed=1)
    for _ in range(3):
        crash.round()
    assert crash.acknowledged


def test_kill_and_damage(tmp_path: Path) -> None:
    crash = Crash(tmp_path, seed=2)
    for _ in range(5):
        crash.round(damage=True)
    assert crash.acknowledged
