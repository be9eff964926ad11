"""The command `pykbroker`, one file a command; without the name of a command it starts a broker.

Exit status: 0 when all went well, 1 when the broker can't run here, a check found something, or a cluster answered with
an error, 2 for a bad option or config value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "start": "start a broker",
    "completion": "print what makes a shell complete this command line",
    "topics": "topics: list, describe, create, alter, delete",
    "produce": "send records",
    "consume": "print records",
    "dump-log": "print the files of a partition",
    "verify": "check data directories",
}
"""Each has a module of its name, with `parser()`, and `main(arguments)` where it doesn't talk to a cluster."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    if "_ARGCOMPLETE" in os.environ:
        from pykbroker.cli.completion import complete

        return complete()
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and words[0] in COMMANDS else "start"
    module = import_module(f"pykbroker.cli.{name.replace('-', '_')}")
    if hasattr(module, "main"):
        status: int = module.main(words)
        return status
    from pykbroker.cli import session

    return session.main(module.parser(), words)
