"""A broker process for the behaviour table, or with --bootstrap any other broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "clients"))
sys.path.insert(0, str(Path(__file__).parent))

import raw
from compat_runs import Runs, broker_process

BOOTSTRAP_VARIABLE = "PYKBROKER_COMPAT_BOOTSTRAP"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bootstrap",
        default=os.environ.get(BOOTSTRAP_VARIABLE),
        metavar="HOST:PORT",
        help="run the behaviour table against this broker instead of starting one",
    )


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of the broker under test."""
    given = request.config.getoption("--bootstrap", default=os.environ.get(BOOTSTRAP_VARIABLE))
    if given:
        raw.settle(given)
        yield given
        return
    with broker_process(tmp_path_factory.mktemp("broker") / "stderr.txt") as address:
        yield address


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, bootstrap: str) -> Iterator[Runs]:
    """All the cells collected in this session, each client's in one process."""
    chosen = [
        item.callspec.params for item in request.session.items if "behaviour" in getattr(item, "fixturenames", ())
    ]
    runs = Runs(bootstrap, [(params["client"], params["behaviour"]) for params in chosen])
    try:
        runs.start()
        yield runs
    finally:
        runs.stop()
