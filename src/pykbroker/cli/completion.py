"""`pykbroker completion bash|zsh|fish`: prints what makes a shell complete the command line, and does the completing.

Commands, verbs and options come from the parsers; topics, groups and files from where they are. A cluster that doesn't
answer at once has no names to offer.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import Parser, UsageError, settings

if TYPE_CHECKING:
    from pykbroker.client.cluster import Cluster

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 1.0
"""Seconds that a cluster has to say its names."""

HOW = """Put this into the shell's start-up file: for bash, ~/.bashrc, `source <(pykbroker completion bash)`; for zsh,
~/.zshrc, after compinit, `source <(pykbroker completion zsh)`; for fish, `pykbroker completion fish >
~/.config/fish/completions/pykbroker.fish`."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="pykbroker completion",
        description=f"Print what makes a shell complete `pykbroker`. {' '.join(HOW.split())}",
        allow_abbrev=False,
    )
    made.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    return made


def main(arguments: Sequence[str]) -> int:
    """Prints the script."""
    from argcomplete.shell_integration import shellcode

    options = parser().parse_args(arguments)
    print(shellcode(["pykbroker"], shell=options.shell))
    return 0


def complete() -> int:
    """Answers the shell, which says by its environment what it wants to know."""
    import argcomplete

    root = whole_parser()
    for action in _actions(root):
        completer = _completer(action)
        if completer is not None:
            vars(action)["completer"] = completer
    nothing = argcomplete.completers.SuppressCompleter()
    argcomplete.autocomplete(root, always_complete_options="long", default_completer=nothing)
    return 0


def whole_parser() -> Parser:
    """All commands as one parser."""
    from pykbroker.cli import COMMANDS

    root = Parser(prog="pykbroker", allow_abbrev=False)
    chosen = root.add_subparsers(parser_class=Parser)
    for name, description in COMMANDS.items():
        chosen.add_parser(name, help=description)
        parsers: Any = chosen.choices
        parsers[name] = import_module(f"pykbroker.cli.{name.replace('-', '_')}").parser()
    return root


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)


def _completer(action: argparse.Action) -> Callable[..., Iterable[str]] | None:
    from argcomplete.completers import DirectoriesCompleter, FilesCompleter

    metavar = action.metavar if isinstance(action.metavar, str) else ""
    kind = metavar.strip("[]").split(":")[0].split(",")[0]
    if kind == "FILE":
        files: Callable[..., Iterable[str]] = FilesCompleter()
        return files
    if kind == "DIR":
        directories: Callable[..., Iterable[str]] = DirectoriesCompleter()
        return directories
    return {"TOPIC": _asking(_topics), "GROUP": _asking(_groups)}.get(kind)


def _asking(names: Callable[[Cluster], Any]) -> Callable[..., Iterable[str]]:
    """A completer that asks the cluster; whatever goes wrong is no business of the prompt's."""

    def completer(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        import trio

        from pykbroker.client.cluster import Cluster
        from pykbroker.client.errors import ClientError
        from pykbroker.protocol.errors import KafkaError

        async def ask() -> list[str]:
            with trio.move_on_after(PATIENCE):
                async with Cluster(replace(settings(parsed_args, os.environ), timeout=PATIENCE)) as cluster:
                    found: list[str] = await names(cluster)
                    return found
            return []

        try:
            return [name for name in trio.run(ask) if name.startswith(prefix)]
        except (ClientError, KafkaError, UsageError):
            return []

    return completer


async def _topics(cluster: Cluster) -> list[str]:
    return sorted(topic.name or "" for topic in (await cluster.metadata()).topics if not topic.error_code)


async def _groups(cluster: Cluster) -> list[str]:
    from pykbroker.protocol.messages.list_groups import ListGroupsRequest

    await cluster.metadata([])
    answers = [await cluster.node(node, ListGroupsRequest()) for node in cluster.brokers]
    return sorted({group.group_id for answer in answers for group in answer.groups})
