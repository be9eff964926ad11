"""ZooKeeper's model, as both stores keep it: the embedded one, and a real ZooKeeper."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import pytest
import trio

from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import (
    BadVersion,
    Check,
    Create,
    Delete,
    MetadataStore,
    NodeExists,
    NoNode,
    NotEmpty,
    Set,
    Stat,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Open = Callable[[], Awaitable[MetadataStore]]


class Inline:
    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return work(*args)


@pytest.fixture(params=["embedded", pytest.param("zookeeper", marks=pytest.mark.slow)])
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens sessions with one empty store."""
    opened: list[MetadataStore] = []
    database = Database(None) if request.param == "embedded" else None
    address = "" if database is not None else request.getfixturevalue("zookeeper_chroot")

    async def open_one() -> MetadataStore:
        if database is not None:
            opened.append(EmbeddedStore(database, Inline()))
        else:
            from pykbroker.metadata.zookeeper import ZooKeeperStore

            opened.append(await ZooKeeperStore.connect(address, session_timeout=4, connection_timeout=10))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
async def store(open_store: Open) -> MetadataStore:
    return await open_store()


async def seen(event: trio.Event) -> None:
    with trio.fail_after(5):
        await event.wait()


async def test_create_get_set_delete(store: MetadataStore) -> None:
    assert await store.create("/a", b"1") == "/a"
    node = await store.get("/a")
    assert (node.data, node.stat.version, node.stat.owner) == (b"1", 0, 0)
    assert (await store.set("/a", b"2")).version == 1
    stat = await store.set("/a", b"3", version=1)
    assert stat == Stat(2, node.stat.czxid, 0)
    await store.delete("/a", version=2)
    assert await store.find("/a") is None


async def test_what_is_refused(store: MetadataStore) -> None:
    await store.create("/a")
    await store.create("/a/b")
    with pytest.raises(NodeExists, match="/a"):
        await store.create("/a")
    with pytest.raises(NoNode):
        await store.create("/x/y")
    calls: list[Awaitable[Any]] = [store.get("/x"), store.children("/x"), store.set("/x", b""), store.delete("/x")]
    for call in calls:
        with pytest.raises(NoNode):
            await call
    with pytest.raises(BadVersion):
        await store.set("/a", b"", version=7)
    with pytest.raises(BadVersion):
        await store.delete("/a/b", version=7)
    with pytest.raises(NotEmpty):
        await store.delete("/a")


async def test_children_subtrees_and_many(store: MetadataStore) -> None:
    await store.ensure_path("/a/b/c")
    await store.ensure_path("/a/b/c")
    await store.create("/a/b0", b"0")
    await store.create("/ab")
    assert await store.children("/") == ["a", "ab"] or await store.children("/") == ["a", "ab", "zookeeper"]
    assert await store.children("/a") == ["b", "b0"]
    assert list(await store.subtree("/a")) == ["/a/b", "/a/b/c", "/a/b0"]
    assert list(await store.subtree("/")) == ["/a", "/a/b", "/a/b/c", "/a/b0", "/ab"]
    assert await store.subtree("/none") == {}
    many = await store.find_many(["/a/b0", "/none", "/ab", *(f"/{number}" for number in range(30))])
    assert {path: node.data for path, node in many.items()} == {"/a/b0": b"0", "/ab": b""}
    await store.delete("/a", recursive=True)
    assert list(await store.subtree("/")) == ["/ab"]


async def test_sequential_names_never_come_again(store: MetadataStore) -> None:
    await store.create("/a")
    assert await store.create("/a/n_", sequential=True) == "/a/n_0000000000"
    await store.delete("/a/n_0000000000")
    assert await store.create("/a/n_", sequential=True) == "/a/n_0000000001"


async def test_all_of_a_multi_or_nothing(store: MetadataStore) -> None:
    await store.create("/a")
    with pytest.raises(BadVersion, match="/a"):
        await store.multi([Create("/b"), Set("/a", b"x"), Check("/a", 5)])
    assert await store.find("/b") is None
    assert (await store.get("/a")).data == b""
    created, stat, checked, deleted = await store.multi([Create("/b"), Set("/a", b"x"), Check("/a", 1), Delete("/b")])
    assert (created, checked, deleted) == ("/b", None, None)
    assert isinstance(stat, Stat)
    assert stat.version == 1


async def test_a_registration_says_its_epoch(store: MetadataStore) -> None:
    _, stat = await store.multi([Create("/me", ephemeral=True), Set("/me", b"json", 0)])
    node = await store.get("/me")
    assert node.stat == stat
    assert node.stat.owner == store.session_id
    await store.create("/later")
    assert (await store.get("/later")).stat.czxid > node.stat.czxid


async def test_ephemeral_nodes_end_with_their_session(open_store: Open) -> None:
    first, second = await open_store(), await open_store()
    await first.create("/mine", ephemeral=True)
    assert (await second.get("/mine")).stat.owner == first.session_id
    gone = trio.Event()

    async def look() -> None:
        if await second.find("/mine") is None:
            gone.set()

    async with trio.open_nursery() as nursery:
        end = second.watch("/mine", lambda: nursery.start_soon(look))
        await first.close()
        await seen(gone)
        end()


async def test_a_watch_misses_no_change(open_store: Open) -> None:
    first, second = await open_store(), await open_store()
    await first.create("/a")
    read: list[bytes] = []
    news = trio.Event()
    end = first.watch("/a", lambda: news.set())
    for number in range(5):
        await second.set("/a", b"%d" % number)
        with trio.fail_after(5):
            while not read or read[-1] != b"%d" % number:
                await news.wait()
                news = trio.Event()
                read.append((await first.get("/a")).data)
    end()
    children = trio.Event()
    first.watch("/a", children.set)
    await second.create("/a/b")
    await seen(children)


async def test_a_watch_on_what_is_not_there_yet(open_store: Open) -> None:
    first, second = await open_store(), await open_store()
    there = trio.Event()

    async def look() -> None:
        if await first.find("/a") is not None:
            there.set()

    async with trio.open_nursery() as nursery:
        end = first.watch("/a", lambda: nursery.start_soon(look))
        await second.create("/a")
        await seen(there)
        end()
