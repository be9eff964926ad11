"""kill -9 in a row under load: `python -m tests.crash --rounds 50`."""

import argparse
import sys
import tempfile

from tests.crash.rounds import Crash


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prog := "pykbroker-crash") as folder:
        crash = Crash(folder, options.seed)
        for number in range(1, options.rounds + 1):
            print(f"{prog} round {number}: {crash.round()}", flush=True)
    print(f"{options.rounds} rounds, {crash.acknowledged} records acknowledged, none lost, no gap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
