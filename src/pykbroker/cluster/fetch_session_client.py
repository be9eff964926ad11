"""The follower's side of an incremental fetch session (KIP-227): what its next request has to name.

It remembers what the leader's session knows. Whatever goes wrong, the next request begins a session anew. Decides
nothing about offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pykbroker.cluster.fetch_session import INITIAL_EPOCH, INVALID_SESSION_ID, PartitionKey, next_epoch
from pykbroker.protocol.errors import ErrorCode


class Asked(NamedTuple):
    """What a fetch asks of one partition."""

    fetch_offset: int
    log_start_offset: int
    current_leader_epoch: int
    last_fetched_epoch: int


class SessionRequest(NamedTuple):
    """The session part of a request: the partitions to name, and those to forget."""

    session_id: int
    session_epoch: int
    named: Mapping[PartitionKey, Asked]
    forgotten: tuple[PartitionKey, ...]


class FetchSessionClient:
    """A session with one leader."""

    def __init__(self) -> None:
        self._id = INVALID_SESSION_ID
        self._epoch = INITIAL_EPOCH
        self._told: dict[PartitionKey, Asked] = {}

    def next_request(self, wanted: Mapping[PartitionKey, Asked]) -> SessionRequest:
        """The request for these partitions: all of them at first, then those that changed."""
        if self._epoch == INITIAL_EPOCH:
            named = dict(wanted)
            forgotten: tuple[PartitionKey, ...] = ()
        else:
            named = {key: asked for key, asked in wanted.items() if self._told.get(key) != asked}
            forgotten = tuple(key for key in self._told if key not in wanted)
        self._told = dict(wanted)
        return SessionRequest(self._id, self._epoch, named, forgotten)

    def answered(self, error_code: int, session_id: int) -> bool:
        """Takes note of an answer; False where it is an error, after which the session begins anew."""
        if error_code != ErrorCode.NONE:
            if error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND:
                self._id = INVALID_SESSION_ID
            self._epoch = INITIAL_EPOCH
            return False
        self._id = session_id
        self._epoch = next_epoch(self._epoch) if session_id != INVALID_SESSION_ID else INITIAL_EPOCH
        return True

    def lost(self) -> None:
        """No answer came: the next request closes the session, if it is still there, and begins another."""
        self._epoch = INITIAL_EPOCH
