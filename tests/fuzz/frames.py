"""Frames that no client would send, and a bystander whose connection must not notice."""

from __future__ import annotations

import math
import random
import socket
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from typing import NamedTuple

from pykbroker.apis import HANDLERS
from pykbroker.protocol.connection import encode_request
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient, as_bytes

SENDERS = 8
BYSTANDER_EVERY = 0.01
"""Seconds between its requests."""
PATIENCE = 0.5
"""Seconds that an answer may take before the next victim's turn."""
BATCH = 3
"""At the most so many frames on one connection: what comes after the first bad one isn't read."""


class Outcome(NamedTuple):
    """What came of it: `p99_ms` is the bystander's, in milliseconds."""

    sent: int
    ended: int
    answered: int
    p99_ms: float


def fuzz(
    host: str, port: int, frames: int, seed: int, *, login: bytes = b"", seconds: float = math.inf, known: bool = False
) -> Outcome:
    """Sends bad frames over many connections, a few at a time: `frames` of them, or as many as go in `seconds`.

    `login` (frames) proves a user to the broker, and does so for the bystander; and for the senders where they are
    `known`. Raises AssertionError or ConnectionError where the bystander's connection is disturbed.
    """
    samples, deadline = _samples(), time.monotonic() + seconds
    took = []
    with WireClient(host, port, client_id="bystander") as bystander, ThreadPoolExecutor(SENDERS) as pool:
        bystander.socket.sendall(login)
        for _ in range(_count(login)):
            bystander.receive_frame()

        def send(number: int) -> tuple[int, int, int]:
            choice, sent, ended, answered = random.Random(seed * SENDERS + number), 0, 0, 0
            share = frames // SENDERS + (number < frames % SENDERS)
            while sent < share and time.monotonic() < deadline:
                count = min(choice.randint(1, BATCH), share - sent)
                with closing(socket.create_connection((host, port), PATIENCE)) as victim:
                    bad = [_frame(choice, samples) for _ in range(count)]
                    answered += _send(victim, [login if known else b"", *bad])
                ended, sent = ended + 1, sent + count
            return sent, ended, answered

        senders = [pool.submit(send, number) for number in range(SENDERS)]
        while not took or not all(sender.done() for sender in senders):
            began = time.monotonic()
            assert bystander.request(MetadataRequest(topics=[]), 12).brokers
            took.append(time.monotonic() - began)
            wait(senders, BYSTANDER_EVERY, return_when=FIRST_EXCEPTION)
        assert bystander.request(ApiVersionsRequest(), 0).error_code == 0
        sent, ended, answered = (sum(counts) for counts in zip(*(one.result() for one in senders), strict=True))
    return Outcome(sent, ended, answered, sorted(took)[len(took) * 99 // 100] * 1000)


def login_frames(user: str, password: str) -> bytes:
    """SASL's PLAIN as two frames, to be sent at once."""
    token = f"\0{user}\0{password}".encode()
    messages = ((SaslHandshakeRequest(mechanism="PLAIN"), 1), (SaslAuthenticateRequest(auth_bytes=token), 1))
    return b"".join(as_bytes(piece) for one, version in messages for piece in encode_request(one, version, 1, "fuzz"))


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


def _count(answers: bytes | bytearray) -> int:
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
