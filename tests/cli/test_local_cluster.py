"""`pykbroker cluster --brokers N`: processes that serve together and end together."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from pykbroker.cli import local_cluster, start
from pykbroker.metadata.zookeeper_server import ZooKeeperError, find_server


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pykbroker", "cluster", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def lines_until_ready(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("cluster ready "):
            break
    return lines


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(find_server() is None, reason="no ZooKeeper is installed")
def test_a_zookeeper_of_its_own_and_a_clean_stop_of_all(tmp_path: Path) -> None:
    with started("--brokers=2", "--port", "0", "--data-dir", str(tmp_path)) as process:
        zookeeper, first, second, ready = lines_until_ready(process)
        assert zookeeper.startswith("zookeeper ready 127.0.0.1:")
        assert [line.split()[2] for line in (first, second)] == ["node=1", "node=2"]
        assert first.split()[3] == second.split()[3], "one cluster"
        errors: list[object] = []
        producer = Producer({"bootstrap.servers": ready.split()[2], "acks": "all"})
        producer.produce("made-by-itself", "v", on_delivery=lambda error, message: errors.append(error))
        producer.flush(30)
        assert errors == [None]
        del producer
        below = children(process.pid)
        assert len(below) == 3
        assert process.stderr is not None
        os.kill(int(second.rpartition("pid=")[2]), signal.SIGKILL)
        said = next(line for line in process.stderr if line.startswith("pykbroker: "))
        assert said.startswith("pykbroker: broker 2 was killed by signal 9; start it again with: pykbroker start ")
        words = shlex.split(said.partition("again with: pykbroker ")[2])
        again = start.parser().parse_args(words[1:])
        assert (again.node_id, again.data_dir) == (2, str(tmp_path / "broker-2"))
        assert second.split()[1] == f"127.0.0.1:{again.port}"
        os.kill(process.pid, signal.SIGINT)
        _, logs = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in logs
        assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
    stopped = [(tmp_path / f"broker-{number}" / ".kafka_cleanshutdown").exists() for number in (1, 2)]
    assert stopped == [True, False], "one stopped cleanly, one was killed"


@pytest.mark.slow
def test_a_broker_that_cannot_start_ends_the_others(zookeeper_chroot: str, tmp_path: Path) -> None:
    began = time.monotonic()
    words = ("--brokers", "2", "--port", "0", "--zookeeper", zookeeper_chroot, "--data-dir", str(tmp_path))
    (tmp_path / "broker-2").write_text("a file where a folder should be")
    with started(*words) as process:
        _, logs = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{tmp_path / 'broker-2'} is a file, not a directory" in logs
    assert time.monotonic() - began < 60


def test_without_a_zookeeper(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Missing:
        def __init__(self, *_: object, **__: object) -> None:
            raise ZooKeeperError("no ZooKeeper is installed")

    monkeypatch.setattr(local_cluster, "ZooKeeperServer", Missing)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert local_cluster.main(["--brokers", "3"]) == 2
    assert capsys.readouterr().err == "pykbroker: no ZooKeeper is installed\n"


@pytest.mark.parametrize("count", ["0", "101", "many"])
def test_how_many(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        local_cluster.parser().parse_args(["--brokers", count])
    assert f"{count!r}: expected a number from 1 to 100" in capsys.readouterr().err
