"""The log does what a list of records would do, whatever happens to it: rolls, restarts, crashes, truncation."""

import os
import shutil
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_loader import load_log

NOW = 1_700_000_000_000
TP = TopicPartition("t", 0)

payloads = st.lists(st.binary(max_size=60), min_size=1, max_size=5)


class LogMachine(RuleBasedStateMachine):
    """`records` is the model; `ends` are the offsets at which a batch ends, `sent` what the producer sent."""

    @initialize(
        segment_bytes=st.sampled_from([400, 1000, 100_000]),
        interval=st.sampled_from([0, 150, 4096]),
        index_bytes=st.sampled_from([60, 10_000]),
    )
    def create(self, segment_bytes: int, interval: int, index_bytes: int) -> None:
        self.root = tempfile.mkdtemp()
        self.directory = os.path.join(self.root, "t-0")
        self.config = LogConfig(
            segment_bytes=segment_bytes, index_interval_bytes=interval, segment_index_bytes=index_bytes
        )
        self.log = UnifiedLog.create(TP, self.directory, self.config, None, NOW)
        self.records: list[Record] = []
        self.ends = [0]
        self.start = 0
        self.epoch = 0
        self.sent: list[tuple[int, int, list[bytes]]] = []  # sequence, first offset, values
        self.time = NOW

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "root", ""), ignore_errors=True)

    @property
    def end(self) -> int:
        return self.ends[-1]

    def _append(self, values: list[bytes], **batch: Any) -> Any:
        self.time += 1
        before = self.end
        data = build_batch([(b"k", value) for value in values], timestamp=self.time, **batch)
        info = self.log.append_as_leader(bytearray(data), self.epoch, NOW)
        if not info.duplicate:
            assert (info.first_offset, info.last_offset) == (before, before + len(values) - 1)
            self.records += [Record(before + n, self.time, b"k", value) for n, value in enumerate(values)]
            self.ends.append(before + len(values))
        return info

    @rule(values=payloads, codec=st.sampled_from(Compression))
    def append(self, values: list[bytes], codec: Compression) -> None:
        self._append(values, compression=codec)

    @rule(values=payloads)
    def produce(self, values: list[bytes]) -> None:
        sequence = self.sent[-1][0] + len(self.sent[-1][2]) if self.sent else 0
        info = self._append(values, producer_id=1, producer_epoch=0, base_sequence=sequence)
        self.sent.append((sequence, info.first_offset, values))

    @precondition(lambda self: self.sent)
    @rule()
    def produce_again(self) -> None:
        sequence, offset, values = self.sent[-1]
        info = self._append(values, producer_id=1, producer_epoch=0, base_sequence=sequence)
        assert info.duplicate
        assert info.first_offset == offset

    @precondition(lambda self: self.sent)
    @rule()
    def produce_out_of_order(self) -> None:
        sequence = self.sent[-1][0] + len(self.sent[-1][2]) + 1
        with pytest.raises(KafkaError) as caught:
            self._append([b"x"], producer_id=1, producer_epoch=0, base_sequence=sequence)
        assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER

    @rule()
    def roll(self) -> None:
        self.log.roll(NOW)

    @rule()
    def flush(self) -> None:
        self.log.flush(NOW)
        assert self.log.recovery_point == self.end

    @rule()
    def new_epoch(self) -> None:
        self.epoch += 1
        self.log.assign_epoch(self.epoch)

    def _reopen(self, clean: bool) -> None:
        point = self.log.recovery_point
        self.log = load_log(
            TP, self.directory, self.config, NOW, clean=clean, recovery_point=point, log_start_offset=self.start
        )

    @rule()
    def restart(self) -> None:
        self.log.close()
        self._reopen(clean=True)

    @rule()
    def kill(self) -> None:
        self._reopen(clean=False)

    @rule(data=st.data(), damage=st.sampled_from(["cut", "zeros", "flip"]))
    def lose_power(self, data: st.DataObject, damage: str) -> None:
        """What wasn't flushed of the newest segment is lost from some byte on."""
        active = self.log.segments[-1]
        flushed = active.end_position(self.log.recovery_point) if self.log.recovery_point < self.end else active.size
        position = data.draw(st.integers(flushed, active.size))
        lost = active.size - position
        expected = active.base_offset
        with open(active.path, "r+b") as file:
            content = bytearray(file.read())
            if damage == "zeros":  # a byte that is zero already isn't lost
                position += len(content[position:]) - len(content[position:].lstrip(b"\0"))
                lost = active.size - position
            start = 0
            for batch in batches(bytes(content)):
                if start <= position < start + batch.size and damage == "flip":
                    position = max(position, start + 16)  # a checksum covers neither offset, length nor leader epoch
                start += batch.size
                if start <= position:
                    expected = batch.last_offset + 1
            if damage == "cut":
                del content[position:]
            elif damage == "zeros":
                content[position:] = bytes(lost)
            elif lost:
                content[position] ^= 0xFF
            file.seek(0)
            file.write(content)
            file.truncate()
        self._reopen(clean=False)
        if expected < self.start:
            self._lost_from(0)  # the log ended below its start and began anew
            self.ends = [self.start]
        else:
            self._lost_from(expected)

    def _lost_from(self, end: int) -> None:
        self.ends = [known for known in self.ends if known <= end]
        self.records = [record for record in self.records if record.offset < end]
        self.sent = [one for one in self.sent if one[1] < end]

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from(self.ends))
        if end < self.start:
            return
        self.log.truncate_to(end, NOW)
        self._lost_from(end)

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        self.start = data.draw(st.integers(self.start, self.end))
        self.log.raise_log_start(self.start)

    @rule(data=st.data(), limit=st.integers(0, 600))
    def read(self, data: st.DataObject, limit: int) -> None:
        offset = data.draw(st.integers(self.start, self.end))
        bound = data.draw(st.sampled_from(self.ends))
        answer = self.log.read(offset, limit, upper_bound=bound)
        found = [] if answer.records is None else list(batches(answer.records.read()))
        got = [record for batch in found for record in batch.records() if record.offset >= offset]
        assert got == [record for record in self.records if offset <= record.offset < bound][: len(got)]
        assert bool(got) == (offset < bound)
        if len(found) > 1:
            assert sum(batch.size for batch in found) <= limit

    @rule(data=st.data())
    def find_by_time(self, data: st.DataObject) -> None:
        wanted = data.draw(st.integers(NOW - 1, self.time + 1))
        visible = [record for record in self.records if record.offset >= self.start]
        expected = next((record.offset for record in visible if record.timestamp >= wanted), None)
        found = self.log.offset_for_timestamp(wanted, self.end)
        assert (None if found is None else found.offset) == expected

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "log"):
            return
        log = self.log
        assert (log.log_start_offset, log.log_end_offset) == (self.start, self.end)
        assert log.recovery_point <= self.end
        bases = [segment.base_offset for segment in log.segments]
        assert bases == sorted(set(bases))
        assert log.latest_epoch is None or log.latest_epoch <= self.epoch

    @precondition(lambda self: self.records)
    @rule()
    def scan(self) -> None:
        offset = self.start
        for record in self.records:
            if record.offset < offset:
                continue
            answer = self.log.read(offset, 1 << 20, upper_bound=self.end)
            assert answer.records is not None
            for batch in batches(answer.records.read()):
                batch.check_crc()
                offset = batch.last_offset + 1
        assert offset == self.end


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class TestLog(LogMachine.TestCase):  # type: ignore[misc, name-defined]
    """The short form, at every run."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=QUIET)


@pytest.mark.slow
class TestLogAtLength(LogMachine.TestCase):  # type: ignore[misc, name-defined]
    """Ten thousand steps."""

    settings = settings(max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=QUIET)
