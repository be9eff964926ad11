"""Options, their precedence, and the one line for each mistake."""

import os
from pathlib import Path

import pytest

from pykbroker.cli import main
from pykbroker.cli.start import UsageError, announce, configure, parser, prepare_directories
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError


def config(*words: str, **environment: str) -> BrokerConfig:
    return configure(parser().parse_args(words), environment)


def test_defaults() -> None:
    found = config()
    assert found.listeners == ("PLAINTEXT://127.0.0.1:9092",)
    assert found.log_directories[0].endswith("pykbroker")


def test_an_ephemeral_broker_needs_no_directory() -> None:
    assert config("--ephemeral").log_dirs is None


def test_options_of_their_own(tmp_path: Path) -> None:
    found = config("--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path), "--node-id", "7")
    assert found.listeners == ("PLAINTEXT://0.0.0.0:0",)
    assert found.log_directories == (str(tmp_path),)
    assert found.node_id == 7


def test_an_ipv6_host() -> None:
    assert config("--host", "::1").listeners == ("PLAINTEXT://[::1]:9092",)


def test_host_and_port_move_the_first_listener() -> None:
    words = "--override listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT --override listeners=A://h:1,B://h:2"
    assert config(*words.split(), "--port", "5").listeners == ("A://h:5", "B://h:2")


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("num.partitions=2\nnum.io.threads=2\nnum.network.threads=2\nbroker.id=2\nlog.dirs=/a\n")
    found = config(
        *("--config", str(file), "--override", "num.network.threads=4", "--override", "num.network.threads = 5"),
        *("--node-id", "9"),
        KAFKA_NUM_IO_THREADS="3",
        KAFKA_NUM_NETWORK_THREADS="3",
    )
    assert (found.num_partitions, found.num_io_threads, found.num_network_threads) == (2, 3, 5)
    assert (found.node_id, found.log_directories) == (9, ("/a",))


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("log.dirs=/a\n")
    assert config("--config", str(file), KAFKA_LOG_DIRS="/b").log_directories == ("/b",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--override", "num.partitions"], "--override: 'num.partitions': expected KEY=VALUE"),
        (["--config", "/does/not/exist"], "--config /does/not/exist: No such file or directory"),
        (["--config", "/"], "--config /: Is a directory"),
    ],
)
def test_options_that_cannot_be_used(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=f"^{said}$"):
        config(*words)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is no text in UTF-8"):
        config("--config", str(file))
    file.write_text("a=\\u12")
    with pytest.raises(UsageError, match="four hexadecimal digits"):
        config("--config", str(file))


def test_a_bad_value_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        config("--override", "listeners=x")
    assert main(["start", "--override", "listeners=x"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("pykbroker: listeners: 'x': expected NAME://HOST:PORT")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--port", "x"], ["--port", "70000"], ["--node-id", "-1"], ["--nope"], ["--ephemeral", "--data-dir", "x"]]
)
def test_a_bad_option_is_one_line_and_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("pykbroker start: ")
    assert err.count("\n") == 1


def test_a_file_in_place_of_the_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    for directory in (file, file / "below"):
        assert main(["--data-dir", str(directory)]) == 1
        assert f"pykbroker: data directory {directory}: " in capsys.readouterr().err


def test_a_data_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is put into its mouth: as root, which may write anywhere, it would say nothing."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="can't be written: Permission denied; choose another with --data-dir"):
        prepare_directories([str(tmp_path)])
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UsageError, match="can't be made: Permission denied; choose another with --data-dir"):
        prepare_directories([str(tmp_path / "below")])


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pykbroker ")


def test_the_ready_line(capsys: pytest.CaptureFixture[str]) -> None:
    announce("::1", 9092, 1, "abc")
    assert capsys.readouterr().out == "ready [::1]:9092 node=1 cluster=abc\n"
