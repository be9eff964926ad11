"""What a command may not load: the time until a prompt is back is a feature, as is a broker's start."""

import json
import os
import subprocess
import sys

import pytest

from pykbroker.cli import COMMANDS
from pykbroker.testing import KafkaBroker

PROBE = """
import json, sys
from pykbroker.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""
BROKER = {"pykbroker.broker", "pykbroker.server", "pykbroker.network", "pykbroker.apis", "pykbroker.storage"}
"""The broker itself: no business of one who asks another."""
SELDOM = {"kazoo", "cryptography", "jwt", "argcomplete", "unittest", "sqlite3", "numpy"}
"""What takes long and is needed seldom."""
OTHERS = {f"pykbroker.cli.{name.replace('-', '_')}" for name in COMMANDS}
QUICK = {"trio", "construct", "cramjam", "pykbroker.client", "pykbroker.apis"}
"""What is slow to load, and isn't needed to say how a command is used."""


def loaded(*words: str, bootstrap: str = "127.0.0.1:1") -> tuple[int, set[str]]:
    """The exit status, and the modules that were loaded in the end."""
    environment = {**os.environ, "PYKBROKER_BOOTSTRAP": bootstrap}
    ran = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, env=environment)
    status, modules = json.loads(ran.stderr.splitlines()[-1])
    return status, set(modules)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["topics", "--help"], ["consume", "--help"], ["groups", "x"]])
def test_saying_how_it_is_used(words: list[str]) -> None:
    status, modules = loaded(*words)
    assert status == (2 if words[-1] == "x" else 0)
    assert modules & (QUICK | BROKER | SELDOM) == set()


@pytest.mark.slow
def test_starting_a_broker_that_cannot_run() -> None:
    """All is loaded when it finds that its port is no address of this machine."""
    status, modules = loaded("start", "--ephemeral", "--host", "192.0.2.1", "--port", "0")
    assert status == 1
    assert "pykbroker.broker" in modules
    assert modules & (OTHERS | SELDOM | {"pykbroker.client", "pykbroker.cli.session"}) == {"pykbroker.cli.start"}


@pytest.mark.slow
@pytest.mark.parametrize("words", [["topics", "list"], ["groups", "list"], ["consume", "t"], ["produce", "t"]])
def test_asking_a_cluster(words: list[str]) -> None:
    with KafkaBroker() as broker:
        status, modules = loaded(*words, bootstrap=broker.bootstrap_servers)
    assert status in (0, 1)
    assert modules & (BROKER | SELDOM) == set()
    assert modules & OTHERS == {f"pykbroker.cli.{words[0]}"} | ({"pykbroker.cli.topics"} & modules)
