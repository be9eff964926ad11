"""`pykbroker dump-log`: prints the files of a partition in the manner of Kafka's kafka-dump-log.sh, line for line.

What is wrong in them goes to stderr, with the byte, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence

from pykbroker.cli.options import BAD_USAGE, Parser
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.records.batch import DELETE_HORIZON_BIT, RecordBatch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.control import read_marker
from pykbroker.protocol.records.record import Record
from pykbroker.storage.checkpoints import CheckpointFormatError, read_lines
from pykbroker.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT
from pykbroker.storage.log_segment import INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX
from pykbroker.storage.producer_state import SNAPSHOT_SUFFIX, CorruptSnapshot, decode_snapshot
from pykbroker.storage.segment_check import SegmentCheck, read_pairs, scan_batches
from pykbroker.storage.sparse_index import OffsetIndex, SparseIndex, TimeIndex
from pykbroker.storage.transaction_index import TransactionIndex

WRONG = 1
Decoder = Callable[[Record], tuple[str | None, str | None]]


def main(arguments: Sequence[str]) -> int:
    """Dumps files; 0, or 1 when something in them is wrong or can't be read."""
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    files = options.paths + [path for path in (options.files or "").split(",") if path]
    if not files:
        options_parser.error("expected a FILE")
    dump = Dump(options)
    try:
        for path in files:
            dump.file(path)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"pykbroker dump-log: {error.filename}: {error.strerror}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, FileNotFoundError) else WRONG
    return WRONG if dump.wrong else 0


