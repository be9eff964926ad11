"""Replicas that move to another data directory: while they are written, cut, restarted and killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pykbroker.cluster.image import PartitionState
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.disk import InlineDisk
from pykbroker.server.leadership import LeaderState
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.storage.log_manager import LogManager

TP = TopicPartition("t", 0)
LED = PartitionState(leader=1, leader_epoch=3, isr=(1,), replicas=(1, 2), partition_epoch=0, controller_epoch=1)
FOLLOWED = LED._replace(leader=2, isr=(2, 1), leader_epoch=4)
SLOW = {"replica_alter_log_dirs_io_max_bytes_per_second": 100, "replica_fetch_max_bytes": 1000}


class TrioClock:
    """Trio's own time."""

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(trio.current_time() * 1000)

    def monotonic(self) -> float:
        return trio.current_time()


class Broker:
    """One broker's data plane on two data directories; `kill` leaves them as a crash does."""

    def __init__(self, path: Path, nursery: trio.Nursery, **values: Any) -> None:
        self.a, self.b = path / "a", path / "b"
        self.config = LiveConfig(BrokerConfig(**values))
        self.logs = LogManager([self.a, self.b], LogConfig(segment_bytes=5000), clock=lambda: 1_700_000_000_000)
        self.logs.open()
        metadata = MetadataCache(self.config)
        self.replicas = ReplicaManager(self.logs, metadata, Purgatory(), InlineDisk(), TrioClock())
        self.moves = self.replicas.moves
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.scope:
            await self.replicas.run()

    async def host(self, state: PartitionState = LED, *, is_new: bool = True) -> Any:
        codes = await self.replicas.apply_leader_and_isr([LeaderState(TP, UUID(int=7), state, is_new)])
        assert codes == {TP: ErrorCode.NONE}
        return self.replicas.find(TP)

    def append(self, count: int = 1) -> None:
        for _ in range(count):
            offset = self.replicas.leader(TP).log.log_end_offset
            data = build_batch([(None, b"%06d" % offset + bytes(400))], timestamp=1)
            self.replicas.append(TP, memoryview(bytearray(data)), acks=1, request_version=9)

    def values(self) -> list[bytes]:
        return values(self.replicas.find(TP).log)  # type: ignore[union-attr]

    def kill(self) -> None:
        self.scope.cancel()
        self.logs.abandon()


def values(log: Any) -> list[bytes]:
    """The first six bytes of each record, from the file."""
    found: list[bytes] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        records = log.read(offset, 10_000, upper_bound=log.log_end_offset).records
        for batch in batches(memoryview(records.read())):
            if batch.last_offset >= offset:
                found += [bytes(record.value)[:6] for record in batch.records()]
                offset = batch.last_offset + 1
    return found


def expected(start: int, end: int) -> list[bytes]:
    return [b"%06d" % offset for offset in range(start, end)]


def names(path: Path) -> list[str]:
    return sorted(entry.name.partition(".")[0] + entry.suffix[33:] for entry in path.iterdir() if entry.is_dir())


async def until(met: Callable[[], bool]) -> None:
    for _ in range(500):
        if met():
            return
        await trio.sleep(1)
    raise AssertionError("it takes too long")


Start = Callable[..., Broker]


@pytest.fixture
async def start(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Start]:
    made: list[Broker] = []

    def begin(path: Path = tmp_path, **config: Any) -> Broker:
        made.append(Broker(path, nursery, **config))
        return made[-1]

    yield begin
    for one in made:
        one.kill()


async def test_a_replica_moves_and_goes_on(start: Start, autojump_clock: MockClock) -> None:
    broker = start()
    replica = await broker.host()
    broker.append(30)
    old = replica.log
    await broker.moves.alter(TP, str(broker.b))
    await wait_all_tasks_blocked()
    assert replica.log is not old
    assert Path(replica.log.directory) == broker.b / "t-0"
    broker.append(5)
    assert broker.values() == expected(0, 35)
    assert replica.log.topic_id == UUID(int=7)
    assert replica.log.epochs.entries == [(3, 0)]
    assert names(broker.a) == ["t-0-delete"]
    await trio.sleep(60)
    await wait_all_tasks_blocked()
    assert names(broker.a) == []
    assert sorted(os.listdir(replica.log.directory)).count("replaces") == 0
    await broker.moves.alter(TP, str(broker.a))
    await wait_all_tasks_blocked()
    assert Path(replica.log.directory) == broker.a / "t-0"
    assert broker.values() == expected(0, 35)


