"""`genoformer check`: whether files that genoformer wrote are whole, by reading them."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from genoformer.errors import DataError, OutputError
from genoformer.genome.interval import Interval
from genoformer.io.bam import BamReader, BamRecord
from genoformer.io.bigwig import BigWig
from genoformer.io.calibration_file import read_calibration
from genoformer.io.examples import ExampleShard
from genoformer.io.expression_examples import ExpressionShard
from genoformer.io.hdf5_shards import shard_kind
from genoformer.io.mutagenesis import MutagenesisFile
from genoformer.io.predictions import PredictionFile
from genoformer.io.reads import partial_path, read_json, read_sequences
from genoformer.io.score_hdf5 import ScoreFile
from genoformer.io.vcf import read_vcf
from genoformer.wording import counted
from genoformer.workflows.output import summary_path

_SUMMARY, _JOURNAL, _PARTIAL = ".summary.json", ".journal.json", ".partial"
_ITEMS_AT_ONCE = 64
_BASES_AT_ONCE = 1 << 20
_END_BYTES = 64
_PARQUET = b"PAR1"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_TABIX = b"TBI\1"


def check_file(path: Path) -> str:
    """What a whole file holds, in a few words.

    Raises:
        DataError: it is not there, unfinished, damaged, other than its summary says, or of a kind that is not ours.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder without a file that has a name of ours")
    if not path.exists():
        raise DataError(f"{path}: is not there")
    for suffixes, check in _CHECKS:
        if path.name.endswith(suffixes):
            if partial_path(path).exists():
                raise OutputError(f"{partial_path(path)}: a later run of this output is not finished; use --resume")
            found = check(path)
            _check_size(path)
            return found
    known = ", ".join(suffix for suffixes, _ in _CHECKS for suffix in suffixes)
    raise DataError(f"{path}: is no output of genoformer by its name; expected one that ends in {known}")


def files_to_check(path: Path) -> list[Path]:
    """A file itself; of a folder, all that have names of ours, also in folders below, or the folder where none has."""
    if not path.is_dir():
        return [path]
    suffixes = tuple(suffix for known, _ in _CHECKS for suffix in known)
    return sorted(file for file in path.rglob("*") if file.name.endswith(suffixes) and file.is_file()) or [path]


def _check_size(path: Path) -> None:
    summary = summary_path(path)
    if not summary.exists():
        return
    expected, size = read_json(summary).get("output_bytes"), path.stat().st_size
    if expected not in (None, size):
        raise OutputError(f"{path}: has {size} bytes, its summary says {expected}; run it again")


def _check_reads(path: Path) -> str:
    num_reads = num_bases = 0
    for length in _read_lengths(path):
        num_reads, num_bases = num_reads + 1, num_bases + length
    summary = summary_path(path)
    expected = read_json(summary).get("counts", {}).get("written", num_reads) if summary.exists() else num_reads
    if expected != num_reads:
        raise OutputError(f"{path}: has {num_reads} reads, its summary says {expected}; run it again")
    return f"{counted(num_reads, 'read')}, {counted(num_bases, 'base')}"


def _read_lengths(path: Path) -> Iterator[int]:
    """Bases of each read; those that `align` and `simulate` write have no qualities."""
    if path.suffix == ".bam":
        with BamReader(path) as reader:
            for record in reader:
                yield BamRecord(record, path).length
    else:
        for read in read_sequences(path):
            yield len(read.sequence)


def _check_summary(path: Path) -> str:
    summary = read_json(path)
    outputs = [path.parent / name for name in summary.get("files", [])] or [Path(str(path).removesuffix(_SUMMARY))]
    for output in outputs:
        if not output.is_file():
            raise OutputError(f"{path}: speaks of {output}, which is not there; run it again")
        _check_size(output)
    version = summary.get("identity", summary).get("version", "unknown")
    return f"summary of a run by genoformer {version}"


def _check_unfinished(path: Path) -> str:
    raise OutputError(f"{path}: is of a run that is not finished; repeat its command with --resume")


def _check_hdf5(path: Path) -> str:
    return _HDF5_CHECKS.get(shard_kind(path), _check_unknown_hdf5)(path)


def _check_unknown_hdf5(path: Path) -> str:
    raise DataError(f"{path}: holds '{shard_kind(path)}', which this genoformer does not know")


def _check_consensus_examples(path: Path) -> str:
    with ExampleShard(path) as shard:
        for start in range(0, len(shard), _ITEMS_AT_ONCE):
            shard.read(slice(start, start + _ITEMS_AT_ONCE))
        return f"{counted(len(shard), 'window')} of the split {shard.split}"


def _check_expression_examples(path: Path) -> str:
    with ExpressionShard(path) as shard:
        for index in range(len(shard)):
            shard.read(index)
        return f"{counted(len(shard), 'example')}"


