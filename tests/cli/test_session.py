"""What goes wrong on the way to a cluster: one line that says what to do next."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.cli.conftest import Command

from pykbroker.testing import KafkaBroker


def test_no_broker_there(run: Command) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert run("topics", "list", "--bootstrap", address) == (
            1,
            "",
            f"pykbroker topics: no broker answers at {address} (connection refused); start one with `pykbroker start`, "
            "or say where it is with --bootstrap HOST:PORT\n",
        )
        ran = run("topics", "list", "--bootstrap", f"{address},{address}")
        assert f"no broker answers at {address},{address} (none of them does); start one" in ran.err


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[bytes]]]:
    """Something on a port that is no Kafka; what it says is the list's."""
    said: list[bytes] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            try:
                while True:
                    with listener.accept()[0] as peer:
                        peer.recv(1000)
                        peer.sendall(b"".join(said))
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", said
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_something_that_is_no_kafka(run: Command, stranger: tuple[str, list[bytes]]) -> None:
    address, said = stranger
    said.append(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ran = run("topics", "list", "--bootstrap", address)
    assert ran.err == (
        f"pykbroker topics: {address} speaks no Kafka: an answer of 1213486160 bytes; "
        "the listener may want --tls or --user\n"
    )


def test_something_that_closes(run: Command, stranger: tuple[str, list[bytes]]) -> None:
    address, _ = stranger
    ran = run("topics", "list", "--bootstrap", address)
    assert ran.err == (
        f"pykbroker topics: {address} closes a new connection without an answer; "
        "the listener may want --tls or --user\n"
    )
    ran = run("topics", "list", "--bootstrap", address, "--tls")
    assert "; check --ca, or leave --tls away where the listener has none\n" in ran.err
    ran = run("topics", "list", "--bootstrap", address, "--tls", "--ca", "/nowhere.pem")
    assert ran.err.startswith("pykbroker topics: /nowhere.pem: no such file; check --ca")


def test_a_file_with_kafkas_client_keys(run: Command, broker: KafkaBroker, tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "client.properties")
    with open(file, "w", encoding="utf-8") as out:
        out.write(f"bootstrap.servers={broker.bootstrap_servers}\nsecurity.protocol=PLAINTEXT\n")
    assert run("topics", "list", "--command-config", file).status == 0
    with open(file, "a", encoding="utf-8") as out:
        out.write("security.protocol=KERBEROS\n")
    ran = run("topics", "list", "--command-config", file)
    assert (ran.status, "security.protocol 'KERBEROS': expected one of PLAINTEXT" in ran.err) == (2, True)
    with open(file, "a", encoding="utf-8") as out:
        out.write("ssl.truststore.location=C:\\users\\ca.pem\n")
    ran = run("topics", "list", "--command-config", file)
    assert (ran.status, "a \\u escape needs four hexadecimal digits" in ran.err) == (2, True)


def process(*words: str, bootstrap: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pykbroker", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYKBROKER_BOOTSTRAP": bootstrap},
    )


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(pykbroker: Command, broker: KafkaBroker) -> None:
    pykbroker("topics", "create", "long")
    pykbroker("produce", "long", stdin=b"x" * 500 + b"\n" + b"y" * 200_000 + b"\n")
    with process("consume", "long", bootstrap=broker.bootstrap_servers) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.read(10)
        reader.stdout.close()
        assert (reader.wait(30), reader.stderr.read()) == (0, b"")


@pytest.mark.slow
def test_ctrl_c(pykbroker: Command, broker: KafkaBroker) -> None:
    pykbroker("topics", "create", "endless")
    pykbroker("produce", "endless", "--value", "first")
    words = ("consume", "endless", "--follow", "--group", "interrupted")
    with process(*words, bootstrap=broker.bootstrap_servers) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == b"first\n"
        reader.send_signal(signal.SIGINT)
        assert (reader.wait(30), reader.stdout.read(), reader.stderr.read()) == (130, b"", b"")
    # It has left its group, with what it read committed: the next one waits for nobody.
    assert pykbroker("consume", "endless", "--group", "interrupted") == (0, "", "")
