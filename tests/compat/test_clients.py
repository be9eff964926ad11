"""The behaviour table, cell by cell: a behaviour with a client has the outcome that Apache Kafka gives it."""

from __future__ import annotations

import os

import pytest
from compat_runs import Runs
from compat_table import TABLE, UNSUPPORTED, UNTOLD, cells, expected, murmur2, told


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(("client", "behaviour"), cells(), ids=["-".join(cell) for cell in cells()])
def test_behaviour(runs: Runs, client: str, behaviour: str) -> None:
    if client in runs.missing:
        if os.environ.get("CI") == "true":
            pytest.fail(runs.missing[client])
        pytest.skip(runs.missing[client])
    answer = runs.answer(client, behaviour)
    assert "error" not in answer, answer["error"]
    assert told(client, behaviour, answer["outcome"]) == expected(client, behaviour)


def test_exceptions_name_rows_of_the_table() -> None:
    assert {behaviour for _, behaviour in [*UNSUPPORTED, *UNTOLD]} <= set(TABLE)


@pytest.mark.parametrize(("key", "value"), [(b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)])
def test_murmur2_is_javas(key: bytes, value: int) -> None:
    assert murmur2(key) == value % 2**32
