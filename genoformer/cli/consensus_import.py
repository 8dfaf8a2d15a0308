"""`genoformer consensus import`: the command; `cli/consensus.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genoformer.cli.terminal import Quiet, parse_shard, set_up_log
from genoformer.wording import counted

IMPORT_HELP = (
    "Import the labelled windows of DeepConsensus, TFRecord files of 'deepconsensus preprocess', for training.\n\n"
    "Needs no TensorFlow. Writes the HDF5 shards that 'examples' makes of the same reads, and a summary with counts. "
    "Files may be compressed with gzip; every checksum is verified. Passes and window length are those of the windows."
)


def import_(
    tfrecords: Annotated[
        str,
        typer.Argument(
            help="Pattern of the files, quoted, as 'preprocess --output' had it: @split stands for train, eval and "
            "test, * for anything; or a folder with the folders train, eval and test."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    summary: Annotated[
        list[str] | None,
        typer.Option(
            help="Summary JSON of 'preprocess', once for each: its counts are kept, and the windows must be as many."
        ),
    ] = None,
    shard: Annotated[str, typer.Option(help="i/N: only the i-th of N parts of the files.")] = "1/1",
    quiet: Quiet = False,
) -> None:
    """Imports windows and says how many there were."""
    from genoformer.workflows.import_examples import ImportOptions, import_examples

    set_up_log(quiet)
    counts = import_examples(ImportOptions(tfrecords, output, tuple(summary or ()), parse_shard(shard)))
    if not quiet:
        found = ", ".join(f"{counts.get(f'n_examples_{split}', 0):,} {split}" for split in ("train", "eval", "test"))
        typer.echo(f"genoformer: {counted(counts['n_zmw_pass'], 'molecule')}: {found}", err=True)
