"""The command `pykbroker`, one file a command; without the name of a command it starts a broker.

Exit status: 0 after a clean stop, 1 when the broker can't run here, 2 for a bad option or config value.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = ("start",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        words.pop(0)
    from pykbroker.cli import start

    return start.main(words)
