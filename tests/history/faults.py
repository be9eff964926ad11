"""Three brokers and a ZooKeeper as processes, and everything that is done to them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.history.links import Relay
from tests.scenarios.real_cluster import SESSION_SECONDS, RealCluster, eventually

from pykbroker.metadata.zookeeper_server import ZooKeeperServer
from pykbroker.testing.process import BrokerProcess

BROKERS = (1, 2, 3)
TOPIC = "history"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def cpu_seconds(pid: int) -> float:
    """What a process has used; where its start takes long without, the machine was busy with others."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class FaultyCluster(RealCluster):
    """Brokers that reach each other through relays."""

    def __init__(self, folder: Path) -> None:
        self._server = ZooKeeperServer(folder / "zookeeper").start()
        clients, internals = free_ports(3), free_ports(3)
        self.cut_links: set[frozenset[int]] = set()
        self.silent_links: set[frozenset[int]] = set()
        self.paused: set[int] = set()
        self.last_start = ""
        self.relays = {
            number: Relay(
                number,
                internal,
                lambda source, target: frozenset((source, target)) not in self.cut_links,
                lambda source, target: frozenset((source, target)) in self.silent_links,
            )
            for number, internal in zip(BROKERS, internals, strict=True)
        }
        self._own = {
            number: {
                "listeners": f"CLIENT://127.0.0.1:0,INTERNAL://127.0.0.1:{internal}",
                "advertised.listeners": f"CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{self.relays[number].port}",
            }
            for number, client, internal in zip(BROKERS, clients, internals, strict=True)
        }
        super().__init__(
            folder,
            self._server.address,
            0,
            listener_security_protocol_map="CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT",
            inter_broker_listener_name="INTERNAL",
            replica_lag_time_max_ms="1500",
            min_insync_replicas="2",
            offsets_topic_num_partitions="3",
            num_partitions="4",
        )
        self.ports = dict(zip(BROKERS, clients, strict=True))
        for number in BROKERS:
            self.start(number)

    def start(self, number: int) -> BrokerProcess:
        began = time.monotonic()
        with (self.folder / f"broker-{number}.log").open("a") as errors:
            broker = self.brokers[number] = BrokerProcess(
                data_dir=self.folder / f"broker-{number}",
                port=self.ports[number],
                config={**self.config, **self._own[number], "node.id": str(number)},
                stderr=errors,
            ).start()
        self.last_start = f"its start took {time.monotonic() - began:.1f} s and {cpu_seconds(broker.pid):.1f} s of CPU"
        return broker

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def close(self) -> None:
        self.silent_links.clear()
        for number in list(self.paused):
            self.resume(number)
        super().close()
        for relay in self.relays.values():
            relay.close()
        self._server.stop()

    # ---- faults ----------------------------------------------------------------------------------------------------

    def kill_one(self, random: Random) -> str:
        """kill -9 of any broker, and its return."""
        return self._kill(random.choice(BROKERS), random)

    def kill_leader(self, random: Random) -> str:
        """kill -9 of a partition's leader."""
        leader = self.partition(random.choice(BROKERS), TOPIC, random.randrange(4)).leader_id
        return self._kill(leader if leader > 0 else 1, random)

    def kill_controller(self, random: Random) -> str:
        """kill -9 of the controller."""
        controller = self.controller(random.choice(BROKERS))
        return self._kill(controller if controller > 0 else 1, random)

    def _kill(self, number: int, random: Random) -> str:
        self.kill(number)
        time.sleep(random.choice((0.0, 1.0, SESSION_SECONDS + 1)))
        self.start(number)
        return f"killed {number}, {self.last_start},"

    def freeze(self, random: Random) -> str:
        """SIGSTOP for longer than the session lives: it goes on as if nothing had been."""
        number = random.choice(BROKERS)
        self.paused.add(number)
        self.pause(number)
        time.sleep(SESSION_SECONDS + random.uniform(0.5, 2.0))
        self.resume(number)
        self.paused.discard(number)
        return f"froze {number}"

    def restart_zookeeper(self, random: Random) -> str:
        """kill -9 of ZooKeeper, for less or more than a session."""
        self._server.kill()
        time.sleep(random.choice((0.0, SESSION_SECONDS + 1)))
        self._server.start()
        return "restarted ZooKeeper"

    def cut(self, random: Random) -> str:
        """No bytes between two brokers, or between one and both others, for a while."""
        links, between = _some_links(random)
        self.cut_links |= links
        for target, relay in self.relays.items():
            relay.drop(lambda source, target=target: frozenset((source, target)) in links)  # type: ignore[misc]
        time.sleep(random.uniform(1.0, 4.0))
        self.cut_links -= links
        return f"cut {between[0]} from {' and '.join(between[1:])}"

    def silence(self, random: Random) -> str:
        """The same, but that nobody is told: connections stay and what is sent waits, as where a route is lost."""
        links, between = _some_links(random)
        self.silent_links |= links
        time.sleep(random.uniform(1.0, 2 * SESSION_SECONDS + 2))
        self.silent_links -= links
        return f"silence between {' and '.join(between)}"

    def restart(self, random: Random) -> str:
        """A clean stop and start."""
        number = random.choice(BROKERS)
        self.stop(number)
        self.start(number)
        return f"restarted {number}, {self.last_start},"

    @property
    def faults(self) -> list[Callable[[Random], str]]:
        """One of each kind; what kills comes more often."""
        return [
            self.kill_one,
            self.kill_leader,
            self.kill_leader,
            self.kill_controller,
            self.freeze,
            self.restart_zookeeper,
            self.cut,
            self.cut,
            self.silence,
            self.silence,
            self.restart,
        ]

    def settle(self) -> None:
        """Everybody is back and in sync."""

        def whole() -> bool:
            found = {
                at: {index: set(self.partition(at, TOPIC, index).isr_nodes) for index in range(4)} for at in BROKERS
            }
            assert all(isr == set(BROKERS) for known in found.values() for isr in known.values()), found
            return True

        eventually("all replicas are in sync, and every broker knows it", whole, 60)


def _some_links(random: Random) -> tuple[set[frozenset[int]], list[str]]:
    """Those of one broker with another, or with both others; and their names, the one's first."""
    one, other, third = random.sample(BROKERS, 3)
    others = [other, third] if random.random() < 0.4 else [other]
    return {frozenset((one, each)) for each in others}, [str(one), *map(str, others)]
