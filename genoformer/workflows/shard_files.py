"""The files of shards: those of one shard of examples, all whole or none there; and which shards make a whole run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from genoformer.errors import OutputError, UsageError
from genoformer.io.reads import write_json
from genoformer.workflows.output import differing_keys


class Writer(Protocol):
    """Writes a file that has its name only once it is finished."""

    def finish(self) -> None:
        """Completes the file and gives it its name."""

    def discard(self) -> None:
        """Leaves no file."""


WriterT = TypeVar("WriterT", bound=Writer)


def shard_suffix(shard: tuple[int, int]) -> str:
    """How the files of shard (i, n) are told apart: 'iiiii-of-nnnnn'.

    Raises:
        UsageError: i is not in 1 to n.
    """
    index, count = shard
    if not 1 <= index <= count:
        raise UsageError(f"--shard is {index}/{count}; expected i/N with 1 <= i <= N")
    return f"{index:05d}-of-{count:05d}"


@contextlib.contextmanager
def shard_writers(
    out_dir: Path, suffix: str, splits: Iterable[str], new_writer: Callable[[Path, str], WriterT]
) -> Iterator[dict[str, WriterT]]:
    """A writer for each split; the files appear when the context ends well, and none where it ends with an error.

    Args:
        new_writer: makes one from path and split.
    Raises:
        OutputError: the folder or a file cannot be written, or the folder has shards of a run with another number of
            them: a model would learn from both.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot be made: {error.strerror}") from None
    number = suffix.rpartition("-")[2]
    other = next((path for path in sorted(out_dir.glob("*-of-*.h5")) if not path.stem.endswith(f"-{number}")), None)
    if other is not None:
        raise OutputError(f"{other}: is a shard of another run; remove those of {out_dir}, or choose another folder")
    writers: dict[str, WriterT] = {}
    try:
        for split in splits:
            writers[split] = new_writer(out_dir / f"{split}-{suffix}.h5", split)
        yield writers
        for writer in writers.values():
            writer.finish()
    except BaseException:
        for writer in writers.values():
            writer.discard()
        raise


def write_examples_summary(
    out_dir: Path, suffix: str, splits: Iterable[str], content: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes `examples-SUFFIX.summary.json`; returns it: the content, and the names of the shards that it is about."""
    summary = {**content, "files": [f"{split}-{suffix}.h5" for split in splits]}
    write_json(out_dir / f"examples-{suffix}.summary.json", summary)
    return summary


def finished_shards(
    shards: Sequence[str], unfinished: Callable[[str], Path], identity: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Names of shards from first to last, once all are known to be whole, there once and of one run.

    Args:
        unfinished: the file that there is of a shard while a run makes it.
        identity: what determines the content of a shard, as `shards_in_order` takes it.
    Raises:
        OutputError: they are not.
    """
    identities: dict[str, Mapping[str, Any]] = {}
    for shard in shards:
        if unfinished(shard).exists():
            raise OutputError(
                f"{unfinished(shard)}: a later run of this shard is not finished; finish it with --resume"
            )
        if shard in identities:
            raise OutputError(f"{shard}: is there twice; name each shard once")
        identities[shard] = identity(shard)
    return shards_in_order(identities)


def shards_in_order(identities: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of shards from first to last.

    Args:
        identities: by name, what determines the content of each; "shard" is its number and how many there are.
    Raises:
        OutputError: they are of different runs, or one is missing or there twice.
    """
    for name, identity in identities.items():
        if "shard" not in identity:
            raise OutputError(f"{name}: does not say which shard it is; make it again")
    first_name, first = next(iter(identities.items()))
    count = first["shard"][1]
    by_index: dict[int, str] = {}
    for name, identity in identities.items():
        different = differing_keys({**identity, "shard": None}, {**first, "shard": None})
        if different or identity["shard"][1] != count:
            found = "; ".join(different) or f"shard {identity['shard']} there, of {count} here"
            raise OutputError(f"{name}: is not of the same run as {first_name}: {found}")
        index = identity["shard"][0]
        if index in by_index:
            raise OutputError(f"{name}: is shard {index}/{count}, as {by_index[index]} is; name each shard once")
        by_index[index] = name
    missing = [str(index) for index in range(1, count + 1) if index not in by_index]
    if missing:
        raise OutputError(f"shard {', '.join(missing[:10])} of {count} is missing ({len(missing)} in all)")
    return [by_index[index] for index in range(1, count + 1)]
