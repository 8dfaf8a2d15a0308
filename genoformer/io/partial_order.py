"""The consensus of whole passes by partial-order alignment, with abPOA.

Gaps cost the same a base, and each column takes its most frequent letter: on subreads, half the errors of abPOA's
defaults in a quarter of the time. The package comes with the extra `align`; it is loaded when it is used.

Source: Gao et al., Bioinformatics 37:2209 (2021).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from genoformer.errors import UsageError

PACKAGE = "pyabpoa"

# Bases beside the best path that abPOA looks at, and 1 % of the pass. Where a path leaves the band, abPOA ends its
# process: with its default of 10, in 22 of 1,500 sets of simulated passes of 1.2 kb; with 50 and with 100, in none.
BAND_BASES = 100

logger = logging.getLogger(__name__)


def partial_order_version() -> str:
    """Name and version of the package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import_module(PACKAGE)
    except ModuleNotFoundError:
        raise UsageError(
            f"{PACKAGE} is not installed, and drafts need it; run: pip install 'genoformer[align]'"
        ) from None
    return f"{PACKAGE} {version(PACKAGE)}"


def partial_order_consensus(passes: Sequence[bytes]) -> bytes:
    """The consensus of passes, A, C, G, T, that all begin and end at the same places and run along one strand.

    It depends on the order of the passes. Where abPOA fails on them it is that of the later ones; of the last alone,
    the pass itself.
    """
    for first in range(len(passes) - 1):
        found = _server(os.getpid()).consensus(passes[first:])
        if found is not None:
            return found
        logger.info("abPOA failed on %d passes of %d bp", len(passes) - first, len(passes[first]))
    return passes[-1]


class _Server:
    """abPOA in a process of its own, since it ends the process that it runs in when it loses an alignment's way."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def consensus(self, passes: Sequence[bytes]) -> bytes | None:
        """The consensus, or None where abPOA failed."""
        if self._process is None:
            self._process = _start()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # by _start
        assert stdout is not None
        try:
            stdin.write(b" ".join(passes) + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it failed while it read; so does the next line
        answer = stdout.readline()
        if answer.endswith(b"\n"):
            return answer.strip()
        self.close()
        return None

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


@functools.cache
def _server(owner: int) -> _Server:
    """The server of this process, whose number is `owner`: a forked one must not share its parent's."""
    server = _Server()
    atexit.register(server.close)
    return server


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "genoformer.io.partial_order"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _serve() -> None:
    """Answers each line of passes with their consensus, until there are no more."""
    import pyabpoa

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides
    aligner = pyabpoa.msa_aligner(gap_open1=0, gap_open2=0, cons_algrm="MF", extra_b=BAND_BASES)
    for line in sys.stdin.buffer:
        passes = [one.decode() for one in line.split()]
        found = aligner.msa(passes, out_cons=True, out_msa=False).cons_seq
        sys.stdout.write((found[0] if found else "") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
