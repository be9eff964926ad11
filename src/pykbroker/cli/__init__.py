"""The command `pykbroker`, one file a command; without the name of a command it starts a broker.

Exit status: 0 when all went well, 1 when the broker can't run here or a check found something, 2 for a bad option or
config value.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = ("start", "dump-log", "verify")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words and words[0] in COMMANDS else "start"
    if command == "dump-log":
        from pykbroker.cli import dump_log

        return dump_log.main(words)
    if command == "verify":
        from pykbroker.cli import verify

        return verify.main(words)
    from pykbroker.cli import start

    return start.main(words)
