"""Mutated frames over every message's decode: `python -m tests.fuzz.codec --frames 1000000 --seed 0`.

Whatever the bytes, decoding ends in a message or in the package's own exception, within a bounded time and memory; and
what was decoded can be encoded, and is the same when it is decoded again. Needs no broker and no clock: the same seed
gives the same frames, and a failure names the frame.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from time import perf_counter, thread_time
from typing import Any, NamedTuple

from pykbroker.protocol import consumer_protocol, fields, header
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import KafkaError, MalformedMessage
from pykbroker.protocol.message import Message, Struct
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import build_message_set
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.stored import (
    consumer_group,
    control,
    group_metadata,
    offset_commit,
    share_group,
    share_state,
    transaction_log,
)

LONGEST = 0.5
"""Seconds of the processor's time that one frame may take."""
WEIGHED_EVERY = 25
"""Weighing a frame's memory slows it down several times."""
MEMORY = 256 << 10, 200
"""Bytes that a frame may allocate: so many, and so many times its own size."""
RESIDENT = 150 << 20
"""Bytes by which the whole process may grow: frames are small."""
RECORDS_EVERY = 20
TEXTS = ("", "a", "topic-0", "é€😀", "x" * 130)
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767)
LENGTHS = (
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x07",
    b"\x80\x80\x80\x80\x80\x80",
    b"\x7f\xff",
    b"\xff\xff",
    b"\0\x10\0\0",
)
STORED = (consumer_protocol, consumer_group, control, group_metadata, offset_commit, share_group, share_state)
PLAIN = {fields.Float64: 1.5, fields.Bool: True, fields.Bytes: b"\0bytes", fields.Records: b"\0records"}


class Target(NamedTuple):
    """What is fuzzed: something that decodes, a name for it, and valid frames to begin with."""

    name: str
    decode: Callable[[bytes], None]
    samples: list[bytes]


class Tally(NamedTuple):
    """How many frames were refused, and how many were messages after all."""

    refused: int
    decoded: int


def fuzz(frames: int, seed: int) -> Tally:
    """Decodes `frames` mutated frames. Raises AssertionError that names the frame where anything escapes."""
    choice = random.Random(seed)
    messages, records = list(message_targets(choice)), list(record_targets(choice))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in range(frames):
        target = choice.choice(messages if number % RECORDS_EVERY else records)
        frame = mutated(choice, target.samples, messages)
        try:
            refused += checked(target, frame, weigh=number % WEIGHED_EVERY == 1)
        except Exception as error:
            raise AssertionError(f"frame {number} of seed {seed}: {target.name} {frame.hex()}: {error!r}") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) << 10
    assert grown < RESIDENT, f"{frames} frames of seed {seed} left the process {grown >> 20} MB larger"
    return Tally(refused, frames - refused)


def checked(target: Target, frame: bytes, weigh: bool) -> bool:
    """Decodes one frame; whether it was refused. Raises AssertionError, or whatever should not have escaped."""
    if weigh:
        tracemalloc.start()
    refused = False
    start = thread_time()
    try:
        target.decode(frame)
    except (MalformedMessage, KafkaError):
        refused = True
    finally:
        seconds = thread_time() - start
        peak = tracemalloc.get_traced_memory()[1] if weigh else 0
        tracemalloc.stop()
    assert seconds < LONGEST, f"took {seconds:.2f} s"
    assert peak < MEMORY[0] + MEMORY[1] * len(frame), f"took {peak} bytes"
    return refused


