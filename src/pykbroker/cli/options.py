"""What the commands share: how they take options."""

from __future__ import annotations

import argparse
from typing import NoReturn

BAD_USAGE = 2


class Parser(argparse.ArgumentParser):
    """One line for a mistake, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and exits."""
        self.exit(BAD_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")
