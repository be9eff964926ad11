"""Completion, by the shells themselves where they are there; and what the command line says of itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from pykbroker.cli import COMMANDS
from pykbroker.cli.completion import SHELLS, whole_parser
from pykbroker.testing import KafkaBroker

BASH = """
source <(pykbroker completion bash)
for line; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _python_argcomplete pykbroker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[@]}"
done
"""
ZSH = """
compdef() { : }
_describe() { print -r -- ${${(@P)2}%%:*} }
source <(pykbroker completion zsh)
for line; do
    BUFFER=$line CURSOR=${#line}
    words=(${(z)line})
    _python_argcomplete
done
"""
FISH = """
pykbroker completion fish | source
for line in $argv
    echo (complete -C $line | string split --fields 1 \\t)
end
"""
TYPED = {
    "pykbroker top": ["topics"],
    "pykbroker topics de": ["delete", "describe"],
    "pykbroker topics describe --una": ["--unavailable"],
    "pykbroker topics describe li": ["life", "light"],
    "pykbroker groups describe rea": ["readers"],
    "pykbroker configs describe bro": ["broker", "broker-logger"],
}


def offered(shell: str, environment: dict[str, str], *typed: str) -> list[list[str]]:
    """What a shell offers for each line."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = {"bash": [BASH, "bash"], "zsh": [ZSH, "zsh"], "fish": [FISH]}[shell]
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    ran = subprocess.run([shell, *options, "-c", *script, *typed], capture_output=True, text=True, env=environment)
    assert ran.stderr == ""
    return [sorted(line.split()) for line in ran.stdout.splitlines()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where `pykbroker` is this one."""
    script = tmp_path / "pykbroker"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pykbroker "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_offered(shell: str, pykbroker: Command, broker: KafkaBroker, environment: dict[str, str]) -> None:
    pykbroker("topics", "create", "life", "light", "--if-not-exists")
    pykbroker("consume", "life", "--group", "readers")
    environment["PYKBROKER_BOOTSTRAP"] = broker.bootstrap_servers
    assert offered(shell, environment, *TYPED) == list(TYPED.values())
    environment["PYKBROKER_BOOTSTRAP"] = "127.0.0.1:1"
    assert offered(shell, environment, "pykbroker topics describe li") in ([[]], [])


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts(shell: str, run: Command) -> None:
    ran = run("completion", shell)
    assert ran.status == 0
    assert "pykbroker" in ran.out
    if shutil.which(shell) is not None:
        checked = subprocess.run([shell, "-n"], input=ran.out, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_every_command_and_verb_says_what_it_is_for(run: Command) -> None:
    overview = run("--help")
    assert overview.status == 0
    for name, parser in whole_parser_commands().items():
        assert f"  {name} " in overview.out
        assert parser.prog in (f"pykbroker {name}", "pykbroker")
        assert parser.description


def whole_parser_commands() -> dict[str, object]:
    root = whole_parser()
    (chosen,) = [action for action in root._actions if action.choices]
    assert set(chosen.choices) == set(COMMANDS)
    return dict(chosen.choices)


def test_a_command_that_is_not_there(run: Command) -> None:
    assert run("topic", "list") == (
        2,
        "",
        "pykbroker: there is no command 'topic': did you mean topics? (see pykbroker --help)\n",
    )
    assert run("xyzzy").err == "pykbroker: there is no command 'xyzzy' (see pykbroker --help)\n"
