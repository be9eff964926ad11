"""A ZooKeeper for the tests that need a real one, started when the first of them asks."""

from collections.abc import Iterator
from itertools import count

import pytest

from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper that the session's tests share, each in a chroot of its own (`zookeeper_chroot`)."""
    if find_server() is None:
        pytest.skip("no ZooKeeper is installed: apt-get install zookeeper")
    with ZooKeeperServer(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


_chroots = count()


@pytest.fixture
def zookeeper_chroot(zookeeper: ZooKeeperServer) -> str:
    """An address with an empty chroot: `HOST:PORT/test-N`."""
    return f"{zookeeper.address}/test-{next(_chroots)}"
