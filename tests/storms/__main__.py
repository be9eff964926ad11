"""Rebalance storms against a broker process: `python -m tests.storms --members 100 --gusts 5`.

Members join and leave a 100-partition group at random. After each quiet second (a few on a busy machine) every
partition has exactly one owner.
"""

import argparse
import random
import subprocess
import sys

import trio
from benchmarks.group_members import PROTOCOLS, Member
from benchmarks.groups import is_shared, prepared

from pykbroker.testing.process import BrokerProcess

PARTITIONS = 100
PATIENCE = 20
"""Quiet seconds until a group that hasn't settled is a failure."""


async def storm(address: tuple[str, int], protocol: str, most: int, gusts: int, chance: random.Random) -> list[int]:
    """The quiet seconds that each gust took to settle. Raises AssertionError where one doesn't."""
    group, topic = f"storm-{protocol}", f"topic-{protocol}"
    await prepared(address, group, topic, PARTITIONS)
    members: list[Member] = []
    took = []
    async with trio.open_nursery() as nursery:
        for _ in range(gusts):
            for _ in range(most // 2):
                if members and (len(members) == most or chance.random() < 0.35):
                    members.pop(chance.randrange(len(members))).leave()
                else:
                    members.append(PROTOCOLS[protocol](address, group, topic, PARTITIONS, 0.1))
                    nursery.start_soon(members[-1].run)
                await trio.sleep(chance.random() * 0.02)
            seconds = 0
            while seconds == 0 or not is_shared(members, PARTITIONS):
                assert seconds < PATIENCE, f"{protocol}: not every partition has one owner: {owners(members)}"
                await trio.sleep(1)
                seconds += 1
            took.append(seconds)
        nursery.cancel_scope.cancel()
    return took


def owners(members: list[Member]) -> str:
    owned = sorted(one for member in members for one in member.owned)
    missing = sorted(set(range(PARTITIONS)) - set(owned))
    return f"{len(owned)} owned, missing {missing}, waiting {sum(not member.settled for member in members)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.storms", description=__doc__)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--gusts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    words = []
    config = {"group.consumer.assignment.interval.ms": "100"}
    with BrokerProcess(config=config, stderr=subprocess.DEVNULL) as broker:
        for protocol in PROTOCOLS:
            chance = random.Random(options.seed)
            took = trio.run(storm, (broker.host, broker.port), protocol, options.members, options.gusts, chance)
            words.append(f"{protocol}: {options.gusts} gusts settled after {took} quiet seconds")
    print(f"up to {options.members} members on {PARTITIONS} partitions; " + "; ".join(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
