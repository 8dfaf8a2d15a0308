"""An output that is filled in item after item, and a journal by which a later run goes on.

OUT, OUT.summary.json            the output, once it is whole, and what it was made of
OUT.partial, OUT.journal.json    an unfinished run
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from genoformer.io.filled_hdf5 import FilledFile
from genoformer.io.reads import partial_path, read_json, write_json
from genoformer.workflows.output import COMMIT_SECONDS, confirm_whole, journal_path, read_journal, summary_path

logger = logging.getLogger(__name__)

WriterT = TypeVar("WriterT", bound=FilledFile)


class FilledOutput(Generic[WriterT]):
    """The items of a run, in order.

    Args:
        identity: everything that determines them, JSON values.
        new_writer: opens the file, to go on with it where it is told True.
        items: what they are, for the log.
        resume: go on with an unfinished file of the same identity, where there is one.
    Attributes:
        writer: of items; each counts once `advance` is told of it.
        num_done: items that are in the file.
    Raises:
        OutputError: the unfinished file is of another run, or files cannot be written.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        new_writer: Callable[[bool], WriterT],
        *,
        items: str,
        resume: bool,
    ) -> None:
        self.path, self._identity = path, dict(identity)
        self.num_done = self._journalled(items) if resume else 0
        if not self.num_done:
            journal_path(path).unlink(missing_ok=True)  # it must never speak of another unfinished file
        summary_path(path).unlink(missing_ok=True)
        self.writer = new_writer(self.num_done > 0)
        self._committed_at = time.monotonic()

    def _journalled(self, items: str) -> int:
        """Number of items that the unfinished file has."""
        journal = read_journal(self.path, self._identity)
        if journal is None:
            return 0
        logger.info("%s: resuming after %d %s", self.path, journal["num_done"], items)
        return int(journal["num_done"])

    def advance(self, num_items: int) -> None:
        """Counts items that were written, all before which are written as well."""
        self.num_done += num_items
        if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes the items that count as done durable, for `--resume`."""
        self.writer.commit()
        write_json(journal_path(self.path), {"identity": self._identity, "num_done": self.num_done})
        self._committed_at = time.monotonic()

    def finish(self, summary: Mapping[str, Any], *, keep: bool = True) -> None:
        """Writes the summary and gives the file its name, or removes it where others were made of it."""
        write_json(summary_path(self.path), dict(summary))
        if keep:
            self.writer.finish()
        else:
            self.writer.discard()
        journal_path(self.path).unlink(missing_ok=True)

    def stop(self) -> None:
        """Leaves what is there for `--resume`; without an item, nothing."""
        if self.num_done:
            self.commit()
            self.writer.abandon()
        else:
            self.writer.discard()


def finished_summary(path: Path, identity: Mapping[str, Any], files: Sequence[str] = ()) -> dict[str, Any] | None:
    """The summary of a whole output, if it is there.

    Args:
        files: those beside `path` that belong to it; without any, the output is `path` itself.
    Raises:
        OutputError: it is that of another run.
    """
    outputs = [path.parent / name for name in files] or [path]
    if not all(file.exists() for file in (*outputs, summary_path(path))) or partial_path(path).exists():
        return None
    summary = confirm_whole(path, read_json(summary_path(path)), dict(identity))
    journal_path(path).unlink(missing_ok=True)  # of a run that ended as it gave the file its name
    return summary
