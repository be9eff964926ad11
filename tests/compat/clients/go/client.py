"""A Go client through the behaviours: runs the bridge program that was built into its folder."""

from __future__ import annotations

import os
from pathlib import Path

import admin_behaviours  # noqa: F401  (registers its behaviours)
from behaviours import BEHAVIOURS
from bridge import BridgeDriver
from driver import main

FOLDER = Path(os.environ["COMPAT_FOLDER"])


class GoDriver(BridgeDriver):
    name = FOLDER.name
    command = (str(FOLDER / "bridge"),)


if __name__ == "__main__":
    main(GoDriver, BEHAVIOURS)
