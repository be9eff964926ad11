"""Exactly-once under fire: `python -m tests.exactly_once`; with `--records` and `--kills` for more or less
of it, with `--brokers 3` against a cluster."""

import argparse
import sys
import tempfile

from tests.exactly_once.proof import Proof


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.exactly_once", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20, help="of a broker")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="three need a ZooKeeper to be installed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pykbroker-exactly-once-") as folder:
        proof = Proof(folder, records=options.records, kills=options.kills, seed=options.seed, brokers=options.brokers)
        print(proof.run(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
