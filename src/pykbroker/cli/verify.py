"""`pykbroker verify`: checks data directories of one broker and says what is wrong in them, one line a finding."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pykbroker.cli.options import BAD_USAGE, Parser

WRONG = 1


def main(arguments: Sequence[str]) -> int:
    """Prints the findings; 0 when there is nothing that a start would not repair, 1 when there is."""
    from pykbroker.storage.verify import is_in_use, verify_directories

    options = parser().parse_args(arguments)
    for directory in options.directories:
        if not os.path.isdir(directory):
            print(f"pykbroker verify: {directory} is no directory", file=sys.stderr)
            return BAD_USAGE
        if is_in_use(directory):
            print(f"pykbroker verify: {directory} is in use; stop its broker first", file=sys.stderr)
            return BAD_USAGE
    wrong = repairable = 0
    try:
        for finding in verify_directories(options.directories, deep=options.deep_iteration):
            if finding.mends:
                repairable += 1
            else:
                wrong += 1
            print(finding)
    except OSError as error:
        print(f"pykbroker verify: {error.filename}: {error.strerror}", file=sys.stderr)
        return WRONG
    if not wrong:
        rest = f", but for {repairable} things that the next start repairs" if repairable else ""
        print(f"{', '.join(options.directories)}: as it must be{rest}")
    return WRONG if wrong else 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        prog="pykbroker verify",
        description="Check every invariant of a broker's data directories: ownership, checkpoints, batches with "
        "their checksums and offsets, indexes, producer snapshots, leader epochs. Nothing is changed. The exit status "
        "is 1 where something is wrong; each finding has the file, the byte, and what is wrong there.",
        allow_abbrev=False,
    )
    made.add_argument("directories", metavar="DIR", nargs="+", help="an entry of log.dirs; all of one broker's")
    made.add_argument("--deep-iteration", action="store_true", help="decode every record, too")
    return made
