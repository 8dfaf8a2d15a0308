"""What a user can ask of `variants score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.genome.interval import Interval
from genoformer.genome.variant import CENTRES, Centre, Variant, centred_window, grid_window
from genoformer.genome.variant_scores import full_names
from genoformer.io.vcf import STDIN
from genoformer.workflows.allele_predictor import PRECISIONS, Precision
from genoformer.workflows.gene_scores import GENE_BINS, GeneBins
from genoformer.workflows.score_output import check_outputs
from genoformer.workflows.variant_source import REF_MISMATCHES, RefMismatch

_GPU_BATCH = 8


@dataclass(frozen=True)
class ScoreSettings:
    """How variants are scored, whatever file they are in.

    Attributes:
        scores: names as `genome.variant_scores` lists them.
        species: a head of the model; None: its only one.
        tracks: see `genome.track_choice.choose_tracks`; none: all.
        rc: average over both strands.
        shifts: average over windows moved by so many bases.
        centre: which of the two middle bases of its window a variant stands at.
        grid_bp: windows are around cells of so many bases of the genome instead; None: around each variant.
        centre_bins: how many bins scores of the centre look at.
        keep_predictions: REF and ALT of every bin go into the output, too.
        stitch: indels are put together at the variant.
        ref_mismatch: what becomes of a REF that is not in the genome.
        reuse: the tower is computed where alleles differ only.
        batch_size: sequences that a GPU takes at once, None: 8; a CPU takes one after the other.
    """

    scores: tuple[str, ...] = ("sad",)
    species: str | None = None
    tracks: tuple[str, ...] = ()
    rc: bool = False
    shifts: tuple[int, ...] = (0,)
    centre: Centre = "left"
    grid_bp: int | None = None
    centre_bins: int = 3
    keep_predictions: bool = False
    stitch: bool = True
    ref_mismatch: RefMismatch = "error"
    reuse: bool = True
    batch_size: int | None = None
    precision: Precision = "fp32"

    def check(self) -> None:
        """Raises UsageError for settings that cannot work, whatever the model."""
        full_names(self.scores)
        for flag, choice, choices in (
            ("--centre", self.centre, CENTRES), ("--ref-mismatch", self.ref_mismatch, REF_MISMATCHES),
            ("--precision", self.precision, PRECISIONS),
        ):  # fmt: skip
            if choice not in choices:
                raise UsageError(f"{flag} is '{choice}'; expected one of {', '.join(choices)}")
        if len(set(self.shifts)) != len(self.shifts) or not self.shifts:
            raise UsageError(f"--shifts is {list(self.shifts)}; expected different numbers of bases")
        for flag, value in (
            ("--centre-bins", self.centre_bins), ("--window-grid", self.grid_bp), ("--batch-size", self.batch_size),
        ):  # fmt: skip
            if value is not None and value < 1:
                raise UsageError(f"{flag} is {value}; expected at least 1")

    def check_model(self, config: ExpressionConfig) -> None:
        """Raises UsageError for settings that do not fit a model."""
        if self.centre_bins > config.target_bins:
            raise UsageError(f"--centre-bins is {self.centre_bins}; the model predicts {config.target_bins}")
        most = config.target_bins * config.bin_bp
        if self.grid_bp is not None and self.grid_bp > most:
            raise UsageError(f"--window-grid is {self.grid_bp}; expected at most the {most} bp that are predicted")

    def rows_at_once(self, device_kind: str) -> int:
        """Sequences that the model takes at once."""
        return 1 if device_kind == "cpu" else self.batch_size or _GPU_BATCH

    def window(self, variant: Variant, config: ExpressionConfig) -> Interval:
        """The window of a variant."""
        if self.grid_bp is not None:
            return grid_window(variant, config.window_bp, self.grid_bp)
        return centred_window(variant, config.window_bp, self.centre)


@dataclass(frozen=True)
class ScoreOptions:
    """Which file to score, with what and into which files.

    Attributes:
        vcf: a file, or "-" for standard input.
        outputs: each in the format that its name asks for.
        background: a file of scores that others are held against; None: none.
        genes: a GTF file; None: no scores of genes.
        gene_bins: over which a gene's coverage is summed.
        shard: (i, n) with 1 <= i <= n: the i-th of n parts of the records.
    """

    vcf: str
    genome: Path
    model: str
    outputs: tuple[str, ...]
    settings: ScoreSettings = ScoreSettings()
    background: Path | None = None
    genes: Path | None = None
    gene_bins: GeneBins = "tss"
    device: str | None = None
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever is in the files."""
        self.settings.check()
        check_outputs(self.outputs, keep_predictions=self.settings.keep_predictions)
        if self.gene_bins not in GENE_BINS:
            raise UsageError(f"--gene-bins is '{self.gene_bins}'; expected one of {', '.join(GENE_BINS)}")
        if not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(f"--shard is {self.shard[0]}/{self.shard[1]}; expected i/N with 1 <= i <= N")
        if self.resume and self.vcf == STDIN:
            raise UsageError("--resume needs a VCF file; standard input cannot be read again")
        read = {
            Path(path).resolve() for path in (self.vcf, self.genome, self.model, self.background, self.genes) if path
        }
        same = next((output for output in self.outputs if Path(output).resolve() in read), None)
        if same is not None:
            raise UsageError(f"--output '{same}' is one of the inputs; choose another name")
