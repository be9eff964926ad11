"""`pykbroker produce`: records from stdin, a line each, into a topic; what kafka-console-producer.sh does."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pykbroker.cli.formats import FORMATS, encoder, from_json, separator
from pykbroker.cli.options import UsageError, add_connection, command, number, pair
from pykbroker.cli.output import Progress, Report, Table
from pykbroker.config.keys import MAX_LONG

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster
    from pykbroker.client.producer import Delivered, ProducerRecord

CHUNK = 64 * 1024
SEND_AT = 1 << 20
"""Bytes of lines that are collected before they are sent; what is there is sent at once when no more is waiting."""
ACKS = {"all": -1, "-1": -1, "1": 1, "0": 0}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COLUMNS = ("partition", "records", "first_offset", "last_offset")

Parse = Callable[[str], "ProducerRecord"]


def parser() -> Parser:
    """The command's options."""
    made = command("produce", "Send records to a topic, one for each line of stdin.")
    add = made.add_argument
    add("topic", metavar="TOPIC", help="where to; made where brokers make topics by themselves")
    add("--value", metavar="TEXT", action="append", help="send this instead of stdin (may be repeated)")
    add("--key", metavar="TEXT", help="the key of every record")
    add("--key-separator", metavar="TEXT", type=separator, help=r"each line has a key in front of this, like : or \t")
    add("--header", metavar="NAME=VALUE", type=pair, action="append", default=[], help="a header of every record")
    add("--headers", action="store_true", help="each line begins with NAME:VALUE,NAME:VALUE and a tab")
    add("--null", metavar="TEXT", help="a key or value of this text is null (a null value is a tombstone)")
    add("--from-json", action="store_true", help="each line is an object as `pykbroker consume --json` prints it")
    add("--key-format", choices=FORMATS, default="text", help=f"{', '.join(FORMATS)} (default text)", metavar="NAME")
    add("--value-format", choices=FORMATS, default="text", help="the same for values", metavar="NAME")
    add("--partition", metavar="N", type=number, help="where to (default: by key, as Kafka's own producer does)")
    add("--timestamp", metavar="MS", type=number, help="the time of every record (default: now)")
    add("--acks", choices=tuple(ACKS), default="all", metavar="all|1|0", help="who must have the records (default all)")
    add("--compression", choices=CODECS, default="none", metavar="NAME", help=f"{', '.join(CODECS)} (default none)")
    add("--no-idempotence", action="store_true", help="don't ask for a producer id")
    add_connection(made, produce)
    return made


