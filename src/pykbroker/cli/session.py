"""Runs a verb against a cluster: connects, prints the report, and turns whatever went wrong into a line and a status.

Exit status: 0; 1 for an error, with one line on stderr that says what to do next; 2 for bad usage; 130 after ctrl-c.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pykbroker.cli import INTERRUPTED
from pykbroker.cli.options import BAD_USAGE, Parser, UsageError, settings, verb_first

FAILED = 1


def main(parser: Parser, arguments: Sequence[str]) -> int:
    """Parses the words of a command and runs its verb; returns the exit status."""
    options, unknown = parser.parse_known_args(verb_first(arguments))
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    program = parser.prog
    try:
        return _run(program, options)
    except UsageError as error:
        print(f"{options.parser.prog}: {error} (see {options.parser.prog} --help)", file=sys.stderr)
        return BAD_USAGE
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(program: str, options: argparse.Namespace) -> int:
    import trio

    from pykbroker.cli import advice
    from pykbroker.cli.output import Report
    from pykbroker.client.cluster import Cluster
    from pykbroker.client.errors import BadSettings, ClientError
    from pykbroker.client.nursery import leaves
    from pykbroker.protocol.errors import KafkaError

    try:
        chosen = settings(options)
    except BadSettings as error:
        raise UsageError(str(error)) from None

    async def answer() -> Report:
        async with Cluster(chosen) as cluster:
            report: Report = await options.run(cluster, options)
            return report

    try:
        report = trio.run(answer)
    except (ClientError, KafkaError) as error:
        return _fail(program, advice.of_failure(error, chosen))
    except BaseExceptionGroup as group:
        first = next(leaves(group))
        if isinstance(first, (ClientError, KafkaError)):
            return _fail(program, advice.of_failure(first, chosen))
        raise first from None
    report.write(options.json, sys.stdout)
    for line in report.notes:
        print(line, file=sys.stderr)
    for name, failed in report.failures:
        _fail(program, f"{name}: {advice.of_error(failed)}")
    return FAILED if report.failures else 0


def _fail(program: str, text: str) -> int:
    sys.stdout.flush()
    print(f"{program}: {' '.join(text.split())}", file=sys.stderr)
    return FAILED
