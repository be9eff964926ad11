"""The broker's fetch sessions: the pure cache of `cluster.fetch_session`, given randomness."""

from __future__ import annotations

import random

from pykbroker.cluster.fetch_session import FetchSessionCache


class FetchSessions(FetchSessionCache):
    """A session cache with random ids between 1 and 2³¹-1, so that a client can't guess another's."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, lambda: random.randint(1, 0x7FFFFFFF))
