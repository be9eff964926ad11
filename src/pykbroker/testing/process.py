"""A broker as a process of its own, for tests that kill it: started as a person would, awaited by its ready line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pykbroker.config.properties import as_texts

STOP_SECONDS = 30.0


class BrokerProcess:
    """`pykbroker start` in a child process: `with BrokerProcess(data_dir=path) as broker: …`, and `broker.kill()`.

    Started again after `kill` or `stop`, it has the same port. What it logs goes to `stderr`, by default the caller's.
    Raises RuntimeError where it ends before it is ready; the last line that it wrote says why.
    """

    def __init__(
        self,
        *,
        data_dir: str | Path | None = None,
        port: int = 0,
        config: Mapping[str, Any] | None = None,
        stderr: int | IO[str] | None = None,
    ) -> None:
        self._arguments = ["--ephemeral"] if data_dir is None else ["--data-dir", str(data_dir)]
        for key, value in as_texts(config or {}).items():
            self._arguments += ["--override", f"{key}={value}"]
        self._stderr = stderr
        self._process: subprocess.Popen[str] | None = None
        self.host = ""
        self.port = port

    def start(self, extra: Sequence[str] = ()) -> Self:
        """Starts it and waits for its ready line. `extra` are options of `pykbroker start`, for this time."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pykbroker", "start", "--port", str(self.port), *self._arguments, *extra],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready "):
            self._process.stdout.close()
            raise RuntimeError(f"the broker ended with status {self._process.wait()} before it was ready")
        self.host, _, port = line.split()[1].rpartition(":")
        self.port = int(port)
        return self

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    @property
    def bootstrap_servers(self) -> str:
        """`HOST:PORT`, as clients take it."""
        return f"{self.host}:{self.port}"

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the broker has not been started")
        return self._process

    def kill(self) -> None:
        """kill -9: no farewell, no flush."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        return self._end(signal.SIGTERM)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.bootstrap_servers if self.host else 'not started'}>"

    def wait(self) -> int:
        """Its exit status, where it ends by itself."""
        return self._running.wait(STOP_SECONDS)

    def _end(self, number: signal.Signals) -> int:
        process = self._running
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        elif self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
