"""The metadata store on a real ZooKeeper, through kazoo: the one module that knows it.

kazoo calls back in threads of its own; they only put a note into the event loop, where the rest happens. A lost
connection is waited for; a session that has expired is an error of what was under way, and news for `on_session`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

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
    SessionExpired,
    Set,
    Stat,
    StoreError,
)

if TYPE_CHECKING:
    from kazoo.client import KazooClient

log = logging.getLogger(__name__)

Start = Callable[[], Any]
"""Begins an operation; its answer is kazoo's IAsyncResult."""


class ZooKeeperStore:
    """A broker's session with ZooKeeper: a `MetadataStore`."""

    def __init__(self, client: KazooClient, servers: str, patience: float, max_in_flight: int) -> None:
        """For `connect` alone. `patience` is how many seconds a call waits for a connection that was lost."""
        self._client = client
        self._servers = servers
        self._patience = patience
        self._token = trio.lowlevel.current_trio_token()
        self._slots = trio.Semaphore(max_in_flight)
        self._max_in_flight = max_in_flight
        self._connected = trio.Event()
        self._expired = False
        self._closed = False
        self._watches: dict[str, _Watch] = {}
        self._on_session: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.session_id = 0

    @classmethod
    async def connect(
        cls, servers: str, *, session_timeout: float, connection_timeout: float, max_in_flight: int = 10
    ) -> ZooKeeperStore:
        """Opens a session with `HOST:PORT[,HOST:PORT…][/chroot]`; a chroot that is missing is made. Times in seconds.

        Raises StoreError where no server answers in time or the addresses can't be read.
        """
        from kazoo.client import KazooClient
        from kazoo.exceptions import KazooException

        logging.getLogger("kazoo").setLevel(logging.ERROR)
        hosts, slash, chroot = servers.partition("/")
        log.info("connecting to ZooKeeper at %s", servers)
        retry = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 1.0}
        try:
            if slash and chroot:
                await _make_chroot(hosts, "/" + chroot, connection_timeout)
            client = KazooClient(hosts=servers, timeout=session_timeout, connection_retry=retry)
        except (KazooException, ValueError) as error:
            raise StoreError(servers, f"can't be used as zookeeper.connect: {error}") from error
        store = cls(client, servers, max(session_timeout, connection_timeout), max_in_flight)
        client.add_listener(store._listen)
        await _start(client, servers, connection_timeout)
        await store._connection()
        return store

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connected.is_set()

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def get(self, path: str) -> Node:
        """A node; raises NoNode."""
        data, stat = await self._run(path, partial(self._client.get_async, path))
        return _node(data, stat)

    async def find(self, path: str) -> Node | None:
        """A node, or None where there is none."""
        try:
            return await self.get(path)
        except NoNode:
            return None

    async def find_many(self, paths: Sequence[str]) -> dict[str, Node]:
        """Those of the nodes that are there, by path."""
        found = await self._gather([(path, partial(self._client.get_async, path)) for path in paths])
        return {path: _node(*answer) for path, answer in found.items()}

    async def children(self, path: str) -> list[str]:
        """The names of a node's children, sorted; raises NoNode."""
        return sorted(await self._run(path, partial(self._client.get_children_async, path)))

    async def subtree(self, path: str) -> dict[str, Node]:
        """Every node below a path, by path, sorted; ZooKeeper's own `/zookeeper` is left out."""
        found: dict[str, Node] = {}
        level = [path]
        while level:
            names = await self._gather([(one, partial(self._client.get_children_async, one)) for one in level])
            level = [f"{one.rstrip('/')}/{name}" for one, children in names.items() for name in children]
            level = [one for one in level if one != "/zookeeper"]
            found |= await self.find_many(level)
        return dict(sorted(found.items()))

    async def _gather(self, starts: Sequence[tuple[str, Start]]) -> dict[str, Any]:
        """The answers of some reads, as many in flight as the session may have; nodes that are missing are left out."""
        answers: dict[str, Any] = {}

        async def read(path: str, start: Start) -> None:
            try:
                answers[path] = await self._run(path, start)
            except NoNode:
                pass

        for first in range(0, len(starts), self._max_in_flight):
            try:
                async with trio.open_nursery() as nursery:
                    for path, start in starts[first : first + self._max_in_flight]:
                        nursery.start_soon(read, path, start)
            except* StoreError as errors:
                raise _first(errors) from None
        return answers

    # ---- writing ---------------------------------------------------------------------------------------------------

    async def create(self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Makes a node and says its path; raises NodeExists, or NoNode for the parent."""
        return str((await self.multi([Create(path, data, ephemeral, sequential)]))[0])

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
        below = reversed(await self.subtree(path)) if recursive else ()
        await self.multi([*(Delete(one) for one in below), Delete(path, version)])

    async def multi(self, operations: Sequence[Operation]) -> list[Result]:
        """All of them or none; raises the error of the first that fails.

        After a lost connection it is tried again; where the first try had gone through all the same, the nodes show
        it, and that is success.
        """
        from kazoo.exceptions import ConnectionLoss, KazooException

        lost = False
        while True:
            try:
                results = await self._call(operations[0].path, lambda: self._commit(operations))
            except ConnectionLoss:
                lost = True
                continue
            except KazooException as error:
                raise _translated(operations[0].path, error) from error
            failure = _failure(operations, results)
            if failure is None:
                return [_result(result) for result in results]
            done = await self._done(operations) if lost else None
            if done is None:
                raise failure
            return done

    def _commit(self, operations: Sequence[Operation]) -> Any:
        from kazoo.protocol.serialization import Create as CreateRequest
        from kazoo.security import OPEN_ACL_UNSAFE

        transaction = self._client.transaction()
        for operation in operations:
            if isinstance(operation, Create):
                # As kazoo would, but that a node without data has none (null), which Kafka tells from empty data.
                flags = operation.ephemeral | operation.sequential << 1
                path = self._client.chroot + operation.path
                transaction.operations.append(CreateRequest(path, operation.data or None, OPEN_ACL_UNSAFE, flags))
            elif isinstance(operation, Set):
                transaction.set_data(operation.path, operation.data, operation.version)
            elif isinstance(operation, Delete):
                transaction.delete(operation.path, operation.version)
            else:
                transaction.check(operation.path, operation.version)
        return transaction.commit_async()

    async def _done(self, operations: Sequence[Operation]) -> list[Result] | None:
        """What an earlier try of these operations must have answered, if the nodes are as it would have left them."""
        results: list[Result] = []
        created = {operation.path for operation in operations if isinstance(operation, Create)}
        for operation in operations:
            node = await self.find(operation.path)
            if isinstance(operation, Check):
                results.append(None)
            elif isinstance(operation, Delete):
                if node is not None:
                    return None
                results.append(None)
            elif node is None or not self._is_ours(operation, node, created):
                return None
            else:
                results.append(operation.path if isinstance(operation, Create) else node.stat)
        return results

    def _is_ours(self, operation: Create | Set, node: Node, created: Collection[str]) -> bool:
        if isinstance(operation, Create):
            owner = self.session_id if operation.ephemeral else 0
            return not operation.sequential and node.stat.owner == owner
        if operation.version == ANY_VERSION:
            return node.data == operation.data
        return node.data == operation.data and (operation.path in created or node.stat.version == operation.version + 1)

    # ---- watches ---------------------------------------------------------------------------------------------------

    def watch(self, path: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called after the node or its list of children changed; the answer ends it.

        It is called once when the watch is set, too: what happened before that would be missed.
        """
        watch = self._watches.get(path)
        if watch is None:
            watch = self._watches[path] = _Watch(self, path)
        watch.calls.append(changed)
        watch.arm()
        return partial(watch.calls.remove, changed)

    # ---- session ---------------------------------------------------------------------------------------------------

    def on_session(self, lost: Callable[[], None], renewed: Callable[[], None]) -> None:
        """Has `lost` called when the session has expired, and `renewed` once there is another."""
        self._on_session.append((lost, renewed))

    async def close(self) -> None:
        """Ends the session, and with it its ephemeral nodes."""
        self._closed = True
        self._connected.set()
        await trio.to_thread.run_sync(_close, self._client)

    def _listen(self, state: str) -> None:
        self._tell(self._changed, state)

    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        """Has something called in the event loop; from kazoo's threads."""
        try:
            self._token.run_sync_soon(partial(call, *args))
        except trio.RunFinishedError:
            pass

    def _changed(self, state: str) -> None:
        """Takes note of kazoo's state: CONNECTED, SUSPENDED (no connection, maybe a session) or LOST (no session)."""
        if self._closed:
            return
        if state == "CONNECTED":
            self._connected.set()
            identity = self._client.client_id
            before, self.session_id = self.session_id, self.session_id if identity is None else identity[0]
            if self._expired:
                self._expired = False
                log.info("a new session with ZooKeeper at %s", self._servers)
                for _, renewed in self._on_session:
                    renewed()
            elif before:
                log.info("the connection to ZooKeeper at %s is back", self._servers)
            for watch in self._watches.values():
                watch.arm()
            return
        if self._connected.is_set():
            self._connected = trio.Event()
        if state == "SUSPENDED":
            log.warning("the connection to ZooKeeper at %s is lost", self._servers)
        elif self.session_id:
            self._expired = True
            log.warning("the session with ZooKeeper at %s has expired", self._servers)
            for lost, _ in self._on_session:
                lost()

    async def _connection(self) -> None:
        with trio.move_on_after(self._patience):
            await self._connected.wait()
            if self._closed:
                raise SessionExpired(self._servers, "the session has ended")
            return
        raise StoreError(self._servers, f"no ZooKeeper has answered for {self._patience:.0f} s")

    async def _run(self, path: str, start: Start) -> Any:
        """The answer to a read, which may be asked again."""
        from kazoo.exceptions import ConnectionLoss, KazooException

        while True:
            try:
                return await self._call(path, start)
            except ConnectionLoss:
                continue
            except KazooException as error:
                raise _translated(path, error) from error

    async def _call(self, path: str, start: Start) -> Any:
        """One try, once there is a connection; raises kazoo's errors."""
        async with self._slots:
            await self._connection()
            answered = trio.Event()
            result = start()
            result.rawlink(lambda _: self._tell(answered.set))
            await answered.wait()
            return result.get_nowait()


class _Watch:
    """One path's one-shot watches, set again before anybody reads what they tell of."""

    def __init__(self, store: ZooKeeperStore, path: str) -> None:
        self._store = store
        self._path = path
        self._arming = 0
        self._again = False
        self._fired = self._fire
        self.calls: list[Callable[[], None]] = []

    def arm(self) -> None:
        """Sets both watches; in the event loop."""
        if self._store._closed or not self._store._connected.is_set():
            return  # A new connection arms every watch.
        if self._arming:
            self._again = True
            return
        client = self._store._client
        self._arming = 2
        client.exists_async(self._path, watch=self._fired).rawlink(self._answered)
        client.get_children_async(self._path, watch=self._fired).rawlink(self._answered)

    def _fire(self, event: Any) -> None:
        if event.type != "NONE":
            self._store._tell(self.arm)

    def _answered(self, result: Any) -> None:
        self._store._tell(self._armed)

    def _armed(self) -> None:
        self._arming -= 1
        if self._arming:
            return
        if self._again:
            self._again = False
            self.arm()
            return
        for call in tuple(self.calls):
            call()


def _node(data: bytes | None, stat: Any) -> Node:
    return Node(data or b"", _stat(stat))


def _stat(stat: Any) -> Stat:
    return Stat(stat.version, stat.czxid, stat.ephemeralOwner)


def _result(result: Any) -> Result:
    if isinstance(result, str):
        return result
    return None if result is True else _stat(result)


def _failure(operations: Sequence[Operation], results: Sequence[Any]) -> StoreError | None:
    from kazoo.exceptions import RolledBackError, RuntimeInconsistency

    for operation, result in zip(operations, results, strict=False):
        if isinstance(result, Exception) and not isinstance(result, (RolledBackError, RuntimeInconsistency)):
            return _translated(operation.path, result)
    return None


def _translated(path: str, error: Exception) -> StoreError:
    from kazoo import exceptions

    kinds: dict[type[Exception], type[StoreError]] = {
        exceptions.NoNodeError: NoNode,
        exceptions.NodeExistsError: NodeExists,
        exceptions.BadVersionError: BadVersion,
        exceptions.NotEmptyError: NotEmpty,
        exceptions.SessionExpiredError: SessionExpired,
        exceptions.ConnectionClosedError: SessionExpired,
    }
    for kind, ours in kinds.items():
        if isinstance(error, kind):
            return ours(path, "the session has ended" if ours is SessionExpired else "")
    return StoreError(path, f"ZooKeeper answers {type(error).__name__} {error}".rstrip())


def _first(errors: BaseExceptionGroup[StoreError]) -> StoreError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def _start(client: KazooClient, servers: str, timeout: float) -> None:
    """Connects; raises StoreError where nobody answers in time."""
    from kazoo.handlers.threading import KazooTimeoutError

    try:
        await trio.to_thread.run_sync(client.start, timeout, abandon_on_cancel=True)
    except KazooTimeoutError:
        await trio.to_thread.run_sync(_close, client)
        reason = f"no ZooKeeper answers at this address within {timeout:g} s (zookeeper.connect; one broker needs none)"
        raise StoreError(servers, reason) from None


def _close(client: KazooClient) -> None:
    client.stop()
    client.close()


async def _make_chroot(hosts: str, chroot: str, timeout: float) -> None:
    """The folder of this cluster's nodes, made where it is missing, as Kafka does."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=hosts, timeout=timeout)
    await _start(client, hosts, timeout)
    try:
        if not await trio.to_thread.run_sync(client.exists, chroot):
            log.info("ZooKeeper at %s has no %s yet: it is made", hosts, chroot)
            await trio.to_thread.run_sync(client.ensure_path, chroot)
    finally:
        await trio.to_thread.run_sync(_close, client)
