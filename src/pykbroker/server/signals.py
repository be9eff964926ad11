"""Which signals ask a process to stop."""

from __future__ import annotations

import signal


def stopping_signals() -> list[signal.Signals]:
    """SIGTERM and SIGINT; SIGHUP too, unless it is ignored as it is under nohup."""
    asked = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        asked.append(signal.SIGHUP)
    return asked
