"""`python -m benchmarks.groups`: how long a stable group takes until 100 more members have their partitions.

For either protocol, against a broker process with Kafka's defaults; heartbeats every 100 ms, so that it is the broker
that is measured. `--bootstrap HOST:PORT` measures any other broker in the same way.
"""

from __future__ import annotations

import argparse
import sys
import uuid

import trio

from benchmarks import targets
from benchmarks.group_members import PROTOCOLS, Member
from pykbroker.client.connection import open_connection
from pykbroker.client.settings import ClientSettings
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest

PARTITIONS = 100
INTERVAL = 0.1
GIVE_UP = 120.0


async def prepared(address: tuple[str, int], group: str, topic: str, partitions: int) -> None:
    """A topic, and a coordinator that serves the group."""
    connection = await open_connection(address, ClientSettings(request_timeout=30))
    try:
        wanted = CreateTopicsRequest.Topic(name=topic, num_partitions=partitions, replication_factor=1)
        await connection.call(CreateTopicsRequest(topics=[wanted], timeout_ms=30_000))
        for _ in range(100):
            found = await connection.call(FindCoordinatorRequest(coordinator_keys=[group], key_type=0))
            if found.coordinators[0].error_code == 0:
                return
            await trio.sleep(0.1)
        raise RuntimeError("the group has no coordinator")
    finally:
        connection.abort()


def is_shared(members: list[Member], partitions: int) -> bool:
    """Whether every partition has exactly one owner, and no member waits."""
    owned = [one for member in members for one in member.owned]
    return sorted(owned) == list(range(partitions)) and all(member.settled for member in members)


async def until_shared(members: list[Member], partitions: int) -> float:
    """Seconds until the partitions are shared among all. Raises TooSlowError."""
    begun = trio.current_time()
    with trio.fail_after(GIVE_UP):
        while not (is_shared(members, partitions) and all(m.owned for m in members)):  # noqa: ASYNC110
            await trio.sleep(0.005)
    return trio.current_time() - begun


async def joining(address: tuple[str, int], protocol: str, count: int) -> float:
    """Seconds for `count` members to join a stable group of one, until each partition has its one owner again."""
    group, topic = f"g-{uuid.uuid4().hex[:8]}", f"t-{uuid.uuid4().hex[:8]}"
    await prepared(address, group, topic, PARTITIONS)
    make = PROTOCOLS[protocol]
    async with trio.open_nursery() as nursery:
        members = [make(address, group, topic, PARTITIONS, INTERVAL)]
        nursery.start_soon(members[0].run)
        await until_shared(members, PARTITIONS)
        await trio.sleep(1.5)  # An assignment interval later nothing is held back.
        members += [make(address, group, topic, PARTITIONS, INTERVAL) for _ in range(count - 1)]
        for member in members[1:]:
            nursery.start_soon(member.run)
        seconds = await until_shared(members, PARTITIONS)
        nursery.cancel_scope.cancel()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.groups", description=__doc__)
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="measure this broker instead of starting pykbroker")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args()
    with targets.given(options.bootstrap) if options.bootstrap else targets.pykbroker() as target:
        host, _, port = target.bootstrap.rpartition(":")
        for protocol in PROTOCOLS:
            cpu = target.cpu_seconds()
            rounds = 1 if options.quick else 3
            samples = sorted(trio.run(joining, (host, int(port)), protocol, options.members) for _ in range(rounds))
            cpu = (target.cpu_seconds() - cpu) / rounds
            print(
                f"{options.members} members join a stable {protocol} group of {PARTITIONS} partitions: "
                f"{samples[len(samples) // 2]:.2f} s ({samples[0]:.2f}–{samples[-1]:.2f}), broker CPU {cpu:.2f} s"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