async def test_it_is_written_while_it_is_copied(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    replica = await broker.host()
    broker.append(10)
    await broker.moves.alter(TP, str(broker.b))
    for _ in range(200):
        await trio.sleep(1)
        future = broker.logs.future(TP)
        if future is None:
            break
        assert broker.moves.is_future(future)
        assert future.log_end_offset <= replica.log.log_end_offset
        if replica.log.log_end_offset < 20:
            broker.append()
    assert Path(replica.log.directory) == broker.b / "t-0"
    assert broker.values() == expected(0, 20)


async def test_throttled_by_the_clock(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    await broker.host()
    broker.append(20)
    size = broker.replicas.leader(TP).log.size
    await broker.moves.alter(TP, str(broker.b))
    began = trio.current_time()
    await until(lambda: broker.logs.future(TP) is None)
    assert (size - 2000) / 100 * 0.5 < trio.current_time() - began < size / 100 * 2


async def test_a_throttle_that_is_lifted_wakes(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    await broker.host()
    broker.append(40)
    await broker.moves.alter(TP, str(broker.b))
    await wait_all_tasks_blocked()
    assert broker.logs.future(TP) is not None
    broker.config.update(default={"replica.alter.log.dirs.io.max.bytes.per.second": "1000000000"})
    await wait_all_tasks_blocked()
    assert broker.logs.future(TP) is None


async def test_a_log_that_begins_later_and_loses_records_meanwhile(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    replica = await broker.host()
    broker.append(20)
    replica.log.raise_log_start(3)
    await broker.moves.alter(TP, str(broker.b))
    await wait_all_tasks_blocked()
    replica.log.raise_log_start(15)
    await until(lambda: broker.logs.future(TP) is None)
    assert replica.log.log_start_offset == 15
    assert broker.values() == expected(15, 20)


async def test_a_follower_that_is_cut_cuts_what_was_copied(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    replica = await broker.host()
    broker.append(20)
    await broker.moves.alter(TP, str(broker.b))
    future = broker.logs.future(TP)
    assert future is not None
    await until(lambda: future.log_end_offset >= 8)
    replica.log.truncate_to(5)
    await broker.host(LED._replace(leader_epoch=5))
    broker.append(15)
    await until(lambda: broker.logs.future(TP) is None)
    assert Path(replica.log.directory) == broker.b / "t-0"
    assert broker.values() == expected(0, 20)
    assert replica.log.epochs.entries == [(3, 0), (5, 5)]


async def test_back_where_it_is_gives_the_move_up(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    replica = await broker.host()
    broker.append(20)
    await broker.moves.alter(TP, str(broker.b))
    await wait_all_tasks_blocked()
    assert names(broker.b) == ["t-0-future"]
    await broker.moves.alter(TP, str(broker.a))
    await wait_all_tasks_blocked()
    assert names(broker.b) == []
    assert Path(replica.log.directory) == broker.a / "t-0"
    await broker.moves.alter(TP, str(broker.b))
    await broker.replicas.stop_replicas([TP], delete=True)
    assert (names(broker.a), names(broker.b)) == ([], [])


@pytest.mark.parametrize("state", [LED, FOLLOWED])
async def test_a_restart_goes_on(start: Start, autojump_clock: MockClock, state: PartitionState) -> None:
    broker = start(**SLOW)
    await broker.host()
    broker.append(20)
    await broker.moves.alter(TP, str(broker.b))
    await trio.sleep(10)
    copied = broker.logs.future(TP).log_end_offset  # type: ignore[union-attr]
    assert 0 < copied < 20
    broker.kill()
    again = start(**SLOW)
    future = again.logs.future(TP)
    assert future is not None
    assert future.log_end_offset == copied
    await again.host(state, is_new=False)
    await until(lambda: again.logs.future(TP) is None)
    assert again.values() == expected(0, 20)
    assert Path(again.replicas.find(TP).log.directory) == again.b / "t-0"  # type: ignore[union-attr]


async def test_what_is_refused(start: Start, autojump_clock: MockClock) -> None:
    broker = start()
    refusals = {
        "/nowhere": ErrorCode.LOG_DIR_NOT_FOUND,
        str(broker.b): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    for path, code in refusals.items():
        with pytest.raises(KafkaError) as refused:
            await broker.moves.alter(TP, path)
        assert refused.value.code is code
    replica = await broker.host()
    assert Path(replica.log.directory) == broker.b / "t-0"  # The directory that was asked for before.
    with pytest.raises(KafkaError) as refused:
        await broker.moves.alter(TopicPartition("x" * 220, 0), str(broker.b))
    assert refused.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION
    broker.logs.cordoned = [str(broker.a)]
    with pytest.raises(KafkaError) as refused:
        await broker.moves.alter(TP, str(broker.a))
    assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    broker.logs.cordoned = []
    broker.logs.report(str(broker.a / "t-0"), OSError(5, "Input/output error"))
    broker.replicas.take_failures()
    with pytest.raises(KafkaError) as refused:
        await broker.moves.alter(TP, str(broker.a))
    assert refused.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    await broker.moves.alter(TP, str(broker.b))


async def test_the_destination_fails(start: Start, autojump_clock: MockClock) -> None:
    broker = start(**SLOW)
    replica = await broker.host()
    broker.append(20)
    await broker.moves.alter(TP, str(broker.b))
    await wait_all_tasks_blocked()
    broker.logs.report(str(broker.b / "t-0"), OSError(5, "Input/output error"))
    broker.replicas.take_failures()
    await trio.sleep(100)
    broker.append()
    assert broker.values() == expected(0, 21)
    assert broker.logs.future(TP) is None
    assert Path(replica.log.directory) == broker.a / "t-0"


async def test_a_swap_that_fails_is_tried_again(
    start: Start, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start()
    replica = await broker.host()
    broker.append(30)
    rename, failures = os.rename, [OSError(28, "No space left on device")]

    def failing(*paths: str) -> None:
        if failures and paths[1].endswith("t-0"):
            raise failures.pop()
        rename(*paths)

    monkeypatch.setattr(os, "rename", failing)
    await broker.moves.alter(TP, str(broker.b))
    await until(lambda: broker.logs.future(TP) is None)
    assert not failures
    assert Path(replica.log.directory) == broker.b / "t-0"
    broker.append(5)
    assert broker.values() == expected(0, 35)


async def test_a_crash_between_any_two_changes_of_a_name(
    start: Start, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The directories are copied before and after each rename, removal and new directory, and opened again."""
    images: list[Path] = []

    def snapshot() -> None:
        image = tmp_path / f"image-{len(images)}"
        for name in "ab":
            shutil.copytree(tmp_path / name, image / name)
        images.append(image)

    real = {name: getattr(os, name) for name in ("rename", "replace", "unlink", "mkdir", "rmdir")}

    def spied(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            snapshot_due = str(tmp_path / "image-") not in os.path.abspath(str(args[0])) and "dir_fd" not in options
            if snapshot_due:
                with pytest.MonkeyPatch.context() as inner:
                    for other, function in real.items():
                        inner.setattr(os, other, function)
                    snapshot()
            return real[name](*args, **options)

        return call

    broker = start()
    await broker.host()
    broker.append(30)
    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, spied(name))
        await broker.moves.alter(TP, str(broker.b))
        await wait_all_tasks_blocked()
    snapshot()
    broker.kill()
    assert Path(broker.replicas.find(TP).log.directory) == broker.b / "t-0"  # type: ignore[union-attr]
    assert len(images) > 5
    for image in images:
        again = start(image)
        await again.host(is_new=False)
        await wait_all_tasks_blocked()
        assert again.values() == expected(0, 30), image
        everything = names(again.a) + names(again.b)
        assert everything.count("t-0") == 1, (image, everything)
        assert "t-0-future" not in everything
        again.kill()
