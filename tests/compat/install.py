"""Install the clients of the behaviour table, each into its own folder under .compat/ (kcat: from the distribution).

`python tests/compat/install.py [CLIENT…]` installs what is missing and says what can't be had and why; it is quick
when everything is there. A marker in each folder names what was installed, so that a changed pin installs again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".compat"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

REQUIREMENTS = {
    "kafka_python_3": ["kafka-python>=3.0.9,<3.1", "lz4", "python-snappy", "zstandard"],
    # six stands in for the copy that 2.0.2 carries, which Python 3.12 and newer can't import.
    "kafka_python_2": ["kafka-python==2.0.2", "six", "lz4", "python-snappy", "zstandard"],
    "confluent_kafka": ["confluent-kafka>=2.16"],
    "aiokafka": ["aiokafka>=0.12", "cramjam"],
}
JAVA = {"java_4": "4.3.0", "java_3_9": "3.9.1", "java_2_0": "2.0.1", "java_1_0": "1.0.2"}
"""Versions of Apache Kafka's own client, from Maven."""
STREAMS = ("java_4", "java_3_9")
"""Those that Kafka Streams comes with: exactly_once_v2 is of 3.0."""
GO = {"franz_go": "franz", "sarama": "sarama", "kafka_go": "segmentio"}
"""Go clients, and their bridges' folders in clients/go: go.mod names the versions."""
CLIENTS = [*REQUIREMENTS, "kcat", *JAVA, *GO, "kafkajs", "rdkafka"]
SOURCES = Path(__file__).parent / "clients"
MINUTES_TO_INSTALL = 10

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>jars</groupId><artifactId>jars</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>{version}</version></dependency>
<dependency><groupId>com.fasterxml.jackson.core</groupId><artifactId>jackson-databind</artifactId>
<version>2.17.2</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
{more}</dependencies></project>
"""
_STREAMS = """<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId>
<version>{version}</version></dependency>
"""


class InstallError(Exception):
    """A client that can't be had on this machine; str() says why."""


def folder(client: str) -> Path:
    """Where a client is installed: for a Python one what PYTHONPATH has to name."""
    return ROOT / (f"{client}-py{PYTHON}" if client in REQUIREMENTS else client)


def program(client: str) -> Path:
    """The client's program, which takes a bootstrap address and the names of behaviours."""
    source = "java" if client in JAVA else "go" if client in GO else client
    return SOURCES / source / "client.py"


def install(client: str) -> None:
    """Install one client if it isn't there; InstallError with the reason."""
    if client == "kcat":
        install_kcat()
    elif client in JAVA:
        install_java(client)
    elif client in GO:
        install_go(client)
    elif client == "kafkajs":
        install_kafkajs()
    elif client == "rdkafka":
        install_rust()
    else:
        install_python(client)


def install_python(client: str) -> None:
    target, wanted = folder(client), "\n".join(REQUIREMENTS[client])
    marker = target / "installed.txt"
    if marker.exists() and marker.read_text() == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    done = subprocess.run([*command, *REQUIREMENTS[client]], capture_output=True, text=True)
    if done.returncode:
        raise InstallError(f"pip install {' '.join(REQUIREMENTS[client])}: {last_line(done.stderr)}")
    marker.write_text(wanted)


def install_kcat() -> None:
    if shutil.which("kcat"):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise InstallError("kcat isn't on the path, and only root can install it with apt-get")
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "kcat"]):
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode and command[1] == "install":
            raise InstallError(f"{' '.join(command)}: {last_line(done.stderr)}")


def install_java(client: str) -> None:
    """Apache Kafka's client of one version, and the bridge compiled against it."""
    target, version = folder(client), JAVA[client]
    java = SOURCES / "java"
    sources = [
        java / "Bridge.java",
        java / "Transactional.java",
        (java / "before_2_0" if version < "2" else java) / "Groups.java",
        *([java / "Operations.java"] if version > "3" else ()),
        *([java / "Sharing.java"] if version > "4" else ()),
    ]
    more = ""
    if client in STREAMS:
        sources.append(SOURCES / "kafka_streams" / "WordCount.java")
        more = _STREAMS.format(version=version)
    wanted = "\n".join([version, more, *(source.read_text() for source in sources)])
    marker = target / "installed.txt"
    if marker.exists() and marker.read_text() == wanted:
        return
    for command in ("java", "javac", "mvn"):
        if shutil.which(command) is None:
            raise InstallError(f"there is no {command}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pom = target / "pom.xml"
    pom.write_text(_POM.format(version=version, more=more))
    checked("mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}")
    checked("javac", "-nowarn", "-cp", f"{target}/*", "-d", str(target), *map(str, sources))
    marker.write_text(wanted)


def install_go(client: str) -> None:
    """Go's own cache knows what is built already."""
    if shutil.which("go") is None:
        raise InstallError("there is no go")
    checked("go", "build", "-C", str(SOURCES / "go"), "-o", str(folder(client) / "bridge"), f"./{GO[client]}")


def install_kafkajs() -> None:
    """The packages that package.json names, and the bridge beside them."""
    if shutil.which("npm") is None:
        raise InstallError("there is no npm")
    source, target = SOURCES / "kafkajs", folder("kafkajs")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "bridge.js", target)
    wanted, marker = (source / "package.json").read_text(), target / "package.json"
    if marker.exists() and marker.read_text() == wanted:
        return
    marker.write_text(wanted)
    try:
        checked("npm", "install", "--prefix", str(target), "--no-audit", "--no-fund", "--ignore-scripts")
    except InstallError:
        marker.unlink()
        raise


def install_rust() -> None:
    """Cargo knows what is built already; Cargo.lock names the versions."""
    if shutil.which("cargo") is None:
        raise InstallError("there is no cargo")
    manifest, target = SOURCES / "rdkafka" / "Cargo.toml", folder("rdkafka") / "target"
    checked("cargo", "build", "--quiet", "--locked", "--manifest-path", str(manifest), "--target-dir", str(target))


def checked(*command: str) -> None:
    """Runs one step of an installation; InstallError with what it said last."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES_TO_INSTALL)
    except subprocess.TimeoutExpired as late:
        raise InstallError(f"{command[0]}: no end after {MINUTES_TO_INSTALL} minutes") from late
    if done.returncode:
        raise InstallError(f"{' '.join(command[:2])}: {last_line(done.stderr or done.stdout)}")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def main() -> int:
    missing = 0
    for client in sys.argv[1:] or CLIENTS:
        try:
            install(client)
        except InstallError as reason:
            missing += 1
            print(f"{client}: {reason}")
        else:
            print(f"{client}: installed")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
