"""Frames that no client would send, and a bystander whose connection must not notice."""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import closing
from multiprocessing import get_context
from typing import NamedTuple

from pykbroker.apis import HANDLERS
from pykbroker.protocol.connection import encode_request
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing.client import WireClient

SENDERS = 8
BYSTANDER_EVERY = 0.01
"""Seconds between its requests."""
QUIET_REQUESTS = 300
"""So many before anybody comes, for what is usual on this machine."""
P99_MS, SLOWER, BUSIER = 50.0, 10, 3
"""The bystander may wait so long; or so many times what it waits when it is alone, or at a broker that nobody attacks
meanwhile, where that is more, as on a busy machine."""
CONNECT_SECONDS = 30.0
PATIENCE = 0.5
"""Seconds that an answer may take before the next victim's turn."""
BATCH = 3
"""At the most so many frames on one connection: what comes after the first bad one isn't read."""


class Outcome(NamedTuple):
    """What came of it; the bystander's 99th percentiles, before, meanwhile and meanwhile elsewhere, are in ms."""

    sent: int
    ended: int
    answered: int
    quiet_ms: float
    p99_ms: float
    elsewhere_ms: float

    @property
    def undisturbed(self) -> bool:
        """Whether the bystander was served as it should be."""
        return bearable(self.p99_ms, self.quiet_ms, self.elsewhere_ms)


class Attack(NamedTuple):
    """Bad frames over many connections, a few at a time: `frames` of them, or as many as go in `seconds`."""

    host: str
    port: int
    frames: int
    seed: int
    login: bytes = b""
    """Frames that come first on each connection."""
    seconds: float = math.inf


def fuzz(attack: Attack, proof: bytes = b"", elsewhere: tuple[str, int] | None = None) -> Outcome:
    """Has an attack made while a bystander, whom `proof` (frames) logs in, goes on asking.

    It asks a broker `elsewhere` in turn. Raises AssertionError or ConnectionError where its connection is disturbed.
    """
    neighbour = elsewhere or (attack.host, attack.port)
    # The attackers are a process of their own: what the bystander waits for must not be Python's own lock.
    with (
        WireClient(attack.host, attack.port, client_id="bystander") as bystander,
        WireClient(*neighbour, client_id="bystander") as other,
        ProcessPoolExecutor(1, get_context("spawn")) as attackers,
    ):
        for client in (bystander, other) if elsewhere is None else (bystander,):
            client.socket.sendall(proof)
            for _ in range(_count(proof)):
                client.receive_frame()
        quiet = [_wait(bystander) for _ in range(QUIET_REQUESTS)]
        attacking, took = attackers.submit(_attack, attack), []
        while not took or not attacking.done():
            took.append((_wait(bystander), _wait(other)))
            wait([attacking], BYSTANDER_EVERY)
        assert bystander.request(ApiVersionsRequest(), 0).error_code == 0
        return Outcome(*attacking.result(), p99_ms(quiet), *(p99_ms(times) for times in zip(*took, strict=True)))


def bearable(p99: float, quiet: float, elsewhere: float) -> bool:
    """Whether a bystander's p99 is as it should be, by what it was before and what it is meanwhile elsewhere; in ms."""
    return p99 <= max(P99_MS, SLOWER * quiet, BUSIER * elsewhere)


def p99_ms(took: Sequence[float]) -> float:
    """The 99th percentile, in milliseconds, of times in seconds."""
    return sorted(took)[len(took) * 99 // 100] * 1000


def _wait(bystander: WireClient) -> float:
    began = time.monotonic()
    assert bystander.request(MetadataRequest(topics=[]), 12).brokers
    return time.monotonic() - began


def _attack(attack: Attack) -> tuple[int, int, int]:
    """Makes an attack; how many frames were sent, connections ended, and answers came."""
    samples, deadline = _samples(), time.monotonic() + attack.seconds

    def send(number: int) -> tuple[int, int, int]:
        choice, sent, ended, answered = random.Random(attack.seed * SENDERS + number), 0, 0, 0
        share = attack.frames // SENDERS + (number < attack.frames % SENDERS)
        while sent < share and time.monotonic() < deadline:
            count = min(choice.randint(1, BATCH), share - sent)
            with closing(socket.create_connection((attack.host, attack.port), CONNECT_SECONDS)) as victim:
                victim.settimeout(PATIENCE)
                bad = [_frame(choice, samples) for _ in range(count)]
                answered += _send(victim, [attack.login, *bad])
            ended, sent = ended + 1, sent + count
        return sent, ended, answered

    with ThreadPoolExecutor(SENDERS) as pool:
        sent, ended, answered = (sum(counts) for counts in zip(*pool.map(send, range(SENDERS)), strict=True))
    return sent, ended, answered


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
