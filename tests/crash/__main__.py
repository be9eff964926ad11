"""kill -9 in a row under load: `python -m tests.crash --rounds 50`; with `--damage` the end of a log is spoilt, too."""

import argparse
import sys
import tempfile

from tests.crash.rounds import Crash

PER_DIRECTORY = 50
"""Rounds on the same data, each of which reads all of it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damage", action="store_true", help="cut, zero or flip the end of a segment after each kill")
    options = parser.parse_args()
    acknowledged = 0
    for first in range(1, options.rounds + 1, PER_DIRECTORY):
        with tempfile.TemporaryDirectory(prefix="pykbroker-crash-") as folder:
            crash = Crash(folder, options.seed + first)
            for number in range(first, min(first + PER_DIRECTORY, options.rounds + 1)):
                print(f"round {number}: {crash.round(damage=options.damage)}", flush=True)
            acknowledged += crash.acknowledged
    print(f"{options.rounds} rounds, {acknowledged} records acknowledged, none lost but by damage, no gap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
