"""Frames that no client would send, and a bystander whose connection must not notice."""

from __future__ import annotations

import random
import socket
from contextlib import closing

from pykbroker.apis import HANDLERS
from pykbroker.protocol.connection import encode_request
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient

BYSTANDER_EVERY = 100
PATIENCE = 0.5
"""Seconds that an answer may take before the next victim's turn."""
BATCH = 3
"""At the most so many frames on one connection: what comes after the first bad one isn't read."""


def fuzz(host: str, port: int, frames: int, seed: int) -> tuple[int, int]:
    """Sends `frames` bad frames over many connections; how many connections ended, how many answers came.

    Raises AssertionError or ConnectionError where the bystander's connection is disturbed.
    """
    choice = random.Random(seed)
    samples = _samples()
    ended = answered = 0
    with WireClient(host, port, client_id="bystander") as bystander:
        sent = 0
        while sent < frames:
            count = min(choice.randint(1, BATCH), frames - sent)
            with closing(socket.create_connection((host, port), PATIENCE)) as victim:
                answered += _send(victim, [_frame(choice, samples) for _ in range(count)])
            ended += 1
            sent += count
            if ended % BYSTANDER_EVERY == 0:
                assert bystander.request(MetadataRequest(topics=[]), 12).brokers
        assert bystander.request(ApiVersionsRequest(), 0).error_code == 0
    return ended, answered


def _send(victim: socket.socket, frames: list[bytes]) -> int:
    """Sends all and reads answers until the broker closes; how many."""
    answers = bytearray()
    try:
        victim.sendall(b"".join(frames))
        victim.shutdown(socket.SHUT_WR)
        while piece := victim.recv(65536):
            answers += piece
    except (ConnectionError, TimeoutError):
        return 0  # Reset, or a request that waits as long as its mutated max_wait_ms says.
    return _count(answers)


def _count(answers: bytearray) -> int:
    count = position = 0
    while position + 4 <= len(answers):
        position += 4 + int.from_bytes(answers[position : position + 4], "big")
        count += 1
    assert position == len(answers), "the broker broke off inside an answer"
    return count


def _frame(choice: random.Random, samples: list[bytes]) -> bytes:
    kind = choice.random()
    if kind < 0.1:
        return choice.randbytes(choice.randrange(1, 64))
    if kind < 0.2:
        body = choice.randbytes(choice.randrange(1, 200))
        return len(body).to_bytes(4, "big") + body
    body = bytearray(choice.choice(samples)[4:])
    for _ in range(choice.choice((1, 1, 1, 2, 4, 16))):
        at = choice.randrange(len(body))
        what = choice.random()
        if what < 0.5:
            body[at] = choice.randrange(256)
        elif what < 0.7:
            body[at] ^= 1 << choice.randrange(8)
        elif what < 0.8:
            body[at : at + 4] = choice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
        elif what < 0.9:
            del body[at : at + choice.randrange(1, 8)]
        else:
            body[at:at] = choice.randbytes(choice.randrange(1, 8))
        if not body:
            body = bytearray(b"\0")
    return len(body).to_bytes(4, "big") + bytes(body)


def _samples() -> list[bytes]:
    """A plausible request of every API and version that is served: one element in each array, one batch of records."""
    samples = []
    for handler in HANDLERS.values():
        for version in handler.versions:
            request = handler.request()
            _fill(request, version)
            try:
                pieces = encode_request(request, version, 7, "fuzz")
            except (MalformedMessage, ValueError):
                pieces = encode_request(handler.request(), version, 7, "fuzz")
            samples.append(b"".join(bytes(piece) for piece in pieces))
    return samples


def _fill(struct: object, version: int) -> None:
    for name, field in type(struct).fields.items():
        if version not in field.versions:
            continue
        element = getattr(field, "element", None)
        kind = type(field).__name__
        if kind == "Records":
            setattr(struct, name, build_batch([(b"key", b"value")], timestamp=1))
        elif kind == "String":
            setattr(struct, name, "fuzz")
        elif kind == "Array" and isinstance(element, type) and hasattr(element, "fields"):
            inner = element()
            _fill(inner, version)
            setattr(struct, name, [inner])