def mutated(choice: random.Random, samples: list[bytes], others: list[Target]) -> bytes:
    """A valid frame with a few changes; seldom a frame of something else, or noise."""
    kind = choice.random()
    if kind < 0.03:
        return choice.randbytes(choice.randrange(80))
    frame = bytearray(choice.choice(choice.choice(others).samples if kind < 0.06 else samples))
    for _ in range(choice.choice((1, 1, 1, 2, 3, 8))):
        at = choice.randrange(len(frame) + 1)
        what = choice.random()
        if what < 0.4 and at < len(frame):
            frame[at] = choice.randrange(256)
        elif what < 0.5 and at < len(frame):
            frame[at] ^= 1 << choice.randrange(8)
        elif what < 0.7:
            length = choice.choice(LENGTHS)
            frame[at : at + len(length)] = length
        elif what < 0.8:
            del frame[at:]
        elif what < 0.9:
            del frame[at : at + choice.randrange(1, 9)]
        else:
            frame[at:at] = frame[: choice.randrange(40)] if what < 0.93 else choice.randbytes(choice.randrange(1, 9))
    return bytes(frame)


def all_messages() -> list[type[Message]]:
    """Requests, responses, headers, and what is stored."""
    modules = (header, *STORED, transaction_log)
    declared = [value for module in modules for value in vars(module).values()]
    others = [each for each in declared if isinstance(each, type) and issubclass(each, Message) and each is not Message]
    return [cls for key in ApiKey for cls in message_classes(key)] + others


def message_targets(choice: random.Random) -> Iterator[Target]:
    """Every message in every version, compiled."""
    for cls in all_messages():
        for version in cls.versions:
            codec = cls.codec(version)
            if codec.source is None:
                codec.compile()
            samples = [filled(choice, cls, version).encode(version) for _ in range(3)]
            yield Target(str(codec), decoder(cls, version), samples)


def decoder(cls: type[Message], version: int) -> Callable[[bytes], None]:
    def decode(frame: bytes) -> None:
        message = cls.decode(frame, version)
        again = cls.decode(message.encode(version), version)
        assert again == message or repr(again) == repr(message), "differs when it is decoded again"  # NaN != NaN

    return decode


def record_targets(choice: random.Random) -> Iterator[Target]:
    """Batches and message sets in all codecs."""
    records = [Record(n, 1000 + n, b"key", choice.randbytes(9) * n, (("h", b"v"),)) for n in range(4)]
    for codec in Compression:
        yield Target(f"{codec.name} batch", read_records, [build_batch(records, compression=codec)])
        for magic in (0, 1) if codec != Compression.ZSTD else ():
            plain = [record._replace(headers=()) for record in records]
            yield Target(f"{codec.name} set {magic}", read_records, [build_message_set(plain, magic, codec)])


def read_records(frame: bytes) -> None:
    for batch in batches(frame):
        for _ in batch.records():
            pass


def filled(choice: random.Random, cls: type[Struct], version: int) -> Any:
    """An object with something in each field that the version has."""
    message = cls()
    for name, field in cls.fields.items():
        if version not in field.versions or choice.random() < 0.1:
            continue
        if version in field.nullable and choice.random() < 0.2:
            setattr(message, name, None)
        elif isinstance(field, fields.Array):
            count = choice.choice((0, 1, 2, 5))
            setattr(message, name, [one(choice, field.element, version) for _ in range(count)])
        else:
            setattr(message, name, one(choice, getattr(field, "element", type(field)), version))
    if version in getattr(cls, "flexible", ()) and choice.random() < 0.3:
        message.unknown_tags = ((choice.randrange(90, 200), b"later"),)
    return message


def one(choice: random.Random, kind: type[Any], version: int) -> Any:
    if issubclass(kind, Struct):
        return filled(choice, kind, version)
    if kind is fields.String:
        return choice.choice(TEXTS)
    if kind is fields.Uuid:
        return fields.UUID(int=choice.getrandbits(128))
    return PLAIN.get(kind) or choice.choice(NUMBERS[:4] if kind is fields.Int8 else NUMBERS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz.codec", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = perf_counter()
    refused, decoded = fuzz(options.frames, options.seed)
    seconds = perf_counter() - start
    print(f"{options.frames} frames in {seconds:.0f} s: {refused} refused, {decoded} decoded, nothing else")
    return 0


if __name__ == "__main__":
    sys.exit(main())
