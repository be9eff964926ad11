"""The metadata store of a broker that stands alone: a tree of nodes in a sqlite3 file in the data directory.

A change is on disk before the call returns, whole or not at all. Several brokers of one process may share a `Database`,
each with a session of its own. It never knows what a node means.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

from pykbroker.metadata.store import (
    ANY_VERSION,
    BadVersion,
    Check,
    Create,
    Delete,
    Node,
    NodeExists,
    NoNode,
    NotEmpty,
    Operation,
    Result,
    Set,
    Stat,
    StoreError,
)

if TYPE_CHECKING:
    import trio

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FILE_NAME = "metadata.db"
FORMAT = 1

_TABLES = """
create table if not exists node (
    path text primary key, parent text not null, data blob not null, version integer not null,
    czxid integer not null, owner integer not null, next_sequence integer not null default 0
) without rowid;
create index if not exists node_parent on node (parent);
create table if not exists counter (name text primary key, value integer not null) without rowid;
insert or ignore into node values ('/', '', x'', 0, 0, 0, 0);
insert or ignore into counter values ('zxid', 0);
"""


class Blocking(Protocol):
    """Runs blocking work without stalling the event loop."""

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Calls `work(*args)`."""
        ...


class Database:
    """The file and its tree. Its methods block and may be called from any thread, one at a time."""

    def __init__(self, path: Path | None, *, durable: bool = True) -> None:
        """Opens or makes the file; without a path the tree lives in memory. `durable` has each change flushed to disk.

        Raises StoreError where the file can't be opened, is no database or is held by another process.
        """
        import sqlite3

        self.path = path
        self._sqlite_error = sqlite3.Error
        self._lock = threading.Lock()
        self._sessions: dict[int, EmbeddedStore] = {}
        self._next_session = 1
        try:
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path, isolation_level=None, check_same_thread=False, timeout=0
            )
            weakref.finalize(self, self._connection.close)
            try:
                self._prepare(durable)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            held = "locked" in str(error)
            reason = "another broker uses this data directory" if held else f"can't be used as metadata store: {error}"
            raise StoreError(str(path), reason) from error

    def _prepare(self, durable: bool) -> None:
        run = self._connection.execute
        run("pragma locking_mode = exclusive")
        run("pragma journal_mode = wal" if durable else "pragma journal_mode = memory")
        run("pragma synchronous = full" if durable else "pragma synchronous = off")
        run("begin immediate")
        run("commit")
        version = run("pragma user_version").fetchone()[0]
        if version > FORMAT:
            raise StoreError(str(self.path), f"was written by a newer pykbroker (format {version})")
        if version < FORMAT:
            self._connection.executescript(f"begin; {_TABLES} pragma user_version = {FORMAT}; commit;")
        run("delete from node where owner != 0")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except self._sqlite_error as error:
                raise StoreError(str(self.path), str(error)) from error

    def read(self, path: str) -> Node | None:
        """A node, or None. Like all that reads it raises StoreError where the disk fails."""
        with self._reading():
            return self._read(path)

    def read_many(self, paths: Sequence[str]) -> dict[str, Node]:
        """Those of the nodes that are there, by path."""
        with self._reading():
            return {path: node for path in paths if (node := self._read(path)) is not None}

    def _read(self, path: str) -> Node | None:
        row = self._connection.execute(
            "select data, version, czxid, owner from node where path = ?", (path,)
        ).fetchone()
        return None if row is None else Node(row[0], Stat(row[1], row[2], row[3]))

    def children(self, path: str) -> list[str]:
        """The names of a node's children."""
        with self._reading():
            if self._read(path) is None:
                raise NoNode(path)
            rows = self._connection.execute("select path from node where parent = ? order by path", (path,))
            return [row[0].rpartition("/")[2] for row in rows]

    def subtree(self, path: str) -> dict[str, Node]:
        """Every node below a path."""
        prefix = path.rstrip("/") + "/"
        with self._reading():
            rows = self._connection.execute(
                "select path, data, version, czxid, owner from node where path > ? and path < ? order by path",
                (prefix, prefix[:-1] + "0"),
            )
            return {row[0]: Node(row[1], Stat(row[2], row[3], row[4])) for row in rows}

    def write(self, operations: Sequence[Operation], session: int) -> list[Result]:
        """All operations or none, in one transaction; raises StoreError, also where the disk fails or is full."""
        try:
            return self._write(operations, session)
        except self._sqlite_error as error:
            raise StoreError(str(self.path), str(error)) from error

    def _write(self, operations: Sequence[Operation], session: int) -> list[Result]:
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                zxid = self._connection.execute(
                    "update counter set value = value + 1 where name = 'zxid' returning value"
                ).fetchone()[0]
                results = [self._apply(operation, zxid, session) for operation in operations]
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise
        return results

    def _apply(self, operation: Operation, zxid: int, session: int) -> Result:
        if isinstance(operation, Create):
            return self._create(operation, zxid, session)
        node = self._read(operation.path)
        if node is None:
            raise NoNode(operation.path)
        if operation.version not in (ANY_VERSION, node.stat.version):
            raise BadVersion(operation.path, f"version is {node.stat.version}, not {operation.version}")
        if isinstance(operation, Set):
            version = node.stat.version + 1
            self._connection.execute(
                "update node set data = ?, version = ? where path = ?", (operation.data, version, operation.path)
            )
            return node.stat._replace(version=version)
        if isinstance(operation, Delete):
            if self._connection.execute("select 1 from node where parent = ? limit 1", (operation.path,)).fetchone():
                raise NotEmpty(operation.path)
            self._connection.execute("delete from node where path = ?", (operation.path,))
        return None

    def _create(self, operation: Create, zxid: int, session: int) -> str:
        path = operation.path
        parent = path.rpartition("/")[0] or "/"
        run = self._connection.execute
        found = run(
            "update node set next_sequence = next_sequence + 1 where path = ? returning next_sequence", (parent,)
        )
        sequence = found.fetchone()
        if sequence is None:
            raise NoNode(parent)
        if operation.sequential:
            path += f"{sequence[0] - 1:010d}"
        owner = session if operation.ephemeral else 0
        made = run(
            "insert or ignore into node values (?, ?, ?, 0, ?, ?, 0)", (path, parent, operation.data, zxid, owner)
        )
        if made.rowcount == 0:
            raise NodeExists(path)
        return path

    def delete_tree(self, path: str, version: int, session: int) -> list[str]:
        """Removes a node and all below it; says the paths."""
        gone = [*reversed(self.subtree(path)), path]
        self.write([Delete(one, version if one == path else ANY_VERSION) for one in gone], session)
        return gone

    def open_session(self, store: EmbeddedStore) -> int:
        """A number for a new session."""
        with self._lock:
            session, self._next_session = self._next_session, self._next_session + 1
            self._sessions[session] = store
            return session

    def end_session(self, session: int) -> list[str]:
        """Forgets a session with its ephemeral nodes, and closes the file after the last one; says their paths.

        Those that a full disk keeps from being removed go when the file is opened the next time.
        """
        with self._lock:
            self._sessions.pop(session, None)
            rows: list[tuple[str]] = []
            try:
                rows = self._connection.execute("select path from node where owner = ?", (session,)).fetchall()
                self._connection.execute("delete from node where owner = ?", (session,))
            except self._sqlite_error as error:
                log.warning("%s: a session can't be ended in it: %s", self.path, error)
            if not self._sessions:
                self._connection.close()
            return [row[0] for row in rows]

    def sessions(self) -> list[EmbeddedStore]:
        """The sessions that are open."""
        with self._lock:
            return list(self._sessions.values())


