"""Being asked to stop: SIGUSR1 (Slurm's warning before the time limit) and SIGTERM set a flag, nothing else.

The loop looks at the flag between steps, saves and returns; the process then exits with `EXIT_INTERRUPTED`.
This module imports nothing heavy, so that a command can listen before it imports torch:

    stop = StopRequest()
    stop.listen(signal.SIGUSR1)      # from here on it no longer kills
    from genoformer.training.loop import train

What comes earlier, while Python itself starts, a batch script wards off with `trap '' USR1`.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h, "try again": Slurm can be told to requeue on it


class StopRequest:
    """Whether the process was asked to stop, and by which signal.

    As a context manager it gives the signals back, on leaving, to whoever had them before.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def listen(self, *numbers: signal.Signals) -> None:
        """Takes over signals; outside of the main thread, where Python cannot, it logs that it does not."""
        if threading.current_thread() is not threading.main_thread():
            logger.warning("not in the main thread: %s will not stop the run", ", ".join(n.name for n in numbers))
            return
        for number in numbers:
            former = signal.signal(number, self._note)
            self._former.setdefault(number, former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, former in self._former.items():
            signal.signal(number, signal.SIG_DFL if former is None else former)
        self._former.clear()
