"""How far a join of tracks or of scores has come, so that a later one of the same shards goes on from there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from genoformer.io.reads import read_json, write_json
from genoformer.workflows.output import COMMIT_SECONDS, journal_path

logger = logging.getLogger(__name__)


class JoinProgress:
    """The journal of an unfinished join.

    Args:
        output: what the journal is named after.
        identity: what determines the joined content, JSON values.
        resume: go on with a journal of the same identity, where there is one.
    Attributes:
        num_done: parts of the output that are durable.
    """

    def __init__(self, output: object, identity: Mapping[str, Any], *, resume: bool) -> None:
        self._path = journal_path(str(output))
        self._identity = {**identity, "joined": True}  # an unfinished run of the same output counts other parts
        found = read_json(self._path) if resume and self._path.exists() else {}
        self.num_done = int(found["num_done"]) if found.get("identity") == self._identity else 0
        self._noted_at = time.monotonic()
        if self.num_done:
            logger.info("%s: resuming after %d parts", output, self.num_done)
        else:
            self._path.unlink(missing_ok=True)  # it must never speak of another unfinished output

    def is_due(self) -> bool:
        """Whether it is time to make durable what is done."""
        return time.monotonic() - self._noted_at >= COMMIT_SECONDS

    def note(self, num_done: int) -> None:
        """Keeps the number of parts that are durable."""
        write_json(self._path, {"identity": self._identity, "num_done": num_done})
        self.num_done, self._noted_at = num_done, time.monotonic()

    def finish(self) -> None:
        """Removes the journal of what is whole."""
        self._path.unlink(missing_ok=True)
