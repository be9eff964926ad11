"""Random and mutated frames against running brokers, from strangers and from users that have proved themselves:
`python -m tests.fuzz --frames 30000`, or `--seconds 60` for as many as go."""

import argparse
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from tests.fuzz.frames import Attack, fuzz, login_frames

from pykbroker.testing.process import BrokerProcess

WAYS = ("open", "strangers", "users")
"""A listener that asks for nothing; one with SASL, before the login and after it."""
USER, PASSWORD = "alice", "alice-secret"
ROOM = 256
"""MB that a broker may take more than before: what users may make, as topics and groups, is part of it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, action="append", help="one of the ways to come; all unless told")
    options = parser.parse_args()
    frames = options.frames or (30_000 if options.seconds == math.inf else sys.maxsize)
    login = login_frames(USER, PASSWORD)
    ways = {way: (b"" if way == "open" else login, way == "users") for way in options.way or WAYS}
    share, seconds = max(1, frames // len(ways)), options.seconds / len(ways)
    failed = False
    with BrokerProcess() as elsewhere, tempfile.TemporaryFile("w+") as log:
        for way, (proof, known) in ways.items():
            broker = BrokerProcess(stderr=log).start(["--user", f"{USER}:{PASSWORD}"] if proof else [])
            attack = Attack(broker.host, broker.port, share, options.seed, proof if known else b"", seconds)
            try:
                before = resident_mb(broker.pid)
                done = fuzz(attack, proof, (elsewhere.host, elsewhere.port))
                grown = resident_mb(broker.pid) - before
            finally:
                status = broker.stop()
            failed |= status != 0 or grown > ROOM or not done.undisturbed
            print(
                f"{way}: {done.sent} frames, {done.ended} connections, {done.answered} answers, {grown:+.0f} MB, "
                f"a bystander's p99 {done.p99_ms:.1f} ms (before: {done.quiet_ms:.1f} ms, meanwhile at another "
                f"broker: {done.elsewhere_ms:.1f} ms), exit status {status}",
                flush=True,
            )
        failed |= unforeseen(log) > 0
    return int(failed)


def unforeseen(log: TextIO) -> int:
    """How many errors the brokers did not expect, by what they logged; prints the first of them."""
    log.seek(0)
    found = [text for text in re.split(r"^(?=\d{4}-\d\d-\d\d )", log.read(), flags=re.M) if "Traceback" in text]
    for text in found[:5]:
        print(text, end="")
    print(f"errors that nobody expected: {len(found)}")
    return len(found)


def resident_mb(pid: int) -> float:
    """A process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
