"""Kafka Streams counts words exactly once: a program of its own beside a Java client, killed and started again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import raw
from behaviours import behaviour, read, read_for, text
from driver import Driver, Message, Record

SENTENCES = [f"a{number % 7} b{number % 5} each" for number in range(200)]
TOTALS = Counter(word for sentence in SENTENCES for word in sentence.split())
SECONDS = 45
"""Until a program counts: it starts, joins its group, makes topics; and again after a kill."""


class WordCount:
    """kafka_streams/WordCount.java, compiled into the client's folder, as a process."""

    def __init__(self, bootstrap: str, application: str, source: str, target: str, state: str) -> None:
        folder = os.environ["COMPAT_FOLDER"]
        java = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}/*:{folder}", "WordCount")
        self._command = [*java, bootstrap, application, source, target, state]

    def __enter__(self) -> Self:
        log = None if os.environ.get("COMPAT_LOG") else subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        return self

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A clean end, unless it was killed or something failed."""
        if kind is None and self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(30)
        self.kill()


def counted(messages: list[Message]) -> Any:
    """Each word's counts have to be 1, 2, 3 … up to its total: one more or less is a sentence lost or counted twice."""
    counts: dict[str | None, list[str | None]] = {}
    for message in messages:
        counts.setdefault(text(message.key), []).append(text(message.value))
    wrong = {word: found for word, found in counts.items() if found != [str(n + 1) for n in range(len(found))]}
    return {"totals_right": {word: len(found) for word, found in counts.items()} == TOTALS, "wrong": wrong}


def records(sentences: list[str]) -> list[Record]:
    return [Record(sentence.encode(), partition=number % 2) for number, sentence in enumerate(sentences)]


def count_words(driver: Driver, prefix: str, *, killed: bool) -> Any:
    source = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    target = raw.create_topic(driver.bootstrap, f"{prefix}-counts")
    consumer = driver.consumer(committed_only=True)
    consumer.assign([(target, 0)])
    driver.produce(source, records(SENTENCES[:100]))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
        program = WordCount(driver.bootstrap, prefix, source, target, str(Path(state)))
        with program:
            messages = read(consumer, 300 if not killed else 1, SECONDS)
            driver.produce(source, records(SENTENCES[100:]))
            if killed:
                program.kill()
            else:
                messages += read(consumer, 600 - len(messages), SECONDS)
        if killed:
            with program:
                messages += read(consumer, 600 - len(messages), SECONDS)
        messages += read_for(consumer, 0.5)
    consumer.close()
    return counted(messages)


@behaviour
def streams_word_count(driver: Driver, prefix: str) -> Any:
    return count_words(driver, prefix, killed=False)


@behaviour
def streams_word_count_killed(driver: Driver, prefix: str) -> Any:
    return count_words(driver, prefix, killed=True)
