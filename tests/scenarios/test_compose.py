"""docker-compose.yml and the Dockerfile: read, checked, what they name is run as plain processes.

Each service has a network namespace; commands, environments and health checks are those of the files. A folder stands
for each volume, and Debian's ZooKeeper for that of its image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scenarios.network import Network, why_not
from tests.scenarios.real_cluster import eventually

from pykbroker.cli.environment import config_of
from pykbroker.config.broker import BrokerConfig
from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MEMBERS = ("broker-1", "broker-2", "broker-3")
BROKERS = (*MEMBERS, "broker")
DATA = "/var/lib/pykbroker"
whole = pytest.mark.skipif("PYKBROKER_MATRIX" not in os.environ, reason="make matrix runs it")
ON_THE_PATH = os.pathsep.join((str(Path(sys.executable).parent), "/usr/share/zookeeper/bin", os.environ["PATH"]))


def dockerfile(instruction: str) -> list[str]:
    """What follows an instruction, each time that it is there; lines that go on are joined."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [line.partition(" ")[2].strip() for line in lines if line.startswith(instruction + " ")]


def image_environment() -> dict[str, str]:
    pairs = (pair.partition("=") for text in dockerfile("ENV") for pair in text.split())
    return {name: value for name, _, value in pairs if name != "PATH"}


def environment(service: str) -> dict[str, str]:
    return {**image_environment(), **SERVICES[service]["environment"]}


# ---- the files -------------------------------------------------------------------------------------------------------


@whole
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize(("profile", "services"), [("cluster", {"zookeeper", *MEMBERS}), ("single", {"broker"})])
def test_docker_compose_takes_the_file(profile: str, services: set[str]) -> None:
    command = ["docker-compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", profile, "config"]
    assert subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False).stderr == ""
    named = subprocess.run([*command, "--services"], capture_output=True, text=True, check=True).stdout.split()
    assert {one for one in named if profile in SERVICES[one]["profiles"]} == services


def test_profiles() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        "zookeeper": ["cluster"],
        "broker-1": ["cluster"],
        "broker-2": ["cluster"],
        "broker-3": ["cluster"],
        "broker": ["single"],
    }
    volumes = [mount.partition(":")[0] for service in SERVICES.values() for mount in service["volumes"]]
    assert len(volumes) == len(set(volumes))
    assert set(volumes) == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", BROKERS)
def test_every_variable_is_a_config_key_and_every_address_leads_to_the_broker(name: str) -> None:
    service = SERVICES[name]
    config = BrokerConfig.from_properties(config_of(environment(name)))
    assert config.unknown == {}
    inside = {one.name: one.port for one in config.broker_listeners}
    (published,) = service["ports"]
    outer, inner = map(int, published.split(":"))
    assert inside["HOST"] == inner
    advertised = {one.name: one for one in config.advertised}
    assert (advertised["HOST"].host, advertised["HOST"].port) == ("localhost", outer)
    assert (advertised["CLUSTER"].host, advertised["CLUSTER"].port) == (name, inside["CLUSTER"])
    assert service["volumes"] == [f"{name}:{DATA}"]


def test_the_image() -> None:
    assert all(base.startswith("python:3.13-slim") for base in dockerfile("FROM"))
    assert dockerfile("USER") == ["pykbroker"], "not root"
    assert dockerfile("VOLUME") == [DATA]
    assert DATA in json.loads(dockerfile("CMD")[-1])
    (health,) = (json.loads(text[text.index("[") :]) for text in dockerfile("HEALTHCHECK"))
    for name in BROKERS:
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", *health]
    known = BrokerConfig.from_properties(config_of(image_environment()))
    assert known.unknown == {}
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [text.split()[:-1] for text in dockerfile("COPY") if not text.startswith("--from")]
    assert sorted(kept) == sorted(one for names in copied for one in names)


# ---- what they name --------------------------------------------------------------------------------------------------


