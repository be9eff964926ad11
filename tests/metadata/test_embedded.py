"""The embedded store against ZooKeeper's model."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest

from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import (
    BadVersion,
    Check,
    Create,
    Delete,
    NodeExists,
    NoNode,
    NotEmpty,
    Set,
    StoreError,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Inline:
    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return work(*args)


def memory() -> EmbeddedStore:
    return EmbeddedStore(Database(None), Inline())


async def test_create_get_set_delete() -> None:
    store = memory()
    assert await store.create("/a", b"1") == "/a"
    node = await store.get("/a")
    assert (node.data, node.stat.version, node.stat.owner) == (b"1", 0, 0)
    assert (await store.set("/a", b"2")).version == 1
    assert (await store.set("/a", b"3", version=1)).version == 2
    await store.delete("/a", version=2)
    assert await store.find("/a") is None


async def test_what_is_refused() -> None:
    store = memory()
    await store.create("/a")
    await store.create("/a/b")
    with pytest.raises(NodeExists, match="/a"):
        await store.create("/a")
    with pytest.raises(NoNode, match="/x"):
        await store.create("/x/y")
    with pytest.raises(NoNode):
        await store.get("/x")
    with pytest.raises(NoNode):
        await store.children("/x")
    with pytest.raises(NoNode):
        await store.set("/x", b"")
    with pytest.raises(BadVersion):
        await store.set("/a", b"", version=7)
    with pytest.raises(BadVersion):
        await store.delete("/a/b", version=7)
    with pytest.raises(NotEmpty):
        await store.delete("/a")


async def test_children_and_subtrees() -> None:
    store = memory()
    await store.ensure_path("/a/b/c")
    await store.ensure_path("/a/b/c")
    await store.create("/a/b0")
    await store.create("/ab")
    assert await store.children("/") == ["a", "ab"]
    assert await store.children("/a") == ["b", "b0"]
    assert list(await store.subtree("/a")) == ["/a/b", "/a/b/c", "/a/b0"]
    assert list(await store.subtree("/")) == ["/a", "/a/b", "/a/b/c", "/a/b0", "/ab"]
    await store.delete("/a", recursive=True)
    assert await store.children("/") == ["ab"]


async def test_sequential_names_never_come_again() -> None:
    store = memory()
    await store.create("/a")
    assert await store.create("/a/n_", sequential=True) == "/a/n_0000000000"
    await store.delete("/a/n_0000000000")
    assert await store.create("/a/n_", sequential=True) == "/a/n_0000000001"


async def test_all_of_a_multi_or_nothing() -> None:
    store = memory()
    await store.create("/a")
    with pytest.raises(BadVersion):
        await store.multi([Create("/b"), Set("/a", b"x"), Check("/a", 5)])
    assert await store.find("/b") is None
    assert (await store.get("/a")).data == b""
    results = await store.multi([Check("/a", 0), Create("/b"), Set("/a", b"x"), Delete("/b")])
    assert results[1] == "/b"
    assert await store.children("/") == ["a"]


async def test_a_later_change_has_a_higher_number() -> None:
    store = memory()
    await store.create("/a")
    await store.create("/b")
    assert (await store.get("/b")).stat.czxid > (await store.get("/a")).stat.czxid


async def test_ephemeral_nodes_end_with_their_session() -> None:
    database = Database(None)
    first, second = EmbeddedStore(database, Inline()), EmbeddedStore(database, Inline())
    await first.create("/mine", ephemeral=True)
    assert (await second.get("/mine")).stat.owner == first.session_id
    await first.close()
    assert await second.find("/mine") is None


async def test_watches_see_the_node_and_its_children() -> None:
    store = memory()
    await store.create("/a")
    seen: list[str] = []
    end = store.watch("/a", lambda: seen.append("changed"))
    await store.set("/a", b"x")
    await store.create("/a/b")
    await store.set("/a/b", b"x")
    await store.delete("/a/b")
    assert len(seen) == 4
    await store.create("/other")
    end()
    await store.set("/a", b"y")
    assert len(seen) == 4


async def test_another_sessions_changes_are_seen() -> None:
    import trio

    database = Database(None)
    first, second = EmbeddedStore(database, Inline()), EmbeddedStore(database, Inline())
    changed = trio.Event()
    first.watch("/a", changed.set)
    await second.create("/a")
    with trio.fail_after(1):
        await changed.wait()


async def test_a_file_keeps_its_tree_but_no_ephemeral_node(tmp_path: Path) -> None:
    store = EmbeddedStore(Database(tmp_path / "metadata.db"), Inline())
    await store.create("/a", b"kept")
    await store.create("/session", ephemeral=True)
    await store.close()
    store = EmbeddedStore(Database(tmp_path / "metadata.db"), Inline())
    assert (await store.get("/a")).data == b"kept"
    assert await store.find("/session") is None
    await store.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    database = Database(tmp_path / "metadata.db")
    session = database.open_session(EmbeddedStore(database, Inline()))
    with pytest.raises(StoreError, match="another broker uses this data directory"):
        Database(tmp_path / "metadata.db")
    assert session


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_text("hello, this is no database at all" * 100)
    with pytest.raises(StoreError, match="can't be used as metadata store"):
        Database(tmp_path / "metadata.db")
    with pytest.raises(StoreError, match="can't be used as metadata store"):
        Database(tmp_path / "missing" / "metadata.db")


async def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "metadata.db")
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer pykbroker"):
        Database(tmp_path / "metadata.db")


KILLED = """
import os, sys
from pathlib import Path
from pykbroker.metadata.embedded import Database
from pykbroker.metadata.store import Create
database = Database(Path(sys.argv[1]))
for number in range(3):
    database.write([Create(f"/{number}"), Create(f"/{number}/below")], 1)
database._connection.execute("begin immediate")
database._connection.execute("delete from node where path = '/0/below'")
os.kill(os.getpid(), 9)
"""


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    database = Database(path)
    assert list(database.subtree("/")) == ["/0", "/0/below", "/1", "/1/below", "/2", "/2/below"]
