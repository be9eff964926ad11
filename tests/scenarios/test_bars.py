"""Bars as CI holds them, in their short form: bad frames, start-up's imports. `make fuzz ARGS=…` is the long form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pykbroker.testing.process import BrokerProcess

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.frames import Attack, fuzz

FRAMES = 10_000
RARE = (
    *("cramjam", "hypothesis", "asyncio", "platformdirs", "shutil.rmtree", "kafka", "kazoo", "jwt", "cryptography"),
    *("pykbroker.testing", "pykbroker.apis.topics", "pykbroker.apis.groups", "pykbroker.coordinator.group.shard"),
    *("pykbroker.coordinator.group.share_groups", "pykbroker.coordinator.share.shard"),
    *("pykbroker.coordinator.transaction.shard", "pykbroker.security.rules", "pykbroker.metadata.zookeeper"),
)


@pytest.mark.slow
def test_bad_frames_end_no_other_connection_and_leave_the_broker_serving() -> None:
    with BrokerProcess(stderr=subprocess.DEVNULL) as broker:
        done = fuzz(Attack(broker.host, broker.port, FRAMES, seed=1))
        assert done.ended > FRAMES / 10
        assert done.answered > 0
        assert broker.stop() == 0


@pytest.mark.slow
def test_starting_imports_nothing_that_is_rare() -> None:
    """Start-up is a feature: what few requests need is imported when the first of them comes."""
    program = "import sys, pykbroker.broker, pykbroker.cli.start; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not set(RARE) & set(done.stdout.split())
