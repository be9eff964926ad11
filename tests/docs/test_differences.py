"""The page of differences has a reason for each default that differs, and a test for each behaviour."""

import pytest

from docs import differences
from pykbroker.config.broker import BROKER_KEYS


def test_each_default_that_differs_has_its_reason_and_no_other() -> None:
    assert set(differences.DEFAULTS) == {name for name, key in BROKER_KEYS.items() if key.ours != key.default}


@pytest.mark.parametrize("one", differences.BEHAVIOURS, ids=lambda one: one.test)
def test_the_tests_that_know_a_behaviour_are_there(one: differences.Behaviour) -> None:
    assert f"def {one.test}(" in (differences.TESTS / one.file).read_text(encoding="utf-8")
