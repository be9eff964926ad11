"""A member of a classic group: what it told when it joined, what it waits for; and what surrounds its JoinGroup.

It holds state alone; `classic_group.py` has the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pykbroker.coordinator.result import NEVER, Now, Parked
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse

Protocols = tuple[tuple[str, bytes], ...]
"""Name and metadata of each assignor that a member knows, in its order of preference."""


Leaving = tuple[str, str | None]
"""Member id and group instance id, as LeaveGroup names who leaves."""


Fetcher = tuple[str | None, int]
"""Member id and epoch, as OffsetFetch 9 names who asks."""
NOBODY: Fetcher = (None, -1)


class Joiner(NamedTuple):
    """What the connection tells of a member that joins; `uuid` makes its id, should it need one."""

    client_id: str
    client_host: str
    uuid: str
    requires_known_id: bool = True
    """From JoinGroup 4 on a dynamic member joins with an id that it was given before (KIP-394)."""
    skips_assignment: bool = True
    """From JoinGroup 9 on a static leader that comes back is told so, and not to assign (KIP-814)."""


@dataclass(slots=True, eq=False)
class ClassicMember:
    """One consumer, worker or other participant of a group."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Protocols
    assignment: bytes = b""
    is_new: bool = True
    """It hasn't been in a generation yet: nobody but its waiting JoinGroup may know its id."""
    is_restored: bool = False
    """It stands in a loaded record and hasn't joined since: what became of a rebalance then under way isn't known."""
    waiting_join: Parked | None = None
    waiting_sync: Parked | None = None
    deadline: float = NEVER
    """When its session ends; while a request of it waits it is alive."""

    @property
    def is_static(self) -> bool:
        """Has a group instance id (KIP-345): it isn't removed for missing a rebalance."""
        return self.group_instance_id is not None

    def metadata(self, protocol: str | None) -> bytes:
        """What the member said for this protocol; empty if it doesn't know it."""
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        return b""

    def supports(self, protocol: str) -> bool:
        """Whether the member knows this protocol."""
        return any(name == protocol for name, _ in self.protocols)

    def vote(self, candidates: Sequence[str]) -> str | None:
        """The candidate that the member likes best."""
        return next((name for name, _ in self.protocols if name in candidates), None)

    def touch(self, now: Now) -> float:
        """Begins its session anew and returns its deadline."""
        waits = self.waiting_join is not None or self.waiting_sync is not None
        self.deadline = NEVER if waits else now.after_ms(self.session_timeout_ms)
        return self.deadline


def protocols_of(request: JoinGroupRequest) -> Protocols:
    """The request's protocols as a member keeps them."""
    return tuple((protocol.name, bytes(protocol.metadata)) for protocol in request.protocols)


def rebalance_timeout_ms(request: JoinGroupRequest) -> int:
    """JoinGroup 0 has none of its own: the session's serves."""
    return request.session_timeout_ms if request.rebalance_timeout_ms < 0 else request.rebalance_timeout_ms


def all_support(members: Mapping[str, ClassicMember], protocol: str) -> bool:
    """Whether every member knows this protocol."""
    return all(member.supports(protocol) for member in members.values())


def select_protocol(members: Mapping[str, ClassicMember]) -> str | None:
    """The protocol with most votes among those that all members know; the earlier vote breaks a tie."""
    first = next(iter(members.values()))
    candidates = [name for name, _ in first.protocols if all_support(members, name)]
    votes = Counter(filter(None, (member.vote(candidates) for member in members.values())))
    return max(votes, key=lambda name: votes[name], default=None)


def join_error(code: ErrorCode, member_id: str) -> JoinGroupResponse:
    """An answer to JoinGroup that names no generation. A null protocol is version 7's; before, it is an empty one."""
    return JoinGroupResponse(error_code=code, member_id=member_id, protocol_name=None)