async def produce(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Sends what comes until its end; the report says where it went."""
    from pykbroker.client.producer import Producer
    from pykbroker.protocol.records.compression import Compression

    if options.from_json and (options.key_separator or options.headers or options.key is not None):
        raise UsageError("--from-json: keys and headers are in the objects")
    if options.key is not None and options.key_separator:
        raise UsageError("--key: not with --key-separator")
    parse = json_parser(options) if options.from_json else line_parser(options)
    producer = Producer(
        cluster,
        options.topic,
        acks=ACKS[options.acks],
        compression=Compression[options.compression.upper()],
        idempotent=not options.no_idempotence,
    )
    await producer.start()
    counted: dict[int, list[int]] = {}
    progress = Progress(f"sent to {options.topic}")
    line_number = 0
    async with aclosing(_given(options.value) if options.value else _stdin()) as source:
        async for lines in source:
            records = []
            bad: ValueError | None = None
            for line in lines:
                line_number += 1
                try:
                    records.append(parse(line))
                except ValueError as error:
                    bad = error
                    break
            if records:
                _count(counted, await producer.send(records))
                progress(line_number)
            if bad is not None:
                progress.end()
                sent = "; the lines before it were sent" if line_number > 1 else ""
                raise UsageError(f"line {line_number}: {bad}{sent}")
    progress.end()
    return _report(options.topic, counted)


def _count(counted: dict[int, list[int]], delivered: Sequence[Delivered]) -> None:
    for partition, offset in delivered:
        found = counted.setdefault(partition, [0, offset, offset])
        found[0] += 1
        found[2] = offset


def _report(topic: str, counted: dict[int, list[int]]) -> Report:
    rows = [
        {
            "partition": partition,
            "records": count,
            "first_offset": first if first >= 0 else None,
            "last_offset": last if last >= 0 else None,
        }
        for partition, (count, first, last) in sorted(counted.items())
    ]
    total = sum(row["records"] or 0 for row in rows)
    text: list[Table | str] = [Table(COLUMNS, rows)] if rows else ["nothing was sent: stdin had no line"]
    return Report({"topic": topic, "records": total, "partitions": rows}, text)


def line_parser(options: argparse.Namespace) -> Parse:
    """Turns a line into a record; raises ValueError for one that can't be."""
    from pykbroker.client.producer import ProducerRecord

    key_of, value_of = encoder(options.key_format), encoder(options.value_format)
    fixed = tuple((name, value.encode()) for name, value in options.header)

    def field(text: str, encode: Callable[[str], bytes]) -> bytes | None:
        return None if text == options.null else encode(text)

    def parse(line: str) -> ProducerRecord:
        headers: tuple[tuple[str, bytes | None], ...] = fixed
        key = None if options.key is None else field(options.key, key_of)
        if options.headers:
            written, tab, line = line.partition("\t")
            if not tab:
                raise ValueError("no tab after the headers")
            headers += _headers(written, options.null)
        if options.key_separator:
            text, found, line = line.partition(options.key_separator)
            if not found:
                raise ValueError(f"no {options.key_separator!r} after a key")
            key = field(text, key_of)
        timestamp = options.timestamp if options.timestamp is not None else time.time_ns() // 1_000_000
        return ProducerRecord(key, field(line, value_of), timestamp, headers, options.partition)

    return parse


def _headers(text: str, null: str | None) -> tuple[tuple[str, bytes | None], ...]:
    pairs = [word.partition(":") for word in text.split(",")] if text else []
    return tuple((name, None if value == null else value.encode()) for name, _, value in pairs)


def json_parser(options: argparse.Namespace) -> Parse:
    """The same for lines that `pykbroker consume --json` printed."""
    import json

    from pykbroker.client.producer import ProducerRecord

    fixed = tuple((name, value.encode()) for name, value in options.header)

    def parse(line: str) -> ProducerRecord:
        found: Any = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object with key, value, headers")
        headers = _json_headers(found.get("headers") or ())
        timestamp = found.get("timestamp", options.timestamp)
        if not isinstance(timestamp, int):
            timestamp = time.time_ns() // 1_000_000
        if not -1 <= timestamp <= MAX_LONG:
            raise ValueError(f"the timestamp {timestamp} can't be")
        partition = options.partition
        return ProducerRecord(
            from_json(found.get("key")), from_json(found.get("value")), timestamp, fixed + headers, partition
        )

    return parse


def _json_headers(found: Any) -> tuple[tuple[str, bytes | None], ...]:
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ValueError('expected headers like [{"name": "a", "value": "b"}]')
    return tuple((str(one["name"]).encode().decode(), from_json(one.get("value"))) for one in found)


async def _given(values: Sequence[str]) -> AsyncGenerator[Sequence[str], None]:
    yield values


async def _stdin() -> AsyncGenerator[Sequence[str], None]:
    """The lines of stdin, as many at a time as are there; read in a thread, which a ctrl-c leaves behind."""
    import trio

    if sys.stdin.isatty():
        print("one record a line; ctrl-d ends", file=sys.stderr)
    rest = b""
    lines: list[bytes] = []
    size = 0
    while True:
        chunk = await trio.to_thread.run_sync(_read, abandon_on_cancel=True)
        if not chunk:
            break
        *complete, rest = (rest + chunk).split(b"\n")
        lines += complete
        size += len(chunk)
        if len(chunk) < CHUNK or size >= SEND_AT:
            yield _texts(lines)
            lines, size = [], 0
    yield _texts([*lines, rest] if rest else lines)


def _read() -> bytes:
    try:
        descriptor = sys.stdin.fileno()
    except io.UnsupportedOperation:
        return sys.stdin.buffer.read(CHUNK)
    return os.read(descriptor, CHUNK)


def _texts(lines: Sequence[bytes]) -> list[str]:
    return [line.removesuffix(b"\r").decode(errors="surrogateescape") for line in lines]
