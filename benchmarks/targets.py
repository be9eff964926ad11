"""The brokers that are measured, each a process of its own: pykbroker, librdkafka's mock cluster, or one given."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STARTUP_SECONDS = 30


@dataclass
class Target:
    """A running broker; pid is None where it isn't ours to look into."""

    name: str
    bootstrap: str
    pid: int | None
    topics_are_created: bool

    def cpu_seconds(self) -> float:
        """CPU time of the broker's process so far, user and system; 0.0 when it isn't ours."""
        if self.pid is None:
            return 0.0
        return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3): to the nanosecond, /proc: to 10 ms.

    def memory(self) -> dict[str, float]:
        """Resident and proportional set size, in MB (10⁶ bytes)."""
        sizes = {"Rss": 0.0, "Pss": 0.0}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) * 1024 / 1e6
        return sizes


def _installed_environment() -> dict[str, str]:
    """This environment, with byte code kept: what pip installs is compiled, so that is how start-up is measured."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process from this tree, ended on the way out."""
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    running = subprocess.Popen(
        [sys.executable, *arguments],
        env=_installed_environment() | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def ready_address(running: subprocess.Popen[str]) -> str:
    """HOST:PORT from the line `ready HOST:PORT …`."""
    assert running.stdout is not None
    words = running.stdout.readline().split()
    if not words or words[0] != "ready":
        raise RuntimeError(f"{running.args!r} did not get ready")
    return words[1]


@contextmanager
def pykbroker() -> Iterator[Target]:
    with process("-m", "pykbroker", "start", "--ephemeral", "--port", "0") as running:
        yield Target("pykbroker", ready_address(running), running.pid, topics_are_created=True)


@contextmanager
def mock_cluster() -> Iterator[Target]:
    with process("-m", "benchmarks.mock_cluster") as running:
        yield Target("mock cluster", ready_address(running), running.pid, topics_are_created=False)


@contextmanager
def given(bootstrap: str) -> Iterator[Target]:
    yield Target(bootstrap, bootstrap, None, topics_are_created=True)


def metadata_answer(address: str) -> int:
    """Ask for the brokers (Metadata v4, no topics) on a bare socket; the size of the answer in bytes."""
    host, _, port = address.rpartition(":")
    client = b"bench"
    frame = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">i?", 0, False)
    with socket.create_connection((host, int(port)), timeout=STARTUP_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            if len(answer.read(size)) != size:
                raise RuntimeError("the answer to Metadata was cut short")
    return int(size)


def start_and_memory() -> dict[str, float]:
    """Seconds from spawning pykbroker to its first answer to Metadata, and its memory a second later."""
    begun = time.perf_counter()
    with pykbroker() as target:
        metadata_answer(target.bootstrap)
        seconds = time.perf_counter() - begun
        time.sleep(1)
        return {"start": seconds} | {name.lower(): size for name, size in target.memory().items()}
