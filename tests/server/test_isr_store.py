"""ISRs are stored where nobody was faster; an answer that was lost is no reason to think so."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from pykbroker.cluster.image import PartitionState
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.disk import InlineDisk
from pykbroker.server.isr_store import IsrStore

TP = TopicPartition("t", 0)
PATH = znodes.state_path("t", 0)
STATE = PartitionState(leader=1, leader_epoch=3, isr=(1, 2), replicas=(1, 2), partition_epoch=0, controller_epoch=1)


@pytest.fixture
async def store() -> EmbeddedStore:
    made = EmbeddedStore(Database(None), InlineDisk())
    await made.ensure_path(znodes.ISR_CHANGES)
    await made.ensure_path(PATH.rpartition("/")[0])
    await made.create(PATH, znodes.encode_state(STATE))
    return made


async def test_an_isr_is_stored_and_told(store: EmbeddedStore) -> None:
    stored = await IsrStore(store).propose(TP, STATE._replace(isr=(1,)))
    assert stored == STATE._replace(isr=(1,), partition_epoch=1)
    assert await store.children(znodes.ISR_CHANGES) == ["isr_change_0000000000"]


async def test_whoever_was_faster_wins(store: EmbeddedStore) -> None:
    await store.set(PATH, znodes.encode_state(STATE._replace(leader_epoch=4)))
    with pytest.raises(KafkaError) as outrun:
        await IsrStore(store).propose(TP, STATE._replace(isr=(1,)))
    assert outrun.value.code is ErrorCode.INVALID_UPDATE_VERSION


async def test_a_change_whose_answer_was_lost_is_done_when_it_is_asked_for_again(store: EmbeddedStore) -> None:
    wanted = STATE._replace(isr=(1,))
    await store.set(PATH, znodes.encode_state(wanted))
    assert (await IsrStore(store).propose(TP, wanted)).partition_epoch == 1


async def test_what_could_not_be_told_is_told_later(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    real, failures = store.create, [1, 2, 3]

    async def create(path: str, data: bytes = b"", **others: bool) -> str:
        if failures:
            failures.pop()
            raise StoreError(path, "no connection")
        return await real(path, data, **others)

    monkeypatch.setattr(store, "create", create)
    await IsrStore(store).propose(TP, STATE._replace(isr=(1,)))
    assert await store.children(znodes.ISR_CHANGES) == ["isr_change_0000000000"]


async def test_a_topic_that_is_gone(store: EmbeddedStore) -> None:
    with pytest.raises(KafkaError) as gone:
        await IsrStore(store).propose(TopicPartition("u", 0), STATE)
    assert gone.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
