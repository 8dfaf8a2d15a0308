"""What the commands share: log and progress on stderr, and the forms of some options."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from genoformer.wording import counted

Devices = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N, several of one kind (cuda:0,cuda:1), or 'all' GPUs: a process each, the same records. "
        "Default: cuda where there is one, else cpu."
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors on stderr.")]

_BASES = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(|bp|kb|mb|gb)", re.IGNORECASE)
_UNITS = {"": 1, "bp": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def parse_range(text: str, flag: str, example: str) -> tuple[int, int]:
    """Two whole numbers written least-most; a usage error names the flag otherwise."""
    least, dash, most = text.partition("-")
    if not (dash and least.isdecimal() and most.isdecimal()):
        raise typer.BadParameter(f"'{text}'; expected least-most, for instance {example}", param_hint=flag)
    return int(least), int(most)


def parse_bases(text: str, flag: str) -> int:
    """A number of bases, such as 1500, 50kb or 2Mb."""
    match = _BASES.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"'{text}'; expected a number of bases, for instance 1500, 50kb or 2Mb", param_hint=flag
        )
    return round(float(match[1]) * _UNITS[match[2].lower()])


def parse_shard(text: str) -> tuple[int, int]:
    """The shard written i/N."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise typer.BadParameter(f"'{text}'; expected i/N, for instance 3/100", param_hint="--shard")
    return int(index), int(count)


def set_up_log(quiet: bool) -> None:
    """Log lines on stderr; only warnings where `quiet`."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING if quiet else logging.INFO, format="genoformer: %(message)s"
    )


class Progress:
    """A progress bar on stderr, only where that is a terminal."""

    def __init__(self, hidden: bool) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed:,.0f} % of the subreads"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[molecules]:,} molecules"),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=100, molecules=0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, num_molecules: int, part: float) -> None:
        """Shows the number of molecules done and the part of the input read."""
        self._bar.update(self._task, completed=100 * part, molecules=num_molecules)


class Count:
    """A running count on stderr, only where that is a terminal.

    Args:
        what: is counted, for instance "reads".
    """

    def __init__(self, what: str, hidden: bool) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn(f"{{task.completed:,}} {what}"),
            progress.BarColumn(),
            progress.TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Count:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, count: int, total: int | None = None) -> None:
        """Shows how many are done, and of how many where that is known."""
        self._bar.update(self._task, completed=count, total=total)


def took(summary: Mapping[str, Any]) -> str:
    """How long a run took, " in 3.1 s", or joined shards, " in 12.0 s of 4 shards"; "" where it is not said."""
    run = summary.get("run", {})
    seconds = run.get("seconds", {}).get("total")
    of_shards = f" of {counted(run['num_shards'], 'shard')}" if "num_shards" in run else ""
    return f" in {seconds:,.1f} s{of_shards}" if seconds else ""
