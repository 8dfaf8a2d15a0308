"""`genoformer variants join`: finished shards of `ism` as the file of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genoformer.errors import UsageError
from genoformer.genome.interval import Interval
from genoformer.io.hdf5_shards import shard_kind
from genoformer.io.mutagenesis import KIND, MutagenesisFile, MutagenesisLayout, MutatedStretch
from genoformer.io.reads import partial_path
from genoformer.workflows.filled_output import finished_summary
from genoformer.workflows.ism import Store, open_store, summary_of
from genoformer.workflows.prediction_store import is_hdf5
from genoformer.workflows.shard_files import finished_shards

_BASES_AT_ONCE = 1 << 10


def is_mutagenesis(path: str) -> bool:
    """Whether a file is one of `ism`; False for one that is no HDF5 file by its name.

    Raises:
        DataError: a damaged file.
    """
    return is_hdf5(Path(path)) and shard_kind(path) == KIND


def join_mutagenesis(shards: Sequence[str], output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Writes the scores of all shards, given in any order; returns the summary.

    The file has the bytes of that of a run without shards.

    Args:
        resume: go on where a join of the same shards ended, and leave alone an output that is whole.
    Raises:
        UsageError: an output that is no HDF5 file, or is one of the shards.
        OutputError: a shard that is missing, doubled, unfinished or of another run; or the output cannot be written.
        DataError: a damaged shard.
    """
    if not is_hdf5(output):
        raise UsageError(f"--output is '{output}'; saturation mutagenesis goes into one .h5 file")
    if output.resolve() in {Path(shard).resolve() for shard in shards}:
        raise UsageError("an output is one of the shards; choose another name")
    layouts: dict[str, MutagenesisLayout] = {}

    def identity(shard: str) -> dict[str, Any]:
        with MutagenesisFile(shard) as file:
            layouts[shard] = file.layout
            return dict(file.layout.identity)

    ordered = finished_shards(shards, partial_path, identity)
    layout = _joined([layouts[shard] for shard in ordered])
    if resume and (done := finished_summary(output, layout.identity)) is not None:
        return done
    store = open_store(output, layout, resume=resume)
    try:
        _copy(ordered, store)
    except BaseException:
        store.stop()
        raise
    summary = summary_of(layout)
    store.finish(summary)
    return summary


def _joined(layouts: Sequence[MutagenesisLayout]) -> MutagenesisLayout:
    """The layout of all shards, whose stretches of a region are parts of one."""
    stretches = [stretch for layout in layouts for stretch in layout.stretches]
    if layouts[0].identity.get("region") is not None:
        first, last = stretches[0], stretches[-1]
        whole = Interval(first.place.chrom, first.place.start, last.place.end)
        stretches = [MutatedStretch(whole, first.name, b"".join(stretch.letters for stretch in stretches))]
    return replace(layouts[0], stretches=stretches, identity={**layouts[0].identity, "shard": [1, 1]})


def _copy(shards: Sequence[str], store: Store) -> None:
    """The scores of all shards, base after base, but for those that are there."""
    first = 0
    for shard in shards:
        with MutagenesisFile(shard) as file:
            for values in file.blocks(_BASES_AT_ONCE):
                end = first + values.shape[1]
                if end > store.num_done:
                    store.writer.write(first, values)
                    store.advance(end - store.num_done)
                first = end
