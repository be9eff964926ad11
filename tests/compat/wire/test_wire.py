"""Raw conversations: the broker answers as Apache Kafka did when its answers were recorded, error cases above all."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from wire_differences import differing, without_known_differences
from wire_record import OLDER_RECORDED, OLDER_TALKS, RECORDED, TALKS, expected, served
from wire_talk import CONVERSATIONS, hold

pytestmark = [pytest.mark.compat, pytest.mark.slow]


@cache
def said(bootstrap: str, name: str, version: int) -> dict[str, str]:
    newest = version in CONVERSATIONS[name].versions
    answers = hold(bootstrap, name, version, served(RECORDED if newest else OLDER_RECORDED))
    assert answers is not None
    return answers


def address(request: pytest.FixtureRequest, name: str) -> str:
    """Of the broker that a conversation is for."""
    return str(request.getfixturevalue("guarded" if CONVERSATIONS[name].guarded else "bootstrap"))


def ids(talks: list[tuple[str, int]]) -> list[str]:
    return [f"{name}-{version}" for name, version in talks]


@pytest.mark.parametrize(("name", "version"), TALKS, ids=ids(TALKS))
def test_answers_as_apache_kafka(request: pytest.FixtureRequest, name: str, version: int) -> None:
    answers = without_known_differences(name, said(address(request, name), name, version))
    assert answers == without_known_differences(name, expected(name, version))


@pytest.mark.parametrize(("name", "version"), OLDER_TALKS, ids=ids(OLDER_TALKS))
def test_answers_as_an_older_apache_kafka(request: pytest.FixtureRequest, name: str, version: int) -> None:
    """In versions that the newer one has no more."""
    answers = without_known_differences(name, said(address(request, name), name, version), "3")
    assert answers == without_known_differences(name, expected(name, version, OLDER_RECORDED), "3")


def recorded(name: str, label: str) -> list[tuple[int, Path]]:
    """Where the answer to a step was recorded: in which versions, from which Apache Kafka."""
    held = CONVERSATIONS[name]
    places = [(one, RECORDED) for one in held.versions]
    places += [(one, OLDER_RECORDED) for talk, one in OLDER_TALKS if talk == name]
    return [(one, file) for one, file in places if label in expected(name, one, file)]


KNOWN = [line for line in differing("4") if recorded(*line)]
"""What is about APIs that 3.9.1 alone has, or differs from 3.9.1 alone, is known to tests.verified."""


@pytest.mark.parametrize(("name", "label"), KNOWN)
def test_known_difference_is_one(request: pytest.FixtureRequest, name: str, label: str) -> None:
    bootstrap = address(request, name)
    places = recorded(name, label)
    alike = [
        (one, file)
        for one, file in places
        if said(bootstrap, name, one).get(label) == expected(name, one, file).get(label)
    ]
    assert alike != places, "answered as Apache Kafka does: take it off wire_differences.py"
