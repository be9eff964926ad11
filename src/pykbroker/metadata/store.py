"""The interface of the metadata store: a small tree of versioned nodes, some ephemeral, with watches.

It is ZooKeeper's model, so that one controller serves an embedded store and a real ZooKeeper alike. It never knows what
a node means; `znodes.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ANY_VERSION = -1


class StoreError(Exception):
    """An operation that the store refused, or a store that can't be used; `path` is the node's or the file's."""

    def __init__(self, path: str, reason: str = "") -> None:
        super().__init__(f"{path}: {reason}" if reason else path)
        self.path = path


class NoNode(StoreError):
    """There is no such node."""


class NodeExists(StoreError):
    """A node of this name is there already."""


class BadVersion(StoreError):
    """The node's version isn't the one that the caller expected: somebody else was faster."""


class NotEmpty(StoreError):
    """The node has children."""


class SessionExpired(StoreError):
    """The session ended before the operation was answered; what was ephemeral is gone."""


class Stat(NamedTuple):
    """A node's numbers: how often it was set, the change that created it, the session of an ephemeral one or 0."""

    version: int
    czxid: int
    owner: int


class Node(NamedTuple):
    """A node's data and numbers."""

    data: bytes
    stat: Stat


class Create(NamedTuple):
    """Makes a node; its parent must be there. A sequential one has ten digits added to its name."""

    path: str
    data: bytes = b""
    ephemeral: bool = False
    sequential: bool = False


class Set(NamedTuple):
    """Sets a node's data if it has the expected version."""

    path: str
    data: bytes
    version: int = ANY_VERSION


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes a node without children if it has the expected version."""

    path: str
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Changes nothing, and fails the whole unless the node has the expected version."""

    path: str
    version: int


Operation = Create | Set | Delete | Check
Result = str | Stat | None
"""Of a Create the path that was made, of a Set the new numbers, else nothing."""


class MetadataStore(Protocol):
    """One session with a store. What a session made ephemeral goes when the session ends."""

    session_id: int

    @property
    def connected(self) -> bool:
        """Whether it answers, as far as is known."""
        ...

    async def get(self, path: str) -> Node:
        """A node; raises NoNode."""
        ...

    async def find(self, path: str) -> Node | None:
        """A node, or None where there is none."""
        ...

    async def find_many(self, paths: Sequence[str]) -> dict[str, Node]:
        """Those of the nodes that are there, by path."""
        ...

    async def children(self, path: str) -> list[str]:
        """The names of a node's children, sorted; raises NoNode."""
        ...

    async def subtree(self, path: str) -> dict[str, Node]:
        """Every node below a path, by path, sorted; empty where there is none. For reading all of it at start."""
        ...

    async def create(self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Makes a node and says its path; raises NodeExists, or NoNode for the parent."""
        ...

    async def ensure_path(self, path: str) -> None:
        """Makes a node and its parents where they are missing."""
        ...

    async def set(self, path: str, data: bytes, version: int = ANY_VERSION) -> Stat:
        """Sets a node's data; raises NoNode, BadVersion."""
        ...

    async def delete(self, path: str, version: int = ANY_VERSION, *, recursive: bool = False) -> None:
        """Removes a node; raises NoNode, BadVersion, NotEmpty."""
        ...

    async def multi(self, operations: Sequence[Operation]) -> list[Result]:
        """All of them or none; raises the error of the first that fails."""
        ...

    def watch(self, path: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called in the event loop after the node or its list of children changed; the answer ends it.

        One call may stand for several changes: the callee reads again.
        """
        ...

    def on_session(self, lost: Callable[[], None], renewed: Callable[[], None]) -> None:
        """Has `lost` called in the event loop when the session has expired, and `renewed` once there is another.

        Until `lost` has returned nothing is done in a new session.
        """
        ...

    async def close(self) -> None:
        """Ends the session and lets go of the store."""
        ...


async def forget_oldest(store: MetadataStore, folder: str, kept: int) -> None:
    """Removes the oldest of a folder's sequential nodes, of which everybody has had time to hear. Raises StoreError."""
    for name in (await store.children(folder))[:-kept]:
        try:
            await store.delete(f"{folder}/{name}")
        except NoNode:
            pass
