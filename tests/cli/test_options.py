"""How words are understood, and what a command says of itself."""

import argparse

import pytest
from tests.cli.conftest import Command

from pykbroker.cli import options, times, topics
from pykbroker.cli.options import CONNECTION, THE_CLUSTER, verb_first


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (["list"], ["list"]),
        (["--bootstrap", "h:1", "list", "--json"], ["list", "--bootstrap", "h:1", "--json"]),
        (["--bootstrap=h:1", "--tls", "describe", "t"], ["describe", "--bootstrap=h:1", "--tls", "t"]),
        (["--user", "a:b"], ["--user", "a:b"]),
        (["--user", "a:b", "--port", "0"], ["--user", "a:b", "--port", "0"]),
        (["--bootstrap"], ["--bootstrap"]),
        ([], []),
    ],
)
def test_options_before_the_verb(words: list[str], moved: list[str]) -> None:
    assert verb_first(words) == moved


def test_every_option_of_the_connection_may_stand_there() -> None:
    made = argparse.ArgumentParser()
    options.add_connection(made, topics.list_topics)
    (group,) = [group for group in made._action_groups if group.title == THE_CLUSTER]
    takes = {action.option_strings[0]: 1 if action.nargs == 0 else 2 for action in group._group_actions}
    assert takes == CONNECTION


def test_options_before_the_command_and_the_verb(pykbroker: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pykbroker("topics", "create", "before")
    there = ["--bootstrap", options.os.environ[options.BOOTSTRAP]]
    monkeypatch.setenv(options.BOOTSTRAP, "127.0.0.1:1")
    assert pykbroker(*there, "topics", "--json", "describe", "before").document[0]["topic"] == "before"


def test_no_verb(run: Command) -> None:
    assert run("topics") == (
        2,
        "",
        "pykbroker topics: expected one of list, describe, create, alter, delete (see pykbroker topics --help)\n",
    )


def test_the_usage_names_what_must_be_given(run: Command) -> None:
    said = run("topics", "alter", "--help").out
    assert said.startswith("usage: pykbroker topics alter TOPIC … --partitions N [options]\n")
    assert said.index("--if-exists") < said.index("the cluster:")
    assert run("groups", "describe", "--help").out.startswith("usage: pykbroker groups describe [GROUP …] [options]\n")
    assert run("start", "--help").out.startswith("usage: pykbroker [start] [options]\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-25T10:00:00Z", 1_795_600_800_000),
        ("2026-11-25T10:00:00.250", 1_795_600_800_250),
        ("2026-11-25T11:00:00+01:00", 1_795_600_800_000),
        ("1795600800000", 1_795_600_800_000),
        ("10m", -600_000),
        ("P1DT2H3M4.5S", -93_784_500),
    ],
)
def test_times(text: str, found: int) -> None:
    assert times.moment_or_ago(text) == found


@pytest.mark.parametrize("text", ["", "yesterday", "10", "P", "PT", "10 m", "-5m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a duration"):
        times.duration(text)
