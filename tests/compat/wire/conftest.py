"""A broker that guards what it has, beside one that everybody may use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from compat_runs import broker_process
from wire_talk import guarded_config


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a broker that asks who comes, and has ACLs."""
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    config = {"listeners": "SASL_PLAINTEXT://127.0.0.1:0", "authorizer.class.name": authorizer, **guarded_config()}
    with broker_process(tmp_path_factory.mktemp("guarded") / "stderr.txt", config) as address:
        yield address


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a broker as it comes: the table's has an authorizer."""
    if given := request.config.getoption("--bootstrap", default=None):
        yield given
        return
    with broker_process(tmp_path_factory.mktemp("plain") / "stderr.txt", {}) as address:
        yield address
