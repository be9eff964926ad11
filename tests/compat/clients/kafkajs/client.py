"""KafkaJS through the behaviours: runs bridge.js against the packages in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import admin_behaviours  # noqa: F401  (registers its behaviours)
from behaviours import BEHAVIOURS
from bridge import BridgeDriver
from driver import main


class KafkaJSDriver(BridgeDriver):
    name = "kafkajs"
    command = ("node", str(Path(os.environ["COMPAT_FOLDER"], "bridge.js")))


if __name__ == "__main__":
    main(KafkaJSDriver, BEHAVIOURS)
