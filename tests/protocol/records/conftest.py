from collections.abc import Callable

import pytest

from pykbroker.protocol.errors import ErrorCode, KafkaError

Outcome = Callable[[Callable[[], object]], ErrorCode | None]


@pytest.fixture(scope="session")
def outcome() -> Outcome:
    """Calls something that may refuse its input: the error's code, None if it went well; other exceptions escape."""

    def call(function: Callable[[], object]) -> ErrorCode | None:
        try:
            function()
        except KafkaError as error:
            return error.code
        return None

    return call
