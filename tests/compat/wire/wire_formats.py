"""Conversations about codecs, about the message sets of old producers and consumers, and about frames that are none."""

from __future__ import annotations

import struct

from wire_connection import NO_ANSWER
from wire_data import batch, fetch, now_ms, produce, say_fetch
from wire_talk import Talk, conversation, older

from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.records.message_set import build_message_set, encode_message
from pykbroker.protocol.records.record import Record

ATTRIBUTES_LOW = 22
"""The byte of a batch that names its codec."""


@conversation(3, 13)
def compressed(talk: Talk) -> None:
    """Zstandard is for versions that name it (KIP-110)."""
    topic_id = talk.topic()
    for codec in Compression:
        records = batch(3, compression=codec)
        talk.say(codec.name.lower(), produce(talk, records, topic_id=topic_id, acks=-1))
    for codec in (5, 7):
        unknown = bytearray(batch(1))
        unknown[ATTRIBUTES_LOW] |= codec
        talk.say(f"unknown codec {codec}", produce(talk, bytes(unknown), topic_id=topic_id, acks=-1))
    spoilt = bytearray(build_batch([(None, bytes(200))], timestamp=now_ms(), leader_epoch=-1))
    spoilt[ATTRIBUTES_LOW] |= Compression.GZIP
    talk.say("not compressed at all", produce(talk, bytes(spoilt), topic_id=topic_id, acks=-1))


@conversation(4, 17, older=0)
def fetch_compressed(talk: Talk) -> None:
    """What a consumer can't read is told, or turned into what it can read."""
    topic_id = talk.topic()
    talk.topic(suffix="-zstd", compression_type="zstd")
    talk.ask(produce(talk, batch(3, compression=Compression.ZSTD), topic_id=topic_id, acks=-1), 7)
    talk.ask(produce(talk, batch(3), topic_id=topic_id, acks=-1, suffix="-zstd"), 7)
    if talk.version < 13:
        for label, suffix in (("in a topic of any codec", ""), ("in a topic of this codec", "-zstd")):
            answer = talk.ask(fetch(talk, topic_id, 0, suffix))
            for part in answer.responses[0].partitions:
                part.records = b"records" if part.records else part.records
            talk.note(label, answer)


def message_set(magic: int, count: int = 2, codec: int = Compression.NONE) -> bytes:
    return build_message_set([Record(place, 1_700_000_000_000, b"k", b"v") for place in range(count)], magic, codec)


@older(0, 2)
def message_sets(talk: Talk) -> None:
    """What producers before 0.11 send, and what comes of it for consumers of that age and for newer ones."""
    topic_id = talk.topic(max_message_bytes="1000")
    spoilt = bytearray(message_set(1))
    spoilt[-1] ^= 1
    for label, records in {
        "magic 0": message_set(0),
        "magic 1": message_set(1),
        "magic 0, gzip": message_set(0, codec=Compression.GZIP),
        "magic 1, snappy": message_set(1, codec=Compression.SNAPPY),
        "magic 1, lz4": message_set(1, codec=Compression.LZ4),
        "wrong checksum": bytes(spoilt),
        "cut short": message_set(1)[:-3],
        "nothing": b"",
        "too large": encode_message(1, 0, 1, None, bytes(2000)),
        "no timestamp": encode_message(1, 0, -1, b"k", b"v"),
        "offsets that aren't in order": encode_message(1, 5, 1, b"k", b"v") + encode_message(1, 3, 1, b"k", b"v"),
        "an unknown codec": encode_message(1, 0, 1, b"k", b"v", 5),
        "of the two formats": message_set(0) + message_set(1),
        "the format of today": batch(2),
    }.items():
        talk.say(label, produce(talk, records, topic_id=topic_id, acks=-1))
    for version in (0, 1, 2, 3, 4, 11):
        request = fetch(talk, topic_id, 0, partition_max_bytes=100_000)
        say_fetch(talk, f"fetched in version {version}", request, version)


@conversation(0, 0)
def frames(talk: Talk) -> None:
    """Bytes that are no request: the connection ends."""
    for label, sent in {
        "a negative size": struct.pack(">i", -1),
        "more than a request may have": struct.pack(">i", 2**31 - 1),
        "nothing": struct.pack(">i", 0),
        "half a header": struct.pack(">ihh", 4, 3, 1),
        "a client id that is longer than the frame": struct.pack(">ihhih", 10, 3, 1, 1, 999),
        "a negative number of topics": struct.pack(">ihhihi", 14, 3, 1, 1, -1, -5),
        "more topics than the frame holds": struct.pack(">ihhihi", 14, 3, 1, 1, -1, 2**31 - 1),
        "bytes after a request": struct.pack(">ihhihi", 18, 3, 1, 1, -1, 0) + b"more",
    }.items():
        talk.wire.send_raw(sent)
        frame = talk.wire.frame()
        talk.said[label] = NO_ANSWER if frame is None else "answered"
        talk.reconnect()
