"""The command line against a broker in the same process."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from pykbroker.cli import main
from pykbroker.testing import KafkaBroker


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def rows(self) -> list[list[str]]:
        """The table's cells, its heading first."""
        return [line.split() for line in self.lines]

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """One for all tests of a module: each takes names of its own."""
    with KafkaBroker(config={"auto.create.topics.enable": False}) as broker:
        yield broker


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `pykbroker` with words; `stdin` is what it reads."""

    def run(*words: object, stdin: bytes = b"") -> Ran:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main([str(word) for word in words])
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture
def pykbroker(broker: KafkaBroker, run: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same against the module's broker."""
    monkeypatch.setenv("PYKBROKER_BOOTSTRAP", broker.bootstrap_servers)
    return run
