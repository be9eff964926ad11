"""Clients write down what they were told while brokers, ZooKeeper and links fail: `… -m tests.history --minutes 30`.

Afterwards no acknowledged record is lost, none is there twice, every producer's order is kept in each partition, the
replicas are the same to the byte, what was read is what is stored, and neither a committed offset nor a partition's end
went back.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.history.check import check
from tests.history.clients import Committer, History, Reader, Watcher, Worker, Writer
from tests.history.faults import BROKERS, TOPIC, FaultyCluster
from tests.scenarios.real_cluster import eventually

from pykbroker.metadata.zookeeper_server import find_server

WRITERS = 2
Fault = Callable[[Random], str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.history", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=float, default=200.0, help="records a second of each of two producers")
    parser.add_argument("--keep", action="store_true", help="keep the brokers' folder where something is wrong")
    options = parser.parse_args()
    if find_server() is None:
        print("no ZooKeeper is installed here: apt-get install zookeeper")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="pykbroker-history-"))
    history = History()
    try:
        told = run(history, folder, options.minutes * 60, Random(options.seed), options.rate)
    except BaseException:
        print(f"broken off; what is left is in {folder}. The brokers' last words:")
        for words in sorted(folder.glob("broker*.log")):
            print(words.name, *words.read_text().splitlines()[-60:], sep="\n")
        raise
    if not (options.keep and history.wrong):
        shutil.rmtree(folder, ignore_errors=True)
    for sentence in history.wrong:
        print(f"WRONG: {sentence}")
    verdict = (
        f"{len(history.wrong)} things wrong (seed {options.seed})"
        if history.wrong
        else "nothing lost, doubled, moved or out of order"
    )
    print(f"{told}: {verdict}")
    return int(bool(history.wrong))


def run(history: History, folder: Path, seconds: float, random: Random, rate: float) -> str:
    cluster = FaultyCluster(folder)
    count = 0
    try:
        make_topic(cluster)
        servers = cluster.bootstrap_servers
        writers: list[Worker] = [Writer(number, history, servers, rate, folder) for number in range(WRITERS)]
        readers: list[Worker] = [Reader(history, servers), Watcher(history, servers), Committer(history, servers)]
        for worker in writers + readers:
            worker.start()
        bag: list[Fault] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(random.uniform(0.5, 2.5))
            began = time.monotonic()
            what = fault(cluster, bag, random)
            count += 1
            print(f"{what} in {time.monotonic() - began:.1f} s; {len(history.acknowledged)} acknowledged", flush=True)
        began = time.monotonic()
        cluster.settle()
        print(f"in sync after {time.monotonic() - began:.1f} s", flush=True)
        for workers in (writers, readers):
            for worker in workers:
                worker.stopping.set()
            for worker in workers:
                worker.join(200)
                name = type(worker).__name__
                print(f"{name} ended {time.monotonic() - began:.1f} s after the last fault", flush=True)
                if worker.is_alive():
                    history.blame(f"a {name} doesn't come to an end")
            time.sleep(1)
        cluster.settle()
        for number in BROKERS:
            cluster.stop(number)
    finally:
        cluster.close()
    check(history, folder)
    return (
        f"{count} faults, {len(history.acknowledged)} records acknowledged, {history.failed} of unknown outcome, "
        f"{len(history.read)} read, {history.ends} ends, "
        f"{history.again} sent twice by librdkafka under a new epoch of its own"
    )


def fault(cluster: FaultyCluster, bag: list[Fault], random: Random) -> str:
    """One fault, every kind in turn in random order; the brokers are all there again when it is over."""
    if not bag:
        bag += random.sample(cluster.faults, len(cluster.faults))
    while True:
        try:
            what = bag[-1](random)
        except OSError:
            time.sleep(0.2)  # Who was to be asked for the leader doesn't answer yet.
        else:
            bag.pop()
            return what


def make_topic(cluster: FaultyCluster) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    eventually("the brokers know each other", lambda: len(cluster.metadata(1).brokers) == 3)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(TOPIC, 4, 3, config={"min.insync.replicas": "2"})])[TOPIC].result()


if __name__ == "__main__":
    sys.exit(main())
