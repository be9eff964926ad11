from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_loader import load_log

NOW = 1_700_000_000_000
TP = TopicPartition("topic", 0)


class LogFactory:
    """Makes logs in a directory and opens them again, after a clean end or without one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "topic-0"

    def create(self, **config: Any) -> UnifiedLog:
        return UnifiedLog.create(TP, str(self.directory), LogConfig(**config), None, NOW)

    def reopen(self, log: UnifiedLog, *, clean: bool, recovery_point: int = 0, log_start_offset: int = 0) -> UnifiedLog:
        if clean:
            log.close()
        return load_log(
            TP,
            str(self.directory),
            log.config,
            NOW,
            clean=clean,
            recovery_point=recovery_point,
            log_start_offset=log_start_offset,
        )

    def path(self, base_offset: int, suffix: str = "log") -> Path:
        return self.directory / f"{base_offset:020d}.{suffix}"


@pytest.fixture
def logs(tmp_path: Path) -> LogFactory:
    return LogFactory(tmp_path)


@pytest.fixture(scope="session")
def append() -> Callable[..., Any]:
    """Appends values as one batch; more keywords are those of `build_batch`."""

    def call(log: UnifiedLog, *values: bytes, now: int = NOW, epoch: int = 0, **batch: Any) -> Any:
        batch.setdefault("timestamp", now)
        return log.append_as_leader(build_batch([(None, value) for value in values], **batch), epoch, now)

    return call


@pytest.fixture(scope="session")
def read_all() -> Callable[..., list[Record]]:
    """Every record from an offset on, read as a consumer does: in answers of at most `max_bytes`."""

    def call(
        log: UnifiedLog, start: int | None = None, upper_bound: int | None = None, max_bytes: int = 1 << 20
    ) -> list[Record]:
        offset = log.log_start_offset if start is None else start
        bound = log.log_end_offset if upper_bound is None else upper_bound
        found: list[Record] = []
        while True:
            answer = log.read(offset, max_bytes, upper_bound=bound)
            if answer.records is None:
                return found
            data = answer.records.read()
            assert len(data) == len(answer.records)
            before = offset
            for batch in batches(data):
                batch.check_crc()
                found += [record for record in batch.records() if record.offset >= before]
                offset = batch.last_offset + 1
            assert offset > before, "a read that brings a consumer no further"

    return call


@pytest.fixture(scope="session")
def values() -> Callable[[Sequence[Record]], Iterator[bytes | None]]:
    def call(records: Sequence[Record]) -> Any:
        return [record.value for record in records]

    return call
