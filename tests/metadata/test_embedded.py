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
    StoreError,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Inline:
    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return work(*args)


def memory() -> EmbeddedStore:
    return EmbeddedStore(Database(None), Inline())


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
