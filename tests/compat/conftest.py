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
from compat_table import QUICK

BOOTSTRAP_VARIABLE = "PYKBROKER_COMPAT_BOOTSTRAP"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bootstrap",
        default=os.environ.get(BOOTSTRAP_VARIABLE),
        metavar="HOST:PORT",
        help="run the behaviour table against this broker instead of starting one",
    )
    parser.addoption(
        "--clients",
        choices=("quick", "all", "others"),
        default="quick",
        help="which clients of the behaviour table take part: those of `make test`, all of them, or the others",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cells of clients that aren't asked for."""
    chosen = config.getoption("--clients", default="quick")
    if chosen == "all":
        return
    left_out = []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "client" in params and "behaviour" in params and (params["client"] in QUICK) != (chosen == "quick"):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
