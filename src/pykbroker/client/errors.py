"""What can go wrong before a broker has an answer; what it answers is a KafkaError. The text is one line."""

from __future__ import annotations


class ClientError(Exception):
    """A request that got no answer that could be used."""


class Unreachable(ClientError):
    """No connection to any of the addresses."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"no broker answers at {address} ({reason})")
        self.address = address


class ConnectionLost(ClientError):
    """The connection ended before the answer was there."""


class ClosedAtOnce(ClientError):
    """A new connection is closed before it was of any use: by TLS or SASL that isn't spoken, or a limit."""


class NoKafka(ClientError):
    """Something answers, but what it says is no Kafka."""


class TlsFailed(ClientError):
    """The TLS handshake didn't come to an end; the text says why."""


class AuthenticationFailed(ClientError):
    """The broker refused user, password or token, or the mechanism."""


class NobodyLogsIn(ClientError):
    """A login was asked for, and the listener has none."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} asks nobody to log in")


class NotSupported(ClientError):
    """The broker lacks an API, or a version of it that can carry the request."""


class TimedOut(ClientError):
    """No answer in time."""


class BadSettings(ClientError):
    """Settings of the client that can't be used."""
