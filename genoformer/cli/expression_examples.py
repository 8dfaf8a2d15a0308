"""`genoformer expression examples`: the command; `cli/expression.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genoformer.cli.terminal import Count, Quiet, parse_bases, parse_shard, set_up_log
from genoformer.errors import UsageError
from genoformer.wording import counted

EXAMPLES_HELP = (
    "Make examples for training: sequences and the coverage along them.\n\n"
    "From a genome, a targets table and bigWigs: an example for each line of the BED file, whose fourth column is its "
    "split (train, valid, test or fold0, fold1, ...). Targets are made as Baskerville makes them, but read and kept in "
    "float32: scaled, pooled over bins, clipped softly and then hard, by the columns of the table (identifier, file, "
    "clip, clip_soft, scale, sum_stat, strand_pair, description).\n\n"
    "Or with --from-tfrecords from a Basenji data set, without TensorFlow.\n\n"
    "Writes HDF5 shards SPLIT-*.h5 and a summary into the folder. Splits must not overlap."
)

_MAPS_SPLITS = "by column 4 of the regions or by chromosome; may be given several times. All others then train."


def examples(
    genome: Annotated[
        Path | None, typer.Argument(help="FASTA file, plain or bgzip; its index is made if missing.")
    ] = None,
    targets: Annotated[Path | None, typer.Argument(help="Table of the tracks.")] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    regions: Annotated[Path | None, typer.Option(help="BED file of regions of one length.")] = None,
    from_tfrecords: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a Basenji data set. A GENOME is then held against its sequences, and may lengthen them."
        ),
    ] = None,
    sequence_length: Annotated[
        str | None, typer.Option(help="Bases around the middle of each region.", show_default="the region's")
    ] = None,
    bin_: Annotated[int | None, typer.Option("--bin", help="Bases of a bin.", min=1, show_default="128")] = None,
    crop: Annotated[
        int | None, typer.Option(help="Bases without bins at either end of a region.", min=0, show_default="0")
    ] = None,
    valid: Annotated[list[str] | None, typer.Option(help=f"What validates, {_MAPS_SPLITS}")] = None,
    test: Annotated[list[str] | None, typer.Option(help=f"What tests, {_MAPS_SPLITS}")] = None,
    blacklist: Annotated[
        Path | None, typer.Option(help="BED file of regions in which the median bounds the coverage.")
    ] = None,
    interpolate: Annotated[
        bool,
        typer.Option("--interpolate", help="Bases without a value in a bigWig lie between their neighbours; else 0."),
    ] = False,
    borzoi: Annotated[
        bool,
        typer.Option("--borzoi", help="Transform as for Borzoi: pool, power of 0.75 for *_sqrt, clip, then scale."),
    ] = False,
    float16: Annotated[bool, typer.Option("--float16", help="Keep the targets in float16, in half the space.")] = False,
    shard: Annotated[str, typer.Option(help="i/N: only the i-th of N parts of the regions, or files.")] = "1/1",
    threads: Annotated[int, typer.Option("-t", "--threads", help="CPU cores to use.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    """Makes examples and says how many there are."""
    set_up_log(quiet)
    common: dict[str, Any] = {
        "out_dir": output,
        "sequence_bp": None if sequence_length is None else parse_bases(sequence_length, "--sequence-length"),
        "valid": tuple(valid or ()),
        "test": tuple(test or ()),
        "shard": parse_shard(shard),
        "num_workers": threads - 1,
    }
    own = {
        "TARGETS": targets, "--regions": regions, "--bin": bin_, "--crop": crop, "--blacklist": blacklist,
        "--interpolate": interpolate, "--borzoi": borzoi, "--float16": float16,
    }  # fmt: skip
    with Count("examples", hidden=quiet) as count:
        if from_tfrecords is not None:
            wrong = next((name for name, value in own.items() if value not in (None, False)), None)
            if wrong is not None:
                raise UsageError(f"{wrong} and --from-tfrecords exclude each other: the data set has its own")
            from genoformer.workflows.import_basenji import ImportBasenjiOptions, import_basenji

            summary = import_basenji(ImportBasenjiOptions(from_tfrecords, genome=genome, **common), count.update)
        else:
            if genome is None or targets is None or regions is None:
                raise UsageError("expected GENOME, TARGETS and --regions, or --from-tfrecords")
            from genoformer.workflows.expression_examples import ExpressionExamplesOptions, make_expression_examples

            options = ExpressionExamplesOptions(
                genome, targets, regions, bin_bp=bin_ or ExpressionExamplesOptions.bin_bp, crop_bp=crop or 0,
                blacklist=blacklist, interpolate=interpolate, as_borzoi=borzoi,
                dtype="float16" if float16 else "float32", **common,
            )  # fmt: skip
            summary = make_expression_examples(options, count.update)
    if not quiet:
        typer.echo(f"genoformer: {_describe(summary)}", err=True)


def _describe(summary: dict[str, Any]) -> str:
    """The number of examples in all and in each split."""
    prefix = "n_examples_"
    splits = [f"{count:,} {name.removeprefix(prefix)}" for name, count in summary.items() if name.startswith(prefix)]
    return f"{counted(summary['n_examples'], 'example')}: {', '.join(splits)}"
