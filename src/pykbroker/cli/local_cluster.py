"""`pykbroker cluster --brokers 3`: the brokers of a cluster on this machine, a process each, on a ZooKeeper.

Without an address it starts a ZooKeeper of its own, where the package is installed. It ends when it is told to, and has
the brokers end first, one after the other, so that each can hand its leaderships over.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pykbroker.cli.options import BAD_USAGE, Parser
from pykbroker.metadata.zookeeper_server import ZooKeeperError, ZooKeeperServer
from pykbroker.server.signals import stopping_signals

FAILED = 1
STOP_SECONDS = 30.0
FIRST_PORT = 9092


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="pykbroker cluster",
        usage="pykbroker cluster --brokers N [options]",
        description="Start a cluster on this machine. For each broker it prints `ready HOST:PORT node=N cluster=ID "
        "pid=P`, and `cluster ready HOST:PORT,…` when all serve; SIGTERM or ctrl-c stops it. For a broker that is "
        "killed it prints the command that starts it again.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--brokers", metavar="N", type=_positive, default=3, help="how many (default 3)")
    add("--port", metavar="PORT", type=int, default=FIRST_PORT, help="the first one's port; 0 takes free ones")
    add("--zookeeper", metavar="HOST:PORT[,…][/CHROOT]", help="a ZooKeeper that is there (default: one of its own)")
    add("--data-dir", metavar="DIR", help="where data is kept (default: a temporary folder, gone at exit)")
    add("--override", metavar="KEY=VALUE", action="append", default=[], help="set a config key of all brokers")
    return made


def main(arguments: Sequence[str]) -> int:
    """Runs the cluster; returns the exit status when it has ended."""
    options = parser().parse_args(arguments)
    for number in stopping_signals():
        signal.signal(number, _interrupt)
    try:
        with _folder(options.data_dir) as folder, _zookeeper(options.zookeeper, folder) as address:
            return _run(options, folder, address)
    except ZooKeeperError as error:
        print(f"pykbroker: {error}", file=sys.stderr)
        return FAILED if options.zookeeper else BAD_USAGE
    except KeyboardInterrupt:
        return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 to 100")
    return int(text)


@contextmanager
def _folder(data_dir: str | None) -> Iterator[Path]:
    if data_dir is not None:
        path = Path(data_dir).expanduser().absolute()
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pykbroker-cluster-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


@contextmanager
def _zookeeper(address: str | None, folder: Path) -> Iterator[str]:
    if address is not None:
        yield address
        return
    with ZooKeeperServer(folder / "zookeeper", tick_ms=2000) as server:
        print(f"zookeeper ready {server.address}", flush=True)
        yield server.address


def _run(options: argparse.Namespace, folder: Path, address: str) -> int:
    commands = [_command(options, number, folder, address) for number in range(1, options.brokers + 1)]
    brokers = [_start(command) for command in commands]
    try:
        addresses = [_ready(broker) for broker in brokers]
        if None in addresses:
            return FAILED
        print("cluster ready " + ",".join(map(str, addresses)), flush=True)
        running = {broker.pid: number for number, broker in enumerate(brokers)}
        while running:
            pid, status = os.wait()
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            if (number := running.pop(pid, None)) is None:
                print(f"pykbroker: ZooKeeper {how}", file=sys.stderr)
                continue
            brokers[number].returncode = code
            again = _on_port(commands[number], str(addresses[number]))
            print(f"pykbroker: broker {number + 1} {how}; start it again with: {again}", file=sys.stderr)
        return FAILED
    except ChildProcessError:
        return FAILED
    finally:
        for broker in reversed(brokers):
            _stop(broker)


def _command(options: argparse.Namespace, number: int, folder: Path, address: str) -> list[str]:
    port = options.port + number - 1 if options.port else 0
    command = [sys.executable, "-m", "pykbroker", "start", "--node-id", str(number), "--port", str(port)]
    command += ["--zookeeper", address, "--data-dir", str(folder / f"broker-{number}")]
    for text in ("default.replication.factor=" + str(min(3, options.brokers)), *options.override):
        command += ["--override", text]
    return command


def _on_port(command: Sequence[str], address: str) -> str:
    """What a person types to have the broker again, on the port that it had."""
    words = ["pykbroker", *command[command.index("start") :]]
    words[words.index("--port") + 1] = address.rpartition(":")[2]
    return shlex.join(words)


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    # A ctrl-c at the terminal is for this process, which stops the brokers in turn.
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _ready(broker: subprocess.Popen[str]) -> str | None:
    """Its address, once it serves; None where it ends before."""
    assert broker.stdout is not None
    line = broker.stdout.readline().rstrip()
    if not line.startswith("ready "):
        return None
    print(f"{line} pid={broker.pid}", flush=True)
    return line.split()[1]


def _stop(broker: subprocess.Popen[str]) -> None:
    if broker.poll() is None:
        broker.terminate()
    try:
        broker.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        broker.kill()
        broker.wait()
    if broker.stdout is not None:
        broker.stdout.close()
