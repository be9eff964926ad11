"""Apache Kafka itself: its jars by their Maven coordinates, its dump tool, and a broker of one node to write data.

Nothing of it is kept with this project: jars lie in a cache folder. Where they can't be had `Unavailable` says why.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = "4.3.0"
MAIN_CLASS = {"3": "kafka.tools.DumpLogSegments", "4": "org.apache.kafka.tools.DumpLogSegments"}
FETCH_SECONDS = 120
START_SECONDS = 60
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>jars</groupId><artifactId>jars</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version>
<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""

_NODE = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocol}:{protocol}
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""
"""What one node alone can't do without; all else has Kafka's defaults."""

_FOR_TESTS = """offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.index.size.max.bytes=65536
log.cleaner.backoff.ms=100
"""

LOGGED = ("defaultLogLevel=warn", "log.org.apache.kafka.storage.internals.log=info")
"""To stderr; a broker's goes to the file `out` in its folder."""


class Unavailable(Exception):
    """Why Apache Kafka can't be run on this machine."""


def jars(version: str = VERSION) -> Path:
    """The folder with Apache Kafka's jars, filled by Maven on first use. Raises Unavailable."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program}")
    cache = Path(os.environ.get("PYKBROKER_JARS") or Path.home() / ".cache" / "pykbroker-jars")
    folder = cache / version
    if folder.is_dir():
        return folder
    fetched = cache / f"{version}.{os.getpid()}"
    fetched.mkdir(parents=True)
    pom = fetched / "pom.xml"
    pom.write_text(_POM.format(version=version))
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
        if run.returncode:
            reason = next(iter(run.stdout.splitlines()), "no word from mvn")
            raise Unavailable(f"Maven doesn't get Apache Kafka {version}: {reason[:200]}")
        pom.unlink()
        if not folder.is_dir():
            fetched.rename(folder)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven takes longer than {FETCH_SECONDS} s for Apache Kafka {version}") from None
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    return folder


_SMALL = ("-Xmx512M", "-XX:+UseSerialGC")
_AS_SHIPPED = (
    *("-Xmx1G", "-Xms1G", "-server", "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true"),
    *("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"),
    "-XX:+ExplicitGCInvokesConcurrent",
)
"""What bin/kafka-server-start.sh and bin/kafka-run-class.sh give a broker."""


def java(version: str, *arguments: str, options: Iterable[str] = ("-XX:TieredStopAtLevel=1", *_SMALL)) -> list[str]:
    """A command line with all jars; by default for a program that shall start soon and lives for seconds."""
    logged = (f"-Dorg.slf4j.simpleLogger.{option}" for option in LOGGED)
    return ["java", *options, *logged, "-cp", f"{jars(version)}/*", *arguments]


def dump(files: Iterable[Path], *options: str, version: str = VERSION) -> tuple[str, str]:
    """What Kafka's dump tool writes to stdout and stderr about files."""
    words = ["--files", ",".join(map(str, files)), *options]
    run = subprocess.run(
        java(version, MAIN_CLASS[version[0]], *words), capture_output=True, text=True, timeout=60, encoding="utf-8"
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


class ApacheKafka:
    """A broker of Apache Kafka on a free port of 127.0.0.1; its data stays in `folder / "data"`.

    `for_speed`: compiled as a broker in use would be, instead of starting soon. `as_shipped`: with the defaults of
    Kafka's configuration and of its scripts, instead of what makes tests short.
    """

    def __init__(
        self,
        folder: Path,
        version: str = VERSION,
        config: Mapping[str, str] | None = None,
        *,
        for_speed: bool = False,
        as_shipped: bool = False,
        protocol: str = "PLAINTEXT",
    ) -> None:
        self._protocol = protocol
        self._options = _AS_SHIPPED if as_shipped else _SMALL if for_speed else ("-XX:TieredStopAtLevel=1", *_SMALL)
        self._settings = _NODE if as_shipped else _NODE + _FOR_TESTS
        self.data = folder / "data"
        self._folder = folder
        self._version = version
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.bootstrap_servers = ""

    @property
    def pid(self) -> int:
        """Of the running broker's process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Starts it, on the data that is there, and waits until its port answers."""
        if not self._port:
            self.prepare()
        port, self._port = self._port, 0
        return self._launch(self._folder / "server.properties", port)

    def prepare(self) -> None:
        """What precedes a start: the configuration, and data directories that are formatted."""
        self._port, controller = _free_ports()
        self.data.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "server.properties"
        lines = [f"{key}={value}" for key, value in self._config.items()]
        properties.write_text(
            self._settings.format(port=self._port, controller=controller, data=self.data, protocol=self._protocol)
            + "\n".join([*lines, ""])
        )
        if not (self.data / "meta.properties").exists():
            format_it = java(
                self._version, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)
            )
            subprocess.run(format_it, check=True, capture_output=True, timeout=START_SECONDS)

    def _launch(self, properties: Path, port: int) -> Self:
        with open(self._folder / "out", "wb") as out:
            command = java(self._version, "kafka.Kafka", str(properties), options=self._options)
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        self.bootstrap_servers = f"127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.stop(signal.SIGKILL)
        raise Unavailable(f"Apache Kafka {self._version} did not start:\n{(self._folder / 'out').read_text()[-2000:]}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it: SIGTERM for a clean end, SIGKILL for a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL if error is not None else signal.SIGTERM)


class KafkaOnZooKeeper(ApacheKafka):
    """A broker of Apache Kafka up to 3.9 with node id 1, on a ZooKeeper and a data directory that are there."""

    def __init__(
        self, folder: Path, data: Path, config: Mapping[str, str], version: str, *, protocol: str = "PLAINTEXT"
    ) -> None:
        super().__init__(folder, version, config, protocol=protocol)
        self.data = data

    def start(self) -> Self:
        """Starts it, and waits until its port answers."""
        port, _ = _free_ports()
        properties = self._folder / "server.properties"
        own = {"broker.id": "1", "listeners": f"{self._protocol}://127.0.0.1:{port}", "log.dirs": str(self.data)}
        properties.write_text("".join(f"{key}={value}\n" for key, value in (own | self._config).items()))
        return self._launch(properties, port)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
