"""A ZooKeeper of one's own: the server of Debian's package as a child process, for clusters on one machine and tests.

It listens on 127.0.0.1 unless it is told otherwise, and keeps its data where it is told to.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

SCRIPTS = ("/usr/share/zookeeper/bin/zkServer.sh", "/opt/zookeeper/bin/zkServer.sh")
START_SECONDS = 30.0
STOP_SECONDS = 10.0

_CONFIG = """tickTime={tick}
dataDir={data}
clientPort={port}
clientPortAddress={host}
admin.enableServer=false
4lw.commands.whitelist=srvr
maxClientCnxns=0
minSessionTimeout={tick}
maxSessionTimeout=60000
"""


class ZooKeeperError(Exception):
    """The server can't be started; one line for a person."""


def find_server() -> str | None:
    """The script that starts a ZooKeeper, if one is installed here."""
    found = next((one for one in SCRIPTS if Path(one).exists()), None) or shutil.which("zkServer.sh")
    return found if found and shutil.which("java") else None


class ZooKeeperServer:
    """`with ZooKeeperServer(folder) as zookeeper: zookeeper.address`. A tick is the shortest session, in milliseconds.

    Raises ZooKeeperError where none is installed or it doesn't come up.
    """

    def __init__(self, folder: str | Path, *, host: str = "127.0.0.1", port: int = 0, tick_ms: int = 500) -> None:
        self._folder = Path(folder)
        self.host = host
        self._tick_ms = tick_ms
        self.port = port or _free_port(host)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`HOST:PORT`, as `zookeeper.connect` takes it."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Starts it and waits until it answers."""
        script = find_server()
        if script is None:
            raise ZooKeeperError("no ZooKeeper is installed here: apt-get install zookeeper, or give an address")
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "zoo.cfg"
        config.write_text(
            _CONFIG.format(tick=self._tick_ms, data=self._folder / "data", host=self.host, port=self.port)
        )
        with open(self._folder / "zookeeper.log", "ab") as log:
            self._process = subprocess.Popen(
                [script, "start-foreground", str(config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "ZOO_LOG_DIR": str(self._folder), "SERVER_JVMFLAGS": "-Xmx256m"},
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ZooKeeperError(f"ZooKeeper did not start: see {self._folder / 'zookeeper.log'}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), 1) as connection:
                connection.sendall(b"srvr")
                return b"Zookeeper version" in connection.recv(200)
        except OSError:
            return False

    def stop(self) -> None:
        """Ends it, and waits."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sent in (number, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                pass
            try:
                process.wait(STOP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