class Machines:
    """Containers without an engine: a namespace and a folder each."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, words: Sequence[str]) -> tuple[int, str]:
        """A command on a machine: how it ended, and what it wrote."""
        command = self.network.command(name, words)
        environ = {"PATH": ON_THE_PATH}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def start(self, name: str) -> None:
        """What the image's CMD does, as the service has it."""
        words = [word.replace(DATA, str(self.folder / name)) for word in json.loads(dockerfile("CMD")[-1])]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                self.network.command(name, words),
                env={"PATH": ON_THE_PATH, **environment(name)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def healthy(self, name: str, *more: str) -> bool:
        """The service's health check."""
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(name, [*words, *more])[0] == 0

    def publish(self, name: str) -> None:
        """The service's ports on the machine `host`."""
        for published in SERVICES[name]["ports"]:
            outer, inner = map(int, published.split(":"))
            with self.network.inside("host"):
                listener = socket.create_server(("127.0.0.1", outer))
            threading.Thread(target=self._pass_on, args=(listener, name, inner), daemon=True).start()

    def _pass_on(self, listener: socket.socket, name: str, port: int) -> None:
        with self.network.inside("host"), listener:
            while name in self.running:
                try:
                    client, _ = listener.accept()
                    server = socket.create_connection((self.network.address(name), port))
                except OSError:
                    return
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()

    def close(self) -> None:
        """Stops as Compose does."""
        running, self.running = self.running, {}
        for process in running.values():
            process.terminate()
        for process in running.values():
            assert process.wait(30) == 0


def _pump(source: socket.socket, target: socket.socket) -> None:
    with source, target:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@contextmanager
def machines(folder: Path, *names: str) -> Iterator[Machines]:
    with Network("host", "other", *names) as network:
        made = Machines(network, folder)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def namespaces() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


def through(made: Machines, topic: str, inner: str) -> None:
    """A record from the host to another container."""
    produce = ["pykbroker", "produce", topic, "--bootstrap", "localhost:9092", "--value", "from the host"]
    status, said = made.run("host", produce)
    assert status == 0, said
    words = ["pykbroker", "consume", topic, "--bootstrap", inner, "--max-messages", "1"]
    status, said = made.run("other", words)
    assert (status, said) == (0, "from the host\n")


@whole
@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_one_broker_alone(tmp_path: Path) -> None:
    with machines(tmp_path, "broker") as made:
        assert not made.healthy("broker")
        made.start("broker")
        eventually("it is healthy", lambda: made.healthy("broker"))
        made.publish("broker")
        through(made, "alone", "broker:19092")


@whole
@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
@pytest.mark.skipif(find_server() is None, reason="no ZooKeeper is installed")
def test_the_cluster(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(machines(tmp_path, "zookeeper", *MEMBERS))
        folder = tmp_path / "zookeeper"
        tick_ms = int(SERVICES["zookeeper"]["environment"]["ZOO_TICK_TIME"])
        host = made.network.address("zookeeper")
        with made.network.inside("zookeeper"):
            stack.callback(ZooKeeperServer(folder, host=host, port=2181, tick_ms=tick_ms).start().stop)
        # Debian's script has its own idea of where the config is; the image's has that of the image.
        assert made.healthy("zookeeper", str(folder / "zoo.cfg"))
        for name in MEMBERS:
            assert SERVICES[name]["depends_on"] == {"zookeeper": {"condition": "service_healthy"}}
            made.start(name)
        for name in MEMBERS:
            eventually(f"{name} is healthy", partial(made.healthy, name))
            made.publish(name)
        through(made, "shared", ",".join(f"{name}:19092" for name in MEMBERS))
        status, said = made.run("host", ["pykbroker", "cluster", "status", "--bootstrap", "localhost:9093", "--json"])
        assert status == 0, said
        document = json.loads(said)
        assert [(one["host"], one["port"]) for one in document["brokers"]] == [
            ("localhost", 9092),
            ("localhost", 9093),
            ("localhost", 9094),
        ]
        assert document["under_replicated"] == document["offline"] == 0
        status, said = made.run("other", ["pykbroker", "cluster", "info", "--bootstrap", "broker-3:19092"])
        assert status == 0, said
        assert re.findall(r"broker-\d +19092", said) == [f"broker-{number}   19092" for number in (1, 2, 3)]


@whole
@pytest.mark.slow
def test_a_container_engine_runs_the_file() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no container engine runs here")
    command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", "cluster"]
    try:
        subprocess.run([*command, "up", "--build", "--wait", "--wait-timeout", "300"], check=True)
        status = [*command, "exec", "broker-1", "pykbroker", "cluster", "info", "--bootstrap", "broker-2:19092"]
        assert "broker-3" in subprocess.run(status, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([*command, "down", "--volumes"], check=True)
