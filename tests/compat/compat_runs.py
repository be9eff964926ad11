"""Runs clients' programs against a broker and keeps what they print; used by the tests and by the matrix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import install

SOURCES = Path(__file__).parents[2] / "src"
SECONDS_TO_START = 20
HASTE = tuple(
    word
    for config in (
        "group.consumer.min.heartbeat.interval.ms=300",
        "group.consumer.heartbeat.interval.ms=300",
        "group.share.min.heartbeat.interval.ms=300",
        "group.share.heartbeat.interval.ms=300",
        "group.share.min.record.lock.duration.ms=1000",
    )
    for word in ("--override", config)
)
"""Members of newer groups heartbeat as often as the broker tells them: Kafka's 5 s would be most of a run. Locks of
share groups last 15 s at least otherwise.
"""
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
"""So that there are ACLs, for users who never come."""
SECONDS_PER_CLIENT = 150
CLIENTS_AT_ONCE = 5
"""Each is a program with half a dozen behaviours under way: more would be a test of the machine."""
SECONDS_UNTIL_A_TURN = 1200


class ClientRun:
    """One client's program at work on some behaviours; answer() waits for one behaviour's line."""

    def __init__(self, client: str, bootstrap: str, behaviours: Sequence[str]) -> None:
        self.version = "?"
        self._client = client
        self._answers: dict[str, dict[str, Any]] = {}
        self._ended = False
        self._changed = threading.Condition()
        self._log = ""
        self._process = subprocess.Popen(
            [sys.executable, str(install.program(client)), bootstrap, unique_prefix(client), *behaviours],
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(install.folder(client)), str(install.SOURCES)]),
                "COMPAT_FOLDER": str(install.folder(client)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._threads = [threading.Thread(target=target) for target in (self._read, self._read_log)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._changed:
                self.version = answer["version"]
                self._answers[answer["behaviour"]] = answer
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        self._log = self._process.stderr.read()

    def answer(self, behaviour: str) -> dict[str, Any]:
        """The behaviour's line: `outcome`, or `error` with a traceback."""
        with self._changed:
            self._changed.wait_for(lambda: behaviour in self._answers or self._ended, SECONDS_PER_CLIENT)
            if behaviour in self._answers:
                return self._answers[behaviour]
        return {"behaviour": behaviour, "error": f"{self._client}'s program said nothing of it\n{self._log[-3000:]}"}

    def wait(self) -> None:
        self._process.wait()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def unique_prefix(client: str) -> str:
    """Topics and groups of a run have names that no other run on the same broker has."""
    return f"{client.replace('_', '-')}-{time.time_ns() // 1_000_000:x}"


class Runs:
    """The runs of all chosen clients, some side by side, begun when the first answer is asked for."""

    def __init__(self, bootstrap: str, cells: Sequence[tuple[str, str]], at_once: int = CLIENTS_AT_ONCE) -> None:
        self.missing: dict[str, str] = {}
        self._bootstrap = bootstrap
        self._cells = cells
        self._runs: dict[str, Future[ClientRun]] = {}
        self._turns = ThreadPoolExecutor(at_once)

    def start(self) -> None:
        """Install what isn't there, then start the clients' programs as their turns come."""
        behaviours: dict[str, list[str]] = {}
        for client, behaviour in self._cells:
            behaviours.setdefault(client, []).append(behaviour)
        for client in behaviours:
            try:
                install.install(client)
            except install.InstallError as reason:
                self.missing[client] = str(reason)
        for client, names in behaviours.items():
            if client not in self.missing:
                self._runs[client] = Future()
                self._turns.submit(self._run, client, names)

    def _run(self, client: str, behaviours: Sequence[str]) -> None:
        started = self._runs[client]
        if not started.set_running_or_notify_cancel():
            return
        try:
            run = ClientRun(client, self._bootstrap, behaviours)
        except OSError as error:
            started.set_exception(error)
        else:
            started.set_result(run)
            run.wait()

    def answer(self, client: str, behaviour: str) -> dict[str, Any]:
        return self._runs[client].result(SECONDS_UNTIL_A_TURN).answer(behaviour)

    def versions(self) -> Mapping[str, str]:
        return {client: started.result(SECONDS_UNTIL_A_TURN).version for client, started in self._runs.items()}

    def stop(self) -> None:
        for started in self._runs.values():
            if not started.cancel():
                started.result(SECONDS_UNTIL_A_TURN).stop()
        self._turns.shutdown()


@contextmanager
def broker_process(log: Path, config: Mapping[str, str] = AUTHORIZER) -> Iterator[str]:
    """pykbroker as a process of its own on a free port; gives its HOST:PORT once it says that it's ready."""
    options = [word for key, value in config.items() for word in ("--override", f"{key}={value}")]
    paths = [str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "pykbroker", "start", "--ephemeral", "--port", "0", *HASTE, *options],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        watchdog = threading.Timer(SECONDS_TO_START, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().split()
            watchdog.cancel()
            if not ready or ready[0] != "ready":
                errors.seek(0)
                raise RuntimeError(f"the broker didn't get ready: {errors.read()[-3000:]}")
            yield ready[1]
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