class EmbeddedStore:
    """A broker's session with an embedded database: a `MetadataStore`."""

    def __init__(self, database: Database, disk: Blocking) -> None:
        self._database = database
        self._disk = disk
        self._watches: dict[str, list[Callable[[], None]]] = {}
        self._on_session: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._token: trio.lowlevel.TrioToken | None = None
        self.session_id = database.open_session(self)

    @property
    def connected(self) -> bool:
        """Always: it is in this process."""
        return True

    async def get(self, path: str) -> Node:
        """A node; raises NoNode."""
        node = await self._disk.run(self._database.read, path)
        if node is None:
            raise NoNode(path)
        return node

    async def find(self, path: str) -> Node | None:
        """A node, or None where there is none."""
        return await self._disk.run(self._database.read, path)

    async def find_many(self, paths: Sequence[str]) -> dict[str, Node]:
        """Those of the nodes that are there, by path."""
        return await self._disk.run(self._database.read_many, paths)

    async def children(self, path: str) -> list[str]:
        """The names of a node's children, sorted; raises NoNode."""
        return await self._disk.run(self._database.children, path)

    async def subtree(self, path: str) -> dict[str, Node]:
        """Every node below a path, by path, sorted."""
        return await self._disk.run(self._database.subtree, path)

    async def create(self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Makes a node and says its path; raises NodeExists, or NoNode for the parent."""
        results = await self.multi([Create(path, data, ephemeral, sequential)])
        return str(results[0])

    async def ensure_path(self, path: str) -> None:
        """Makes a node and its parents where they are missing."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            part = "/" + "/".join(parts[:depth])
            if await self.find(part) is None:
                try:
                    await self.create(part)
                except NodeExists:
                    pass

    async def set(self, path: str, data: bytes, version: int = ANY_VERSION) -> Stat:
        """Sets a node's data; raises NoNode, BadVersion."""
        stat = (await self.multi([Set(path, data, version)]))[0]
        assert isinstance(stat, Stat)
        return stat

    async def delete(self, path: str, version: int = ANY_VERSION, *, recursive: bool = False) -> None:
        """Removes a node; raises NoNode, BadVersion, NotEmpty."""
        if recursive:
            gone = await self._disk.run(self._database.delete_tree, path, version, self.session_id)
            self._notify(gone)
        else:
            await self.multi([Delete(path, version)])

    async def multi(self, operations: Sequence[Operation]) -> list[Result]:
        """All of them or none; raises the error of the first that fails."""
        results = await self._disk.run(self._database.write, operations, self.session_id)
        self._notify([operation.path for operation in operations if not isinstance(operation, Check)])
        return results

    def watch(self, path: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called after the node or its list of children changed; the answer ends it."""
        import trio

        self._token = trio.lowlevel.current_trio_token()
        self._watches.setdefault(path, []).append(changed)
        return lambda: self._watches[path].remove(changed)

    def on_session(self, lost: Callable[[], None], renewed: Callable[[], None]) -> None:
        """Has `lost` called when `expire` ends the session, and `renewed` at the end of it."""
        self._on_session.append((lost, renewed))

    async def expire(self) -> None:
        """Ends the session as a ZooKeeper would that hasn't heard of it for too long, and begins another."""
        for lost, _ in self._on_session:
            lost()
        before, self.session_id = self.session_id, self._database.open_session(self)
        self._notify(await self._disk.run(self._database.end_session, before))
        for _, renewed in self._on_session:
            renewed()

    async def close(self) -> None:
        """Ends the session: its ephemeral nodes go."""
        gone = await self._disk.run(self._database.end_session, self.session_id)
        self._notify(gone)

    def _notify(self, paths: Sequence[str]) -> None:
        """Tells every session of the database about changed nodes; each of them in its own event loop."""
        changed = {*paths, *(path.rpartition("/")[0] or "/" for path in paths)}
        for store in self._database.sessions():
            if store is self:
                store.changed(changed)
            elif store._token is not None:
                store._token.run_sync_soon(store.changed, changed)

    def changed(self, paths: AbstractSet[str]) -> None:
        """Calls the watches on some nodes; in the session's own event loop."""
        for path in paths & self._watches.keys():
            for call in tuple(self._watches[path]):
                call()
