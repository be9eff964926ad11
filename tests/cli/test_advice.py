"""What is advised can be done; what goes wrong is said in one sentence."""

import re

import pytest

from pykbroker.cli import advice
from pykbroker.cli.completion import whole_parser
from pykbroker.cli.options import Parser
from pykbroker.client.errors import AuthenticationFailed, NobodyLogsIn, TimedOut, Unreachable
from pykbroker.client.settings import ClientSettings, SaslSettings
from pykbroker.protocol.errors import ErrorCode, KafkaError

ADVISED = sorted({command for text in advice._NEXT.values() for command in re.findall("`pykbroker ([^`]+)`", text)})


def below(parser: Parser, word: str) -> Parser | None:
    """The parser of a command or a verb, where it has any."""
    for action in parser._actions:
        if action.nargs == "A...":
            assert word in action.choices
            found: Parser = action.choices[word]
            return found
    return None


@pytest.mark.parametrize("command", ADVISED)
def test_commands_that_are_advised_are_there(command: str) -> None:
    parser: Parser = whole_parser()
    options = []
    for word in command.split():
        if word.startswith("--"):
            options.append(word)
        elif not options:
            parser = below(parser, word) or parser
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(options) <= known


@pytest.mark.parametrize("code", [code for code in ErrorCode if code])
def test_every_error_is_a_line(code: ErrorCode) -> None:
    for message in (None, "It went wrong."):
        said = advice.of_error(KafkaError(code, message))
        assert code.name in said
        assert "\n" not in said
        assert ".;" not in said


def test_what_keeps_a_request_from_its_answer() -> None:
    plain = ClientSettings()
    assert advice.of_failure(Unreachable("h:1", "refused"), plain).endswith(
        "or say where it is with --bootstrap HOST:PORT"
    )
    assert advice.of_failure(TimedOut("late"), plain) == "late; try again, or with a longer --timeout"
    assert "leave --user away" in advice.of_failure(NobodyLogsIn("h:1"), plain)
    login = ClientSettings(sasl=SaslSettings(user="a", password="b"))
    assert advice.of_failure(AuthenticationFailed("no"), login) == "no; check --user, password and --sasl-mechanism"
