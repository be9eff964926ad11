"""What the loops run against: one broker, or three on a ZooKeeper; a broker is killed -9 and comes back."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Protocol

from tests.scenarios.real_cluster import RealCluster

from pykbroker.metadata.zookeeper_server import ZooKeeperServer
from pykbroker.testing.process import BrokerProcess

BROKERS = (1, 2, 3)


class Servers(Protocol):
    """Brokers that are killed and come back."""

    replication_factor: int

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses."""
        ...

    @property
    def directories(self) -> list[str]:
        """Every broker's data directory."""
        ...

    def kill(self) -> None:
        """kill -9 of a broker."""
        ...

    def revive(self) -> None:
        """Starts the one that was killed, on its data and port."""
        ...

    def stop(self) -> None:
        """A clean end of all."""
        ...


class OneBroker:
    """A broker alone."""

    replication_factor = 1

    def __init__(self, folder: Path, config: dict[str, str]) -> None:
        self._folder, self._config, self._port = folder, config, 0
        self.revive()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def directories(self) -> list[str]:
        return [str(self._folder)]

    def kill(self) -> None:
        self._broker.kill()

    def revive(self) -> None:
        self._broker = BrokerProcess(
            data_dir=self._folder, port=self._port, config=self._config, stderr=subprocess.DEVNULL
        ).start()
        self._port = self._broker.port

    def stop(self) -> None:
        self._broker.stop()


class ThreeBrokers:
    """A cluster, every partition on all three."""

    replication_factor = 3

    def __init__(self, folder: Path, config: dict[str, str], seed: random.Random) -> None:
        self._folder, self._random, self._killed = folder, seed, 0
        self._server = ZooKeeperServer(folder / "zookeeper").start()
        try:
            self._cluster = RealCluster(
                folder,
                self._server.address,
                len(BROKERS),
                min_insync_replicas="2",
                replica_lag_time_max_ms="2000",
                **{key.replace(".", "_"): value for key, value in config.items()},
            )
        except BaseException:
            self._server.stop()
            raise

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._cluster.ports.values())

    @property
    def directories(self) -> list[str]:
        return [str(self._folder / f"broker-{number}") for number in BROKERS]

    def kill(self) -> None:
        self._killed = self._random.choice(BROKERS)
        self._cluster.kill(self._killed)

    def revive(self) -> None:
        self._cluster.start(self._killed)

    def stop(self) -> None:
        try:
            for number in list(self._cluster.brokers):
                self._cluster.stop(number)
        finally:
            self._cluster.close()
            self._server.stop()
