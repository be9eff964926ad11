"""Producer ids: blocks of the store's, and what is said while it can't be reached."""

import pytest

from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import StoreError
from pykbroker.metadata.znodes import PRODUCER_ID_BLOCK
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.server.disk import InlineDisk
from pykbroker.server.producer_ids import BLOCK_SIZE, ProducerIds


async def store() -> EmbeddedStore:
    made = EmbeddedStore(Database(None), InlineDisk())
    await made.ensure_path(PRODUCER_ID_BLOCK)
    return made


async def test_two_brokers_hand_out_ids_of_their_own() -> None:
    shared = await store()
    one, two = ProducerIds(shared, 1), ProducerIds(shared, 2)
    assert [await one.next(), await two.next(), await one.next()] == [0, BLOCK_SIZE, 1]


async def test_producers_try_again_while_the_store_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ProducerIds(await store(), 1)

    async def fail(path: str) -> None:
        raise StoreError(path, "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(ids._store, "get", fail)
        with pytest.raises(KafkaError) as refused:
            await ids.next()
        assert refused.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert await ids.next() == 0
