"""`pykbroker start`: a broker with Kafka's config keys from a file, the environment and options.

Precedence: defaults < file < environment < --override < an option of its own. Whatever is wrong is told in one line.
"""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pykbroker.cli import INTERRUPTED
from pykbroker.cli.environment import config_of
from pykbroker.cli.options import BAD_USAGE, Parser
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.listeners import endpoint_text
from pykbroker.config.properties import BAD_ESCAPE, parse_properties

CANNOT_RUN = 1
_ELSEWHERE = "; choose another with --data-dir, or --ephemeral"

log = logging.getLogger("pykbroker")


class UsageError(Exception):
    """An option that can't be used; its text is one line."""


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Starts a broker and returns the exit status when it has stopped."""
    options = parser().parse_args(arguments)
    if options.version:
        print(f"pykbroker {_version()}")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = configure(options, environment)
    except (ConfigError, UsageError) as error:
        return _fail(error, BAD_USAGE)
    for line in config.warnings():
        log.warning("%s", line)
    if not options.ephemeral:
        directories = config.log_directories
        try:
            prepare_directories(directories)
        except UsageError as error:
            return _fail(error, CANNOT_RUN)
        log.info("data directory: %s", ", ".join(directories))
    return _run(config, options.ephemeral, users_of(options.user))


def users_of(texts: Sequence[str]) -> dict[str, str]:
    """Name → password of every `--user`; raises UsageError, which doesn't repeat what may be a password."""
    users: dict[str, str] = {}
    for text in texts:
        name, colon, password = text.partition(":")
        if not (colon and name and password):
            raise UsageError("--user: expected NAME:PASSWORD")
        users[name] = password
    return users


def configure(options: argparse.Namespace, environment: Mapping[str, str]) -> BrokerConfig:
    """The config that options and environment come to; raises ConfigError, UsageError."""
    properties: dict[str, str] = {}
    if options.config is not None:
        properties |= _read(options.config)
    properties |= config_of(environment)
    for text in options.override:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--override: {text!r}: expected KEY=VALUE")
        properties[key.strip()] = value.strip()
    if options.node_id is not None:
        properties.pop("broker.id", None)
        properties["node.id"] = str(options.node_id)
    if options.zookeeper is not None:
        properties["zookeeper.connect"] = options.zookeeper
    if options.data_dir is not None:
        properties["log.dirs"] = str(Path(options.data_dir).expanduser().absolute())
    elif not options.ephemeral and not properties.get("log.dirs") and not properties.get("log.dir"):
        properties["log.dirs"] = _default_directory()
    if options.host is not None or options.port is not None:
        properties["listeners"] = _moved(properties, options.host, options.port)
    if users_of(options.user):
        from pykbroker.security.sasl import PASSWORD_MECHANISMS

        properties = {"sasl.enabled.mechanisms": ",".join(PASSWORD_MECHANISMS)} | properties
        properties["listeners"] = _with_login(properties)
    return BrokerConfig.from_properties(properties)


def _with_login(properties: Mapping[str, str]) -> str:
    """The listeners, with a login where the first of them had none; one that is named otherwise keeps its name."""
    first, *others = BrokerConfig.from_properties(properties).broker_listeners
    if first.name in ("PLAINTEXT", "SSL"):
        first = first._replace(name=f"SASL_{first.name}")
    return ",".join(f"{one.name}://{endpoint_text(one.host, one.port)}" for one in (first, *others))


def _moved(properties: Mapping[str, str], host: str | None, port: int | None) -> str:
    """The listeners with another host or port for the first of them."""
    first, *others = BrokerConfig.from_properties(properties).broker_listeners
    if host is not None:
        first = first._replace(host=host.strip("[]"))
    if port is not None:
        first = first._replace(port=port)
    return ",".join(f"{one.name}://{endpoint_text(one.host, one.port)}" for one in (first, *others))


def prepare_directories(directories: Sequence[str]) -> None:
    """Makes the data directories where they are missing; raises UsageError where one can't be used."""
    for directory in directories:
        path = Path(directory)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"data directory {path}: {error.filename} is a file, not a directory") from None
        except OSError as error:
            raise UsageError(f"data directory {path} can't be made: {error.strerror}{_ELSEWHERE}") from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"data directory {path} can't be written: {os.strerror(errno.EACCES)}{_ELSEWHERE}")


def _run(config: BrokerConfig, ephemeral: bool, users: Mapping[str, str]) -> int:
    import trio

    from pykbroker import broker

    gc.freeze()
    gc.enable()

    async def serve() -> None:
        await broker.serve(config, ephemeral=ephemeral, users=users, on_ready=announce)

    try:
        trio.run(serve)
    except broker.BrokerError as error:
        return _fail(error, CANNOT_RUN)
    except BaseExceptionGroup as group:
        failed, others = group.split(broker.BrokerError)
        if failed is None or others is not None:
            raise
        return _fail(broker.first_error(failed), CANNOT_RUN)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def announce(host: str, port: int, node_id: int, cluster_id: str) -> None:
    """The one line on stdout that says the broker serves; a reader that has gone away is no error."""
    try:
        print(f"ready {endpoint_text(host, port)} node={node_id} cluster={cluster_id}", flush=True)
    except BrokenPipeError:
        pass


def _fail(error: BaseException, status: int) -> int:
    print(f"pykbroker: {error}", file=sys.stderr)
    return status


def _read(path: str) -> dict[str, str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--config {path}: is no text in UTF-8") from None
    try:
        return parse_properties(text)
    except ValueError as error:
        raise UsageError(f"--config {path}: {BAD_ESCAPE} ({error})") from None


def _default_directory() -> str:
    from platformdirs import user_data_dir

    return user_data_dir("pykbroker", appauthor=False)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pykbroker")
    except PackageNotFoundError:
        return "(not installed)"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 (a free port) to 65535")
    return int(text)


def _node_id(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        prog="pykbroker start",
        usage="pykbroker [start] [options]",
        description="Start a Kafka broker. When it serves it prints `ready HOST:PORT node=N cluster=ID`; "
        "SIGTERM or ctrl-c stops it, a second one at once.",
        epilog="Any config key can be set by an environment variable, too: KAFKA_LOG_RETENTION_MS for "
        "log.retention.ms. Options win over --override, that over the environment, that over the file.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--config", metavar="FILE", help="a server.properties")
    add("--override", metavar="KEY=VALUE", action="append", default=[], help="set a config key (may be repeated)")
    add("--host", help="the address to listen on (default 127.0.0.1)")
    add("--port", type=_port, help="the port to listen on (default 9092; 0 for a free one)")
    place = made.add_mutually_exclusive_group()
    place.add_argument(
        "--data-dir", metavar="DIR", help="where data is kept (default: a folder in your data directory)"
    )
    place.add_argument("--ephemeral", action="store_true", help="keep data in a temporary folder, gone at exit")
    add(
        "--user",
        metavar="NAME:PASSWORD",
        action="append",
        default=[],
        help="let this user log in with PLAIN or SCRAM, and nobody without (may be repeated)",
    )
    add("--node-id", metavar="N", type=_node_id, help="this broker's id (default 1)")
    add("--zookeeper", metavar="HOST:PORT[,…][/CHROOT]", help="join the cluster that is kept there")
    add("--version", action="store_true", help="print the version and exit")
    return made
