"""The controller's way to the other brokers: one queue and one connection each, one request in flight.

What isn't answered is sent again until the broker is gone or the controller has stepped down. It decides nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import trio

from pykbroker.cluster.image import Endpoint
from pykbroker.controller.requests import VERSIONS
from pykbroker.protocol.message import Message
from pykbroker.server.broker_channel import BrokerChannels, ChannelError

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
PURPOSE = "controller"

Answered = Callable[[int, Message, Message], None]
"""Told broker, request and answer."""


class _Outbox:
    def __init__(self, endpoint: Endpoint | None) -> None:
        self.endpoint = endpoint
        self.waiting: deque[Message] = deque()
        self.news = trio.Event()
        self.idle = trio.Event()
        self.idle.set()
        self.scope = trio.CancelScope()

    def put(self, requests: Iterable[Message]) -> None:
        self.waiting.extend(requests)
        self.news.set()
        if self.idle.is_set():
            self.idle = trio.Event()


class ControllerChannels:
    """Everything that one controller has to say to others."""

    def __init__(self, channels: BrokerChannels, nursery: trio.Nursery, timeout: float, answered: Answered) -> None:
        """`timeout` is that of one request, in seconds."""
        self._channels = channels
        self._nursery = nursery
        self._timeout = timeout
        self._answered = answered
        self._outboxes: dict[int, _Outbox] = {}

    def open(self, broker: int, endpoint: Endpoint | None) -> None:
        """A broker is there, or has come back, at this address: what an earlier one wasn't told any more is dropped."""
        self.close(broker)
        outbox = self._outboxes[broker] = _Outbox(endpoint)
        self._nursery.start_soon(self._deliver, broker, outbox)

    def move(self, broker: int, endpoint: Endpoint | None) -> None:
        """A broker is at another address: what waits for it goes there, once it has ended the old connection."""
        if broker in self._outboxes:
            self._channels.channel(broker, PURPOSE, endpoint=endpoint)

    def close(self, broker: int) -> None:
        """A broker is gone: nothing more is sent to it."""
        outbox = self._outboxes.pop(broker, None)
        if outbox is not None:
            outbox.scope.cancel()
            outbox.idle.set()

    def close_all(self) -> None:
        """The controller steps down."""
        for broker in list(self._outboxes):
            self.close(broker)

    def send(self, broker: int, requests: Sequence[Message]) -> None:
        """Queues requests."""
        outbox = self._outboxes.get(broker)
        if outbox is not None:
            outbox.put(requests)

    async def delivered(self, timeout: float) -> None:
        """Waits until everything queued so far has been answered, for at most `timeout` seconds."""
        with trio.move_on_after(timeout):
            for idle in [outbox.idle for outbox in self._outboxes.values()]:
                await idle.wait()

    async def _deliver(self, broker: int, outbox: _Outbox) -> None:
        channel = self._channels.channel(broker, PURPOSE, endpoint=outbox.endpoint)
        silent = False
        with outbox.scope:
            while True:
                while outbox.waiting:
                    request = outbox.waiting[0]
                    try:
                        answer = await channel.request(request, VERSIONS[type(request)], timeout=self._timeout)
                    except ChannelError as error:
                        if not silent:
                            log.warning("broker %d can't be told what the controller has decided: %s", broker, error)
                            silent = True
                        await trio.sleep(RETRY_SECONDS)
                        continue
                    silent = False
                    outbox.waiting.popleft()
                    self._answered(broker, request, answer)
                outbox.idle.set()
                await outbox.news.wait()
                outbox.news = trio.Event()
        with trio.CancelScope(shield=True):
            await channel.aclose()
