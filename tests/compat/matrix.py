"""`python tests/compat/matrix.py [--bootstrap HOST:PORT]`: run the behaviour table and print it in Markdown.

With `--write FILE` it takes the place of the table that stands in that file, between its two marks.

Needs no pytest. Exit status 1 when a cell isn't as expected; the reasons go to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from compat_runs import CLIENTS_AT_ONCE, Runs, broker_process
from compat_table import CLIENTS, TABLE, UNSUPPORTED, cells, expected, told

BEGIN, END = "<!-- the table: made by `make compat` -->", "<!-- end of the table -->"
YES, NO, NOT_OFFERED, NOT_INSTALLED = "✓", "✗", "–", "?"


def mark(runs: Runs, client: str, behaviour: str) -> str:
    """One cell; what went wrong with it is said on stderr."""
    if (client, behaviour) in UNSUPPORTED:
        return NOT_OFFERED
    if client in runs.missing:
        return NOT_INSTALLED
    answer = runs.answer(client, behaviour)
    if "error" not in answer and told(client, behaviour, answer["outcome"]) == expected(client, behaviour):
        return YES
    print(f"{client} {behaviour}: {answer.get('error', answer.get('outcome'))}", file=sys.stderr)
    return NO


def markdown(runs: Runs) -> str:
    """The matrix: a row for each behaviour, a column for each client with its version."""
    marks = {(client, behaviour): mark(runs, client, behaviour) for behaviour in TABLE for client in CLIENTS}
    versions = runs.versions()
    heads = [heading(client, versions.get(client)) for client in CLIENTS]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + ":-:|" * len(heads)]
    for behaviour, row in TABLE.items():
        lines.append(f"| {row.title} | " + " | ".join(marks[client, behaviour] for client in CLIENTS) + " |")
    notes = [f"{NOT_OFFERED}: the client doesn't offer it."]
    notes += [f"{NOT_INSTALLED}: {CLIENTS[client]}: {reason}." for client, reason in runs.missing.items()]
    return "\n".join([*lines, "", *notes])


def heading(client: str, version: str | None) -> str:
    name = CLIENTS[client].split()[0]
    return f"{name} {version}" if version else CLIENTS[client]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="another broker than a pykbroker started for it")
    parser.add_argument("--write", metavar="FILE", type=Path, help="a page whose table is replaced")
    parser.add_argument("--at-once", type=int, default=CLIENTS_AT_ONCE, metavar="N", help="clients side by side")
    options = parser.parse_args()
    with ExitStack() as stack:
        bootstrap = options.bootstrap
        if not bootstrap:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            bootstrap = stack.enter_context(broker_process(Path(folder) / "stderr.txt"))
        runs = Runs(bootstrap, cells(), options.at_once)
        stack.callback(runs.stop)
        runs.start()
        text = markdown(runs)
    print(text)
    if options.write is not None:
        before, _, rest = options.write.read_text().partition(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    return 1 if NO in text else 0


if __name__ == "__main__":
    sys.exit(main())
