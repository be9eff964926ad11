"""`python tests/compat/matrix.py [--bootstrap HOST:PORT]`: run the behaviour table and print it in Markdown.

After it stands the table of secured listeners, for which a pykbroker of its own is started. With `--write FILE` both
take the place of those that stand in that file, between its two marks.

Needs no pytest. Exit status 1 when a cell isn't as expected; the reasons go to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from compat_runs import CLIENTS_AT_ONCE, Runs, broker_process
from compat_table import CLIENTS, TABLE, UNSUPPORTED, cells, expected, told

BEGIN, END = "<!-- the table: made by `make compat` -->", "<!-- end of the table -->"
SECURED = "## Who may come in"
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
    """The matrix of behaviours, a row for each."""
    marks = {(client, behaviour): mark(runs, client, behaviour) for behaviour in TABLE for client in CLIENTS}
    notes = [
        f"{NOT_OFFERED}: the client doesn't offer it; of what operators do only Python's and Java's clients are asked."
    ]
    notes += [f"{NOT_INSTALLED}: {CLIENTS[client]}: {reason}." for client, reason in runs.missing.items()]
    return "\n".join([*table({name: row.title for name, row in TABLE.items()}, marks, runs.versions()), "", *notes])


def secured(versions: Mapping[str, str]) -> str:
    """The matrix of secured listeners, a row for each way to come in."""
    sys.path.append(str(Path(__file__).parents[2]))
    import secure_table

    marks = dict.fromkeys(((client, kind) for kind in secure_table.WAYS for client in secure_table.CLIENTS), "")
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for client, outcomes in secure_table.run_all(Path(folder)):
            left_out = secure_table.left_out(client)
            notes += (f"{NOT_OFFERED}: {CLIENTS[client]}: {reason}." for reason in dict.fromkeys(left_out.values()))
            for kind in secure_table.WAYS:
                marks[client, kind] = NOT_OFFERED
            for kind, outcome in secure_table.expected(client).items():
                marks[client, kind] = YES if outcomes[kind] == outcome else NO
                if outcomes[kind] != outcome:
                    print(f"{client} {kind}: {outcomes[kind]}", file=sys.stderr)
    rows = {kind: way.title for kind, way in secure_table.WAYS.items()}
    return "\n".join([*table(rows, marks, versions), "", *notes])


def table(rows: Mapping[str, str], marks: Mapping[tuple[str, str], str], versions: Mapping[str, str]) -> list[str]:
    """A row for each title, a column for each client with its version."""
    clients = list(dict.fromkeys(client for client, _ in marks))
    heads = [heading(client, versions.get(client)) for client in clients]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + ":-:|" * len(heads)]
    for name, title in rows.items():
        cells = [marks[client, name] or NOT_INSTALLED for client in clients]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


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
        versions = runs.versions()
    if not options.bootstrap:
        text += f"\n\n{SECURED}\n\n{secured(versions)}"
    print(text)
    if options.write is not None:
        before, _, rest = options.write.read_text().partition(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    return 1 if NO in text else 0


if __name__ == "__main__":
    sys.exit(main())
