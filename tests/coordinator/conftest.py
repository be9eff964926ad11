"""Conversations with a shard, as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.coordinator.conversation import Conversation


@pytest.fixture
def new_conversation() -> Callable[..., Conversation]:
    return Conversation


@pytest.fixture
def talk() -> Conversation:
    return Conversation()
