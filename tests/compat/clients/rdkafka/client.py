"""The crate rdkafka (librdkafka from Rust) through the behaviours: runs the bridge program that cargo built."""

from __future__ import annotations

import os
from pathlib import Path

import admin_behaviours  # noqa: F401  (registers its behaviours)
from behaviours import BEHAVIOURS
from bridge import BridgeDriver
from driver import main


class RustDriver(BridgeDriver):
    name = "rdkafka"
    command = (str(Path(os.environ["COMPAT_FOLDER"], "target", "debug", "bridge")),)


if __name__ == "__main__":
    main(RustDriver, BEHAVIOURS)
