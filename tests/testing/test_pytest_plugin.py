"""What the author of a test sees."""

from __future__ import annotations

import pytest

from pykbroker.testing import KafkaBroker
from pykbroker.testing.pytest_plugin import _one_line


def test_a_broker_that_cannot_start_fails_its_test_in_one_line() -> None:
    said = r"the broker can't start: num\.partitions: 'many': Not a number of type INT$"
    with pytest.raises(pytest.fail.Exception, match=said) as caught, _one_line():
        KafkaBroker(config={"num.partitions": "many"})
    assert not caught.value.pytrace
    assert caught.value.__suppress_context__, "and without what it was made from"
