"""The command `pykbroker`, one file a command; without the name of a command it starts a broker.

Exit status: 0 when all went well, 1 when the broker can't run here, a check found something, or a cluster answered with
an error, 2 for a bad option or config value, 130 after ctrl-c.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "start": "start a broker",
    "topics": "list, describe, create, alter and delete topics",
    "produce": "send records",
    "consume": "print records",
    "groups": "list, describe, reset and delete consumer, share and streams groups",
    "offsets": "show where partitions begin and end",
    "configs": "list, describe and alter configs",
    "acls": "list, add and remove access rules",
    "users": "list, add and delete users with SCRAM passwords",
    "tokens": "list, create, renew and expire delegation tokens",
    "quotas": "describe and alter quotas",
    "cluster": "show brokers and controllers; start a cluster on this machine",
    "log-dirs": "describe data directories",
    "delete-records": "delete records up to an offset",
    "reassign": "move partitions to other brokers",
    "elect-leaders": "elect preferred leaders",
    "transactions": "list, describe and end transactions",
    "features": "describe, upgrade and downgrade features",
    "api-versions": "show what brokers serve",
    "dump-log": "print the files of a partition",
    "verify": "check data directories",
    "completion": "print what makes a shell complete this command line",
}
"""Each has a module of its name, with `parser()`, and `main(arguments)` where it doesn't talk to a cluster."""


INTERRUPTED = 130
HELP = ("--help", "-h", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # While modules are imported; later every command has its own way to end.
        return INTERRUPTED


def _start(words: list[str]) -> int:
    gc.disable()  # Until all is imported: modules are no garbage, looking for some takes a twentieth of the start.
    try:
        from pykbroker.cli import start

        return start.main(words)
    finally:
        gc.enable()


def _main(words: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from pykbroker.cli.completion import complete

        return complete()
    if words and words[0] in HELP:
        try:
            print(overview(), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        print(f"pykbroker: there is no command {words[0]!r}{_like(words[0])} (see pykbroker --help)", file=sys.stderr)
        return 2
    if words and words[0].startswith("-"):
        from pykbroker.cli.options import verb_first

        moved = verb_first(words)
        words = moved if moved[0] in COMMANDS else words
    name = words.pop(0) if words and words[0] in COMMANDS else "start"
    if name == "start":
        return _start(words)
    module = import_module(f"pykbroker.cli.{name.replace('-', '_')}")
    if hasattr(module, "main"):
        status: int = module.main(words)
        return status
    from pykbroker.cli import session

    return session.main(module.parser(), words)


def overview() -> str:
    """What there is, a command a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}   {description}" for name, description in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pykbroker [COMMAND] [options]",
            "",
            "A Kafka broker, and a command line for any Kafka cluster. Without a command it starts a broker.",
            "",
            *lines,
            "",
            "`pykbroker COMMAND --help` says more.",
        ]
    )


def _like(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, COMMANDS, n=1)
    return f": did you mean {close[0]}?" if close else ""
