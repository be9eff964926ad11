"""Random and mutated frames against a running broker: `python -m tests.fuzz --frames 10000`."""

import argparse
import sys

from tests.fuzz.frames import fuzz

from pykbroker.testing.process import BrokerProcess


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with BrokerProcess() as broker:
        ended, answered = fuzz(broker.host, broker.port, options.frames, options.seed)
        status = broker.stop()
    print(f"{options.frames} frames: {ended} connections ended, {answered} answers, exit status {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
