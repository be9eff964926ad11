"""What a real ZooKeeper does to a session: it expires, the server goes and comes back, nobody answers."""

from pathlib import Path

import pytest
import trio

from pykbroker.metadata.store import SessionExpired, StoreError
from pykbroker.metadata.zookeeper import ZooKeeperStore
from pykbroker.metadata.zookeeper_server import ZooKeeperServer

pytestmark = pytest.mark.slow


async def connect(address: str) -> ZooKeeperStore:
    return await ZooKeeperStore.connect(address, session_timeout=4, connection_timeout=10)


async def expire(store: ZooKeeperStore) -> None:
    """Ends a session behind its owner's back: another connection takes it over and closes it."""
    from kazoo.client import KazooClient

    def close() -> None:
        other = KazooClient(hosts=store._servers, client_id=store._client.client_id)
        other.start()
        other.stop()
        other.close()

    await trio.to_thread.run_sync(close)


async def test_a_session_that_expires_is_told_and_replaced(zookeeper_chroot: str) -> None:
    store, other = await connect(zookeeper_chroot), await connect(zookeeper_chroot)
    before = store.session_id
    await store.create("/mine", ephemeral=True)
    told: list[str] = []
    renewed, changed = trio.Event(), trio.Event()
    store.on_session(lambda: told.append("lost"), lambda: (told.append("renewed"), renewed.set()))
    await expire(store)
    with trio.fail_after(20):
        await renewed.wait()
    assert told == ["lost", "renewed"]
    assert store.session_id != before
    assert await other.find("/mine") is None
    store.watch("/mine", changed.set)
    await store.create("/mine", b"again", ephemeral=True)
    with trio.fail_after(5):
        await changed.wait()
    assert (await other.get("/mine")).stat.owner == store.session_id
    await store.close()
    with pytest.raises(SessionExpired):
        await store.get("/mine")
    await other.close()


async def test_a_restart_of_zookeeper_is_survived(tmp_path: Path) -> None:
    server = ZooKeeperServer(tmp_path, tick_ms=2000)
    server.start()
    try:
        store = await connect(server.address)
        await store.create("/a")
        changes = 0

        def changed() -> None:
            nonlocal changes
            changes += 1

        store.watch("/a", changed)
        server.kill()
        answered = trio.Event()

        async def write() -> None:
            await store.set("/a", b"x", 0)
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.to_thread.run_sync(server.start)
            with trio.fail_after(20):
                await answered.wait()
        assert (await store.get("/a")).data == b"x"
        before = changes
        await store.set("/a", b"y")
        with trio.fail_after(5):
            while changes == before:
                await trio.testing.wait_all_tasks_blocked(0.01)
        await store.close()
    finally:
        server.kill()


async def test_nobody_answers() -> None:
    with pytest.raises(StoreError, match=r"127.0.0.1:1: no ZooKeeper answers at this address within 0.2 s"):
        await ZooKeeperStore.connect("127.0.0.1:1", session_timeout=0.2, connection_timeout=0.2)


async def test_a_write_whose_answer_was_lost_is_found_done(zookeeper_chroot: str) -> None:
    from kazoo.exceptions import ConnectionLoss

    store = await connect(zookeeper_chroot)
    await store.create("/a")
    real, losses = store._call, 1

    async def lossy(path: str, start: object) -> object:
        nonlocal losses
        answer = await real(path, start)
        if losses:
            losses -= 1
            raise ConnectionLoss
        return answer

    store._call = lossy
    assert (await store.set("/a", b"x", 0)).version == 1
    losses = 1
    assert await store.create("/b", b"1") == "/b"
    losses = 1
    await store.delete("/b")
    assert await store.find("/b") is None
    await store.close()