class Dump:
    """Prints files; `wrong` says whether anything was not as it must be."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.verify_only: bool = options.verify
        self.sanity_only: bool = options.index_sanity_check
        self.contents: bool = options.print_data_log or options.offsets_decoder
        self.deep: bool = options.deep_iteration or self.contents
        self.metadata: bool = not options.skip_record_metadata
        self.max_bytes: int | None = options.max_bytes
        self.decoder = _decoder(options.offsets_decoder)
        self.wrong = False

    def file(self, path: str) -> None:
        """Prints one file, by what its name says that it is."""
        print(f"Dumping {path}")
        name = os.path.basename(path)
        suffix = os.path.splitext(name)[1]
        if suffix in (LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX) and name[:20].isdecimal():
            self._segment_file(path, suffix, int(name[:20]))
        elif suffix == SNAPSHOT_SUFFIX:
            self._snapshot(path)
        elif name == LEADER_EPOCH_CHECKPOINT or name.endswith("-offset-checkpoint"):
            self._checkpoint(path, name == LEADER_EPOCH_CHECKPOINT)
        elif os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "Is a directory: name its files, as in DIR/*.log", path)
        else:
            os.stat(path)  # Raises where there is none.
            print(f"Ignoring unknown file {path}", file=sys.stderr)

    def _segment_file(self, path: str, suffix: str, base: int) -> None:
        if suffix == LOG_SUFFIX:
            print(f"Log starting offset: {base}")
            if not self.verify_only:
                self._log(path)
                return
        elif suffix == TXN_INDEX_SUFFIX:
            self._transactions(path)
        else:
            self._index(path, base, OffsetIndex(path) if suffix == INDEX_SUFFIX else TimeIndex(path))
        self._verify(path, base)

    def _fail(self, line: str) -> None:
        self.wrong = True
        sys.stdout.flush()
        print(line, file=sys.stderr)

    def _verify(self, path: str, base: int) -> None:
        """What the segment's log says about a file of it; an index alone can't be judged."""
        if not os.path.exists(os.path.splitext(path)[0] + LOG_SUFFIX):
            return
        # A file that is still written may have a preallocated tail, as may one that a crash left.
        check = SegmentCheck(os.path.dirname(path), base, deep=self.deep)
        for finding in check.run(active=True, clean=False):
            if finding.path == path:
                self._fail(str(finding._replace(mends=False)))

    # -- logs --------------------------------------------------------------------------------------------------

    def _log(self, path: str) -> None:
        end = 0
        previous = -1
        jumps: list[tuple[int, int]] = []
        try:
            for position, batch in scan_batches(path, self.max_bytes):
                print(batch_line(position, batch, self._valid(path, position, batch)))
                if self.deep:
                    for record in batch.records():
                        if previous >= 0 and record.offset != previous + 1:
                            jumps.append((previous, record.offset))
                        previous = record.offset
                        self._record(batch, record)
                end = position + batch.size
        except KafkaError as error:
            self._fail(f"{path}:{end}: {error.message}")
        trailing = os.stat(path).st_size - end
        if trailing and self.max_bytes is None:
            print(f"Found {trailing} invalid bytes at the end of {os.path.basename(path)}")
            self.wrong = True
        if jumps:
            sys.stdout.flush()
            print(f"Non-consecutive offsets in {path}", file=sys.stderr)
            for before, after in jumps:
                print(f"  {before} is followed by {after}", file=sys.stderr)

    def _valid(self, path: str, position: int, batch: RecordBatch) -> bool:
        try:
            batch.check_crc()
        except KafkaError as error:
            self._fail(f"{path}:{position}: {error.message}")
            return False
        return True

    def _record(self, batch: RecordBatch, record: Record) -> None:
        words: list[str] = []
        if self.metadata:
            words += record_words(batch, record)
        if self.contents and not batch.is_control:
            key, value = self.decoder(record)
            words += [] if key is None else [f"key: {key}"]
            words += [] if value is None else [f"payload: {value}"]
        print("|", " ".join(words)) if words else print()

    # -- the other files ---------------------------------------------------------------------------------------

    def _index(self, path: str, base: int, index: SparseIndex) -> None:
        os.stat(path)
        pairs = read_pairs(index)
        if isinstance(index, OffsetIndex) and not pairs:
            print(f"{path} is empty.")
        elif self.sanity_only:
            if all(first >= 0 and second >= 0 for first, second in pairs[-1:]):
                print(f"{path} passed sanity check.")
            else:
                self._fail(f"{path}:{(len(pairs) - 1) * index.entry.size}: the last entry can't be right")
        elif not self.verify_only:
            for first, second in pairs:
                if isinstance(index, OffsetIndex):
                    print(f"offset: {base + first} position: {second}")
                else:
                    print(f"timestamp: {first} offset: {base + second}")

    def _transactions(self, path: str) -> None:
        os.stat(path)
        try:
            entries = TransactionIndex(path, exists=True).entries
        except ValueError:
            return  # the check that follows says it
        for entry in () if self.verify_only else entries:
            print(
                f"version: 0 producerId: {entry.producer_id} firstOffset: {entry.first_offset} "
                f"lastOffset: {entry.last_offset} lastStableOffset: {entry.last_stable_offset}"
            )

    def _snapshot(self, path: str) -> None:
        with open(path, "rb") as file:
            data = file.read()
        try:
            entries = decode_snapshot(data)
        except CorruptSnapshot as error:
            self._fail(f"{path}: {error}")
            return
        for entry in () if self.verify_only else entries:
            line = (
                f"producerId: {entry.producer_id} producerEpoch: {entry.epoch} "
                f"coordinatorEpoch: {entry.coordinator_epoch} "
                f"currentTxnFirstOffset: {_optional(entry.current_txn_first_offset)} "
                f"lastTimestamp: {entry.last_timestamp} "
            )
            if entry.batches:
                last = entry.batches[-1]
                line += (
                    f"firstSequence: {last.first_sequence} lastSequence: {last.last_sequence} "
                    f"lastOffset: {last.last_offset} offsetDelta: {last.offset_delta} timestamp: {last.timestamp}"
                )
            print(line)

    def _checkpoint(self, path: str, epochs: bool) -> None:
        os.stat(path)
        names = ("epoch", "startOffset") if epochs else ("topic", "partition", "offset")
        try:
            lines = read_lines(path) or []
        except CheckpointFormatError as error:
            self._fail(str(error))
            return
        for words in lines:
            if len(words) != len(names):
                self._fail(f"{path} has the line {' '.join(words)!r}")
            elif not self.verify_only:
                print(" ".join(f"{name}: {word}" for name, word in zip(names, words, strict=True)))


def batch_line(position: int, batch: RecordBatch, valid: bool) -> str:
    """The line of a batch."""
    if batch.magic > 1:
        horizon = batch.base_timestamp if batch.attributes & DELETE_HORIZON_BIT else None
        head = (
            f"baseOffset: {batch.base_offset} lastOffset: {batch.last_offset} count: {batch.count} "
            f"baseSequence: {batch.base_sequence} lastSequence: {batch.last_sequence} "
            f"producerId: {batch.producer_id} producerEpoch: {batch.producer_epoch} "
            f"partitionLeaderEpoch: {batch.leader_epoch} isTransactional: {_java(batch.is_transactional)} "
            f"isControl: {_java(batch.is_control)} deleteHorizonMs: {_optional(horizon)}"
        )
    else:
        head = f"offset: {batch.last_offset}"
    codec = batch.compression
    name = Compression(codec).name.lower() if codec in set(Compression) else str(codec)
    return (
        f"{head} position: {position} {_timestamp_type(batch)}: {batch.max_timestamp} size: {batch.size} "
        f"magic: {batch.magic} compresscodec: {name} crc: {batch.crc} isvalid: {_java(valid)}"
    )


def record_words(batch: RecordBatch, record: Record) -> list[str]:
    """What is said of a record but for its content."""
    sizes = [-1 if field is None else len(field) for field in (record.key, record.value)]
    words = [
        f"offset: {record.offset} {_timestamp_type(batch)}: {record.timestamp}",
        f"keySize: {sizes[0]} valueSize: {sizes[1]}",
    ]
    if batch.magic > 1:
        sequence = -1
        if batch.base_sequence >= 0:
            sequence = (batch.base_sequence + record.offset - batch.base_offset) & 0x7FFFFFFF
        words.append(f"sequence: {sequence} headerKeys: [{','.join(name for name, _ in record.headers)}]")
    elif not batch.compression:
        words.append(f"isValid: {_java(batch.computed_crc() == batch.crc)} crc: {batch.crc}}}")
    if batch.is_control:
        marker = read_marker(batch)
        if marker is None:
            number = int.from_bytes((record.key or b"")[2:4], "big", signed=True)
            words.append(f"controlType: {number}")
        else:
            words.append(f"endTxnMarker: {marker.type.name} coordinatorEpoch: {marker.coordinator_epoch}")
    return words


def _timestamp_type(batch: RecordBatch) -> str:
    return "NoTimestampType" if batch.magic == 0 else batch.timestamp_type


def _java(value: bool) -> str:
    return "true" if value else "false"


def _optional(value: int | None) -> str:
    return "OptionalLong.empty" if value is None else f"OptionalLong[{value}]"


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _as_text(record: Record) -> tuple[str | None, str | None]:
    return _text(record.key), _text(record.value)


def _decoder(offsets: bool) -> Decoder:
    if not offsets:
        return _as_text
    from pykbroker.cli.offsets_decoder import OffsetsDecoder

    return OffsetsDecoder()


def _size(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of bytes")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        prog="pykbroker dump-log",
        description="Print the files of a partition: *.log, *.index, *.timeindex, *.txnindex, *.snapshot, "
        "leader-epoch-checkpoint, and the offset checkpoints of a data directory. The options are those of Kafka's "
        "kafka-dump-log.sh. The exit status is 1 where something is wrong.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("paths", metavar="FILE", nargs="*", help="what to dump")
    add("--files", metavar="FILE,FILE,…", help="what to dump, as Kafka's tool takes it")
    add("--print-data-log", action="store_true", help="print keys and values, too")
    add("--deep-iteration", action="store_true", help="print a line for each record, too")
    add("--offsets-decoder", action="store_true", help="print keys and values of __consumer_offsets, decoded")
    add("--skip-record-metadata", action="store_true", help="print keys and values alone")
    add("--max-bytes", metavar="SIZE", type=_size, help="stop after so many bytes of a log")
    add("--index-sanity-check", action="store_true", help="only say whether an index would be kept at a start")
    add("--verify", "--verify-index-only", action="store_true", help="print only what is wrong")
    return made