def _check_predictions(path: Path) -> str:
    with PredictionFile(path) as file:
        num_tracks = len(file.layout.tracks)
        for row in range(num_tracks):
            for start in range(0, file.num_bins, _BASES_AT_ONCE):
                file.values(row, start, min(start + _BASES_AT_ONCE, file.num_bins))
        return f"{counted(num_tracks, 'track')} of {counted(file.num_bins, 'bin')}"


def _check_scores(path: Path) -> str:
    with ScoreFile(path) as file:
        return f"scores of {counted(sum(1 for _ in file.rows()), 'variant')}"


def _check_mutagenesis(path: Path) -> str:
    with MutagenesisFile(path) as file:
        for _ in file.blocks(_ITEMS_AT_ONCE):
            pass
        bases, stretches = counted(file.layout.num_bases, "base"), counted(len(file.layout.stretches), "stretch")
        return f"{bases}, changed to every other, in {stretches}"


def _check_parquet(path: Path) -> str:
    """A Parquet file begins and ends with its name, which is written last."""
    with path.open("rb") as file:
        start = file.read(len(_PARQUET))
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_PARQUET)))
        if not start == file.read() == _PARQUET:
            raise DataError(f"{path}: does not begin and end as Parquet does, so it is cut off; make it again")
    return "a Parquet table"


def _check_index(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            start = file.read(len(_TABIX))
            while file.read(_BASES_AT_ONCE):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again") from None
    if start != _TABIX:
        raise DataError(f"{path}: does not begin as a tabix index does; make it again")
    return "an index"


def _check_picture(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(len(_PNG))
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_PNG_END)))
        if start != _PNG or file.read() != _PNG_END:
            raise DataError(f"{path}: does not begin and end as PNG does, so it is cut off; make it again")
    return "a picture"


def _check_bigwig(path: Path) -> str:
    with BigWig(path) as file:
        for chrom, length in file.lengths.items():
            for start in range(0, length, _BASES_AT_ONCE):
                file.values(Interval(chrom, start, min(start + _BASES_AT_ONCE, length)))
        return f"a track on {counted(len(file.lengths), 'contig')}"


def _check_model(path: Path) -> str:
    from genoformer.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    return f"a {checkpoint.kind} model of {counted(checkpoint.num_parameters, 'parameter')}"


def _check_training_state(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error}); training goes on from an earlier checkpoint") from None
    if damaged is not None:
        raise DataError(f"{path}: is damaged ({damaged}); remove it to go on from the one before")
    return "a checkpoint of training"


def _check_vcf(path: Path) -> str:
    return counted(sum(1 for _ in read_vcf(path)), "record")


def _check_table(path: Path) -> str:
    """Rows have the columns of the first line, but for comments, and the last one ends."""
    num_lines, num_rows, num_columns, line = 0, -1, 0, ""
    try:
        with _open_text(path) as file:
            for num_lines, line in enumerate(file, 1):
                if line.startswith("#"):
                    continue
                found, num_rows = line.count("\t") + 1, num_rows + 1
                num_columns = num_columns or found
                if found != num_columns:
                    raise DataError(f"{path} line {num_lines}: has {found} columns; expected {num_columns}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text ({error.reason}); make it again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after {num_lines} lines ({error}); make it again") from None
    if num_rows < 0 or not line.endswith("\n"):
        raise DataError(f"{path}: ends within a line or has none, so it is cut off; make it again")
    return counted(num_rows, "row")


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


def _check_json(path: Path) -> str:
    if read_json(path).get("format") == "genoformer calibration":
        read_calibration(path)
        return "a calibration"
    return "a JSON object"


def _check_page(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
        if not file.read().rstrip().endswith(b"</html>"):
            raise DataError(f"{path}: does not end as a page does, so it is cut off; make it again")
    return "a page"


_HDF5_CHECKS: dict[str, Callable[[Path], str]] = {
    "consensus": _check_consensus_examples,
    "expression": _check_expression_examples,
    "predictions": _check_predictions,
    "variant scores": _check_scores,
    "saturation mutagenesis": _check_mutagenesis,
}
_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Path], str]], ...] = (
    ((_PARTIAL, _JOURNAL), _check_unfinished),
    ((_SUMMARY,), _check_summary),
    ((".bam", ".fastq", ".fq", ".fastq.gz", ".fq.gz"), _check_reads),
    ((".h5", ".hdf5"), _check_hdf5),
    ((".bw", ".bigwig"), _check_bigwig),
    ((".safetensors",), _check_model),
    ((".pt",), _check_training_state),
    ((".vcf", ".vcf.gz"), _check_vcf),
    ((".tsv", ".tsv.gz"), _check_table),
    ((".parquet",), _check_parquet),
    ((".tbi",), _check_index),
    ((".png",), _check_picture),
    ((".json",), _check_json),
    ((".html",), _check_page),
)
