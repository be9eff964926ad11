"""A real broker for tests: in a thread of the caller's process, or in a trio program's own loop.

It listens on a free port of 127.0.0.1 and keeps its data in a temporary folder, gone at the end, unless told otherwise.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from pykbroker.broker import Broker, Ready, StartupError, first_error
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listeners import endpoint_text
from pykbroker.config.properties import as_texts
from pykbroker.security.sasl import PASSWORD_MECHANISMS

if TYPE_CHECKING:
    from pykbroker.server.telemetry import ClientMetrics
    from pykbroker.testing.certificates import Certificates

STOP_SECONDS = 30.0


def _config(
    data_dir: str | Path | None,
    port: int,
    config: Mapping[str, Any] | None,
    users: Mapping[str, str] | None = None,
    tls: Certificates | None = None,
) -> BrokerConfig:
    protocol = ("SASL_" if users else "") + ("SSL" if tls is not None else "PLAINTEXT")
    properties = {"listeners": f"{protocol}://127.0.0.1:{port}"}
    if users:
        properties["sasl.enabled.mechanisms"] = ",".join(PASSWORD_MECHANISMS)
    if tls is not None:
        properties |= tls.properties()
    if data_dir is not None:
        properties["log.dirs"] = str(data_dir)
    properties.update(as_texts(config or {}))
    return checked(BrokerConfig.from_properties(properties))


def _keeps(config: BrokerConfig) -> bool:
    """Whether it names a directory, in which its data stays."""
    return config.is_set("log.dirs") or config.is_set("log.dir")


def checked(config: BrokerConfig) -> BrokerConfig:
    """The same config; warns of names that no broker knows: a test with a misspelt key would run without it."""
    for line in config.warnings():
        warnings.warn(line, stacklevel=2)
    return config


def on_port(config: BrokerConfig, port: int) -> BrokerConfig:
    """The same config with the port that was free for its first listener, for a broker that is started again."""
    first, *others = config.broker_listeners
    listeners = (first._replace(port=port), *others)
    texts = ",".join(f"{one.name}://{endpoint_text(one.host, one.port)}" for one in listeners)
    return config.with_properties({"listeners": texts})


def _certificates() -> Certificates:
    try:
        from pykbroker.testing.certificates import make_certificates

        return make_certificates()
    except ModuleNotFoundError as error:
        raise StartupError(f"tls=True needs {error.name}: pip install {error.name}") from None


class _Reachable:
    """Where a broker is, once it runs."""

    _ready: Ready | None = None
    _tls: Certificates | None = None

    def __repr__(self) -> str:
        where = "not started" if self._ready is None else self.bootstrap_servers
        return f"<{type(self).__name__} {where}>"

    @property
    def ready(self) -> Ready:
        """Host, port, node id, cluster id and data folder of the running broker."""
        if self._ready is None:
            raise StartupError("the broker has not been started")
        return self._ready

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.ready.host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.ready.port

    @property
    def bootstrap_servers(self) -> str:
        """`HOST:PORT`, as clients take it."""
        return endpoint_text(self.host, self.port)

    @property
    def data_dir(self) -> str:
        """The folder with its data."""
        return self.ready.data_dir

    @property
    def tls(self) -> Certificates:
        """The files of the throwaway CA; raises StartupError where there is none."""
        if self._tls is None:
            raise StartupError("the broker was made without tls=True")
        return self._tls


class KafkaBroker(_Reachable):
    """A broker in a thread: `with KafkaBroker() as broker: KafkaProducer(bootstrap_servers=broker.bootstrap_servers)`.

    `data_dir` keeps the data there, for a broker that is started again; `port` 0 takes a free one, and every later
    `start` the same; `config` holds Kafka's own keys (`{"auto.create.topics.enable": False}`). `users` (name →
    password) has clients log in with PLAIN or SCRAM; `tls=True` makes a throwaway CA, whose files are at `broker.tls`
    (needs trustme: the extra `tls`). `telemetry=True` asks clients for the metrics that `client-metrics` configs name;
    the newest 1,000 pushes are in `broker.telemetry`. Raises StartupError where the broker can't start.
    """

    def __init__(
        self,
        *,
        data_dir: str | Path | None = None,
        port: int = 0,
        config: Mapping[str, Any] | None = None,
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        telemetry: bool = False,
    ) -> None:
        self._tls = _certificates() if tls else None
        self._users = users
        self.telemetry: deque[ClientMetrics] = deque(maxlen=1000)
        self._receiver = self.telemetry.append if telemetry else None
        self._config = _config(data_dir, port, config, users, self._tls)
        self._ephemeral = not _keeps(self._config)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._broker: Broker | None = None

    def start(self) -> Self:
        """Returns when the broker serves. Started again, it has its port again, so that clients find it.

        Raises StartupError where it can't start, or runs already.
        """
        if self._thread is not None and self._thread.is_alive():
            raise StartupError("the broker runs already")
        started = threading.Event()
        self._failure = None
        if self._ready is not None:
            self._config = on_port(self._config, self._ready.port)
        self._thread = threading.Thread(target=self._run, args=(started,), name="pykbroker", daemon=True)
        self._thread.start()
        started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Stops the broker as SIGTERM would, and waits for it. A broker that isn't running is left alone."""
        self._end(lambda broker: broker.stop())

    def kill(self) -> None:
        """Ends the broker as kill -9 would: no farewell, no flush. `start` has it recover what is in its `data_dir`."""
        self._end(lambda broker: broker.kill())

    def _end(self, how: Callable[[Broker], None]) -> None:
        if self._thread is None:
            return
        if self._broker is not None and self._token is not None:
            try:
                self._token.run_sync_soon(how, self._broker)
            except trio.RunFinishedError:
                pass  # It has ended by itself; the failure, if any, is raised below.
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"the broker did not stop within {STOP_SECONDS:.0f} s")
        self._thread = None
        if self._failure is not None:
            raise self._failure

    def run_retention(self) -> None:
        """Looks at retention now; what `file.delete.delay.ms` doesn't keep is gone when this returns."""
        if self._broker is not None:
            trio.from_thread.run(self._broker.run_retention, trio_token=self._token)

    def run_compaction(self) -> None:
        """Compacts now what is due."""
        if self._broker is not None:
            trio.from_thread.run(self._broker.run_compaction, trio_token=self._token)

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            broker = Broker(self._config, ephemeral=self._ephemeral, users=self._users, telemetry=self._receiver)
            self._token = trio.lowlevel.current_trio_token()
            self._broker = broker

            def ready(ready: Ready) -> None:
                self._ready = ready
                started.set()

            await broker.serve(ready)

        try:
            trio.run(main)
        except BaseException as error:  # The caller's, to be raised in the caller's thread.
            self._failure = error
        finally:
            started.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class AsyncKafkaBroker(_Reachable):
    """A broker in the caller's own trio loop, as `open_kafka_broker` yields it."""

    def __init__(self, broker: Broker, ready: Ready, tls: Certificates | None = None) -> None:
        self.broker = broker
        self._ready = ready
        self._tls = tls


@asynccontextmanager
async def bare_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery whose body's own error comes out as it is, in no group: what fails in a test is what it says."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_kafka_broker(
    *,
    data_dir: str | Path | None = None,
    port: int = 0,
    config: Mapping[str, Any] | None = None,
    users: Mapping[str, str] | None = None,
    tls: bool = False,
) -> AsyncIterator[AsyncKafkaBroker]:
    """The same broker for trio programs: `async with open_kafka_broker() as broker: …`; arguments as KafkaBroker's.

    Raises StartupError where the broker can't start.
    """
    certificates = _certificates() if tls else None
    made = _config(data_dir, port, config, users, certificates)
    broker = Broker(made, ephemeral=not _keeps(made), users=users)
    try:
        async with bare_nursery() as nursery:
            ready: Ready = await nursery.start(broker.serve)
            try:
                yield AsyncKafkaBroker(broker, ready, certificates)
            finally:
                broker.stop()
    except* StartupError as failed:
        raise first_error(failed) from None
