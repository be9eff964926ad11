"""A few rounds of what `make crash` does in a row: half of them with the end of a log spoilt as well."""

from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from tests.crash.rounds import Crash

pytestmark = pytest.mark.slow

ROUNDS = 4


def test_kill(tmp_path: Path) -> None:
    crash = Crash(tmp_path, seed=1)
    for _ in range(ROUNDS):
        crash.round()
    assert crash.acknowledged


def test_kill_and_damage(tmp_path: Path) -> None:
    crash = Crash(tmp_path, seed=2)
    for _ in range(ROUNDS):
        crash.round(damage=True)
    assert crash.acknowledged
