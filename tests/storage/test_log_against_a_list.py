"""The log does what a list of records would do, whatever happens to it.

Rolls, restarts, crashes, truncation, retention, compaction. `PYKBROKER_STEPS` says how many steps the long form takes,
10,000 if it isn't set.
"""

import os
import shutil
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.storage import compaction

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import ControlType, build_marker
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import AppendOrigin, UnifiedLog
from pykbroker.storage.log_cleaner import LogCleaner, candidate
from pykbroker.storage.log_loader import load_log
from pykbroker.storage.verify import Bounds, verify_partition

NOW = 1_700_000_000_000
TP = TopicPartition("t", 0)

KEYS = [b"a", b"b", b"c", b"a key of more than sixteen bytes"]
payloads = st.lists(
    st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=60))), min_size=1, max_size=5
)
Payload = tuple[bytes, bytes | None]


class LogMachine(RuleBasedStateMachine):
    """`records` is the model; `ends` are the offsets at which a batch ends, `sent` what the producer sent."""

    @initialize(
        segment_bytes=st.sampled_from([400, 1000, 100_000]),
        interval=st.sampled_from([0, 150, 4096]),
        index_bytes=st.sampled_from([60, 10_000]),
        retention_bytes=st.sampled_from([-1, 900]),
    )
    def create(self, segment_bytes: int, interval: int, index_bytes: int, retention_bytes: int) -> None:
        self.root = tempfile.mkdtemp()
        self.directory = os.path.join(self.root, "t-0")
        self.config = LogConfig(
            segment_bytes=segment_bytes,
            index_interval_bytes=interval,
            segment_index_bytes=index_bytes,
            retention_bytes=retention_bytes,
            cleanup_policy=["compact", "delete"],
            min_cleanable_dirty_ratio=0.0,
            delete_retention_ms=1000,
        )
        self.log = UnifiedLog.create(TP, self.directory, self.config, None, NOW)
        self.records: list[Record] = []
        self.ends = [0]
        self.start = 0
        self.epoch = 0
        self.sent: list[tuple[int, int, list[Payload]]] = []  # sequence, first offset, values
        self.time = NOW
        self.cleaned_to = 0
        self.aborted: set[int] = set()
        self.transactions = 0
        self.cleaner = LogCleaner([self.log])

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "root", ""), ignore_errors=True)

    @property
    def end(self) -> int:
        return self.ends[-1]

    def _append(self, values: list[Payload], **batch: Any) -> Any:
        self.time += 1
        before = self.end
        data = build_batch(values, timestamp=self.time, **batch)
        info = self.log.append_as_leader(bytearray(data), self.epoch, NOW)
        if not info.duplicate:
            assert (info.first_offset, info.last_offset) == (before, before + len(values) - 1)
            self.records += [Record(before + n, self.time, *value) for n, value in enumerate(values)]
            self.ends.append(before + len(values))
        return info

    @rule(values=payloads, codec=st.sampled_from(Compression))
    def append(self, values: list[Payload], codec: Compression) -> None:
        self._append(values, compression=codec)

    @rule(values=payloads)
    def produce(self, values: list[Payload]) -> None:
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
            self._append([(b"x", b"")], producer_id=1, producer_epoch=0, base_sequence=sequence)
        assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER

    @rule(batches=st.lists(payloads, min_size=1, max_size=3), kind=st.sampled_from(ControlType))
    def transaction(self, batches: list[list[Payload]], kind: ControlType) -> None:
        self.transactions += 1
        producer_id = 100 + self.transactions
        first = self.end
        for values in batches:
            place = self.end - first
            self._append(values, producer_id=producer_id, producer_epoch=0, base_sequence=place, transactional=True)
        if kind is ControlType.ABORT:
            self.aborted.update(range(first, self.end))
        marker = build_marker(kind, producer_id, 0, 0, self.time)
        info = self.log.append_as_leader(bytearray(marker), self.epoch, NOW, origin=AppendOrigin.COORDINATOR)
        self.ends.append(info.last_offset + 1)

    @rule()
    def forget_producers(self) -> None:
        """As if the producers of transactions had written nothing for long."""
        producers = self.log.producers.producers
        for entry in self.log.active_producers():
            if entry.producer_id >= 100 and entry.current_txn_first_offset is None:
                del producers[entry.producer_id]

    @rule()
    def retention(self) -> None:
        """Whole segments go from the beginning; what is left is more than the bound, and less without the oldest."""
        self.log.expire(NOW, self.end)
        for segment in self.log.drop_hidden_segments():
            segment.delete()
        assert self.log.log_start_offset >= self.start
        if self.config.retention_bytes >= 0 and len(self.log.segments) > 1:
            assert self.log.size - self.log.segments[0].size < self.config.retention_bytes
        self.start = self.log.log_start_offset

    @rule(batches=st.lists(payloads, min_size=2, max_size=6))
    def append_more(self, batches: list[list[Payload]]) -> None:
        for values in batches:
            self._append(values)

    @rule(pause=st.sampled_from([0, 500, 2000]), roll=st.booleans())
    def compact(self, pause: int, roll: bool) -> None:
        self.time += pause
        if roll:
            self.log.roll(NOW)
        before = compaction.stored(self.log)
        result = self.cleaner.run_once(self.time)
        assert not self.cleaner.uncleanable
        if result is not None:
            self._compacted(before, result.first_dirty, result.end_offset)

    @rule(call=st.integers(0, 60), again=st.integers(0, 15), roll=st.booleans())
    def crash_in_compaction(self, call: int, again: int, roll: bool) -> None:
        """Everything that compaction leaves is there, and perhaps what it hadn't got to.

        The next start crashes too, after so many changes to files.
        """
        if roll:
            self.log.roll(NOW)
        before = compaction.stored(self.log)
        first_dirty = self.cleaner.first_dirty_offset(self.log)
        found = candidate(self.log, first_dirty, self.end, self.time)
        end = found.first_uncleanable
        try:
            with compaction.crash_at(call):
                self.cleaner.run_once(self.time)
        except compaction.Crash:
            try:
                with compaction.crash_at(again):
                    self._reopen(clean=False)
            except compaction.Crash:
                pass
            self._reopen(clean=False)
            left = compaction.records(compaction.stored(self.log))
            must = compaction.survivors(before, first_dirty, end, self.aborted, self.time)
            assert set(must) <= set(left) <= set(self.records)
            self.records = left
            self.cleaned_to = max(self.cleaned_to, end)
        else:
            self._reopen(clean=False)
            if found.is_due:
                self._compacted(before, first_dirty, end)

    def _compacted(self, before: list[compaction.Stored], first_dirty: int, end: int) -> None:
        left = compaction.survivors(before, first_dirty, end, self.aborted, self.time)
        after = compaction.stored(self.log)
        assert compaction.records(after) == left
        compaction.check_batches(before, after, end, self.time + self.config.delete_retention_ms)
        self.records = left
        self.cleaned_to = max(self.cleaned_to, end)

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
        self.cleaner = LogCleaner([self.log])

    @rule()
    def restart(self) -> None:
        self.log.close()
        bounds = Bounds(clean=True, recovery_point=self.log.recovery_point, log_start=self.start)
        findings = verify_partition(self.directory, bounds, deep=True)
        assert not findings, findings
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
        self.aborted = {offset for offset in self.aborted if offset < end}
        self.sent = [one for one in self.sent if one[1] < end]

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from(self.ends))
        if end < max(self.start, self.cleaned_to):
            return  # what is compacted was replicated: nobody truncates it
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
        got = [record for batch in found if not batch.is_control for record in batch.records()]
        got = [record for record in got if record.offset >= offset]
        expected = [record for record in self.records if offset <= record.offset < bound]
        assert got == expected[: len(got)]
        if found:
            assert found[-1].last_offset >= offset
        else:
            assert not expected
        if len(found) > 1:
            assert sum(batch.size for batch in found) <= limit

    @rule(data=st.data())
    def find_by_time(self, data: st.DataObject) -> None:
        wanted = data.draw(st.integers(NOW - 1, self.time + 1))
        stored = [record for batch in compaction.stored(self.log) for record in batch.records]  # markers too
        visible = [record for record in stored if record.offset >= self.start]
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

    @rule()
    def scan(self) -> None:
        """Reads everything as a consumer does."""
        offset = self.start
        got: list[Record] = []
        while True:
            answer = self.log.read(offset, 1 << 20, upper_bound=self.end)
            if answer.records is None:
                break
            for batch in batches(answer.records.read()):
                batch.check_crc()
                assert batch.last_offset >= offset
                if not batch.is_control:
                    got += [record for record in batch.records() if record.offset >= offset]
                offset = batch.last_offset + 1
        assert got == [record for record in self.records if record.offset >= self.start]


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class TestLog(LogMachine.TestCase):  # type: ignore[misc, name-defined]
    """The short form, at every run."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=QUIET)


STEPS = int(os.environ.get("PYKBROKER_STEPS", "10000"))


@pytest.mark.slow
class TestLogAtLength(LogMachine.TestCase):  # type: ignore[misc, name-defined]
    """Ten thousand steps, or as many as are asked for."""

    settings = settings(
        max_examples=max(1, STEPS // 50), stateful_step_count=50, deadline=None, suppress_health_check=QUIET
    )
