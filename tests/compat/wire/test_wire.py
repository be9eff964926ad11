"""Raw conversations: the broker answers as Apache Kafka did when its answers were recorded, error cases above all."""

from __future__ import annotations

from functools import cache

import pytest
from wire_differences import DIFFERENCES, without_known_differences
from wire_record import expected
from wire_talk import CONVERSATIONS, hold

TALKS = [(name, version) for name, (_, versions) in CONVERSATIONS.items() for version in versions]

said = cache(hold)


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(("name", "version"), TALKS, ids=[f"{name}-{version}" for name, version in TALKS])
def test_answers_as_apache_kafka(bootstrap: str, name: str, version: int) -> None:
    answers = without_known_differences(name, said(bootstrap, name, version))
    assert answers == without_known_differences(name, expected(name, version))


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(("name", "label"), list(DIFFERENCES))
def test_known_difference_is_one(bootstrap: str, name: str, label: str) -> None:
    alike = [
        version
        for version in CONVERSATIONS[name].versions
        if said(bootstrap, name, version).get(label) == expected(name, version).get(label)
    ]
    assert alike != list(CONVERSATIONS[name].versions), "answered as Apache Kafka does: take it off wire_differences.py"
