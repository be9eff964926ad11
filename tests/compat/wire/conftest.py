"""A broker that guards what it has, beside the one that everybody may use."""

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
    options = [word for key, value in config.items() for word in ("--override", f"{key}={value}")]
    with broker_process(tmp_path_factory.mktemp("guarded") / "stderr.txt", options) as address:
        yield address
