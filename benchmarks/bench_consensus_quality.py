"""Errors, yield and time of consensus reads: the model that ships, and what one would use instead, against the truth.

    PYTHONPATH=.:kernels python benchmarks/bench_consensus_quality.py --data build/held_out

Held-out simulated molecules, at least 1 Mb in each bin of passes, from genomes and seeds that no model was trained on;
and, where they lie beside the checkout, nine real molecules with truth: six with a real CCS read ("real"), three whose
"CCS" is one raw subread, a row each. All read the same draft, but for abPOA, which reads the raw subreads.

`errors` are mismatches and inserted and missing bases against the truth. `model_over_this` is the errors of the model
that ships (`--skip-windows-above 0`) over those of the row, with a 95 % interval from resampled molecules. `q30_bases`
are the bases of reads with at most one error in 1,000 columns. No read is dropped (`--min-quality 0`). `s_per_zmw` is
of one thread, start of the process included for what is a process.

`consensus_calibration.csv` holds predicted against empirical quality of the bases of the draft and of the model, where
it is judged: qualities of at least 10 with at least 100 errors expected.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam

from benchmarks.record import CHECKOUT, RESULTS, print_table, write_rows
from genoformer.genome.calibration import NUM_QUALITIES, SOURCES, QualityCounts
from genoformer.genome.quality import error_prob, phred
from genoformer.genome.read_errors import ERROR_KINDS, ErrorCounts
from genoformer.io.fasta import write_fasta
from genoformer.io.partial_order import partial_order_consensus, partial_order_version
from genoformer.workflows.assess_totals import JUDGED_ERRORS, JUDGED_PHRED
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import DEFAULT_MODEL, VOTE, CorrectOptions
from genoformer.workflows.score_reads import Placement, Truth
from genoformer.workflows.simulate import SimulateOptions, simulate

REAL = CHECKOUT.parent / "shared" / "data" / "consensus" / "human_1m"
BINS = ((3, 5, 203), (6, 10, 206), (11, 20, 211))  # passes, and the seed
NUM_ZMWS, GENOME_BP, LENGTHS_BP = 480, 2_000_000, (1_000, 3_500)
NUM_RESAMPLES = 10_000
Q30_IDENTITY = 0.999

Molecule = bytes  # movie/hole


@dataclass(frozen=True)
class Case:
    """Reads to correct, and their truth, one a molecule."""

    subreads: Path  # aligned to the draft
    draft: Path
    truth: Path


@dataclass(frozen=True)
class Result:
    """What one contender made of a case."""

    errors: dict[Molecule, ErrorCounts]
    lengths: dict[Molecule, int]
    qualities: QualityCounts
    seconds: float


def simulated(folder: Path, passes: tuple[int, int], seed: int) -> Case:
    """Molecules of a genome of their own; made unless they are there."""
    case = Case(folder / "subreads_to_ccs.bam", folder / "ccs.bam", folder / "truth.fasta")
    if not (folder / "simulation.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        simulate(SimulateOptions(folder, seed, NUM_ZMWS, *passes, *LENGTHS_BP, random_bp=GENOME_BP))
    return case


def real(folder: Path) -> Case:
    """The real molecules: subreads as PacBio aligned them, the truth as FASTA on the strand of the draft."""
    with pysam.AlignmentFile(str(REAL / "truth_to_ccs.fixed.bam"), check_sq=False) as file:
        truth = [(read.query_name, read.get_forward_sequence().encode()) for read in file]
    truth_path = folder / "truth.fasta"
    write_fasta(truth_path, ((name, letters) for name, letters in truth))
    return Case(REAL / "subreads_to_ccs.bam", REAL / "ccs.bam", truth_path)


def corrected(model: str, skip_windows_above: float) -> Callable[[Case, Path], Path]:
    """What `correct` makes of the draft."""

    def run(case: Case, folder: Path) -> Path:
        output = folder / "corrected.bam"
        correct(
            CorrectOptions(
                str(case.subreads), str(case.draft), str(output), model=model, threads=1, min_quality=0,
                skip_windows_above=skip_windows_above, device=None if model == VOTE else "cpu",
            )
        )  # fmt: skip
        return output

    return run


def racon(case: Case, folder: Path) -> Path:
    """Racon on the draft, with the alignments that the others read."""
    draft, subreads, alignments = folder / "draft.fasta", folder / "subreads.fasta", folder / "alignments.sam"
    output = folder / "racon.fasta"
    with pysam.AlignmentFile(str(case.draft), check_sq=False) as file:
        write_fasta(draft, ((read.query_name, read.query_sequence.encode()) for read in file))
    with pysam.AlignmentFile(str(case.subreads), check_sq=False) as file:
        write_fasta(subreads, ((read.query_name, read.get_forward_sequence().encode()) for read in file))
    pysam.view("-h", "-o", str(alignments), str(case.subreads), catch_stdout=False)
    with output.open("wb") as file:
        subprocess.run(
            ["racon", "-t", "1", "-u", subreads, alignments, draft], stdout=file, stderr=subprocess.DEVNULL, check=True
        )
    return output


def racon_version() -> str:
    """Name and version, as rows have them."""
    found = subprocess.run(["racon", "--version"], capture_output=True, text=True, check=True)
    return f"racon {found.stdout.strip().removeprefix('v')}"


def abpoa(case: Case, folder: Path) -> Path:
    """abPOA of the subreads that span at least 0.8 of the draft, as `draft` calls it; turned to the draft's strand."""
    with pysam.AlignmentFile(str(case.draft), check_sq=False) as file:
        drafts = {read.query_name: read.query_sequence.encode() for read in file}
    passes: dict[str, list[bytes]] = {}
    with pysam.AlignmentFile(str(case.subreads), check_sq=False) as file:
        for read in file:
            if not read.is_unmapped and read.reference_length >= 0.8 * len(drafts[read.reference_name]):
                passes.setdefault(read.reference_name, []).append(read.query_sequence.encode())
    output = folder / "abpoa.fasta"
    write_fasta(output, ((name, partial_order_consensus(found)) for name, found in passes.items()))
    return output


def score(reads: Path, truth: Truth, seconds: float) -> Result:
    """Errors of reads against their truth."""
    errors, lengths, qualities = {}, {}, QualityCounts.zero()
    for one in truth.score(str(reads), threads=1):
        if one.placement is not Placement.ALIGNED:
            continue  # a molecule without truth
        molecule = b"/".join(one.name.encode().split(b"/")[:2])
        errors[molecule], lengths[molecule] = one.errors, one.length
        if one.qualities is not None:
            qualities += one.qualities.counts
    return Result(errors, lengths, qualities, seconds)


def run_all(case: Case, contenders: dict[str, Callable[[Case, Path], Path]]) -> dict[str, Result]:
    """The result of every contender on a case."""
    truth, results = Truth.open(str(case.truth), "read"), {}
    for name, make in contenders.items():
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            reads = make(case, Path(folder))
            results[name] = score(reads, truth, time.perf_counter() - began)
    return results


def rows_of(
    case: str, results: dict[str, Result], molecules: Iterable[Molecule], model: str
) -> list[dict[str, object]]:
    """A row for each contender, over the molecules that all of them have and that have a truth."""
    chosen = [one for one in sorted(molecules) if all(one in found.errors for found in results.values())]
    per_molecule = {name: np.array([found.errors[one].errors for one in chosen]) for name, found in results.items()}
    rows: list[dict[str, object]] = []
    for name, found in results.items():
        total = sum((found.errors[one] for one in chosen), ErrorCounts.zero())
        low, high = ratio_interval(per_molecule[model], per_molecule[name])
        rows.append(
            {
                "case": case,
                "zmws": len(chosen),
                "truth_bp": int(total.truth_by_run.sum()),
                "reads": name,
                "errors": total.errors,
                **{kind: total.of_kind(index) for index, kind in enumerate(ERROR_KINDS)},
                "error_rate": f"{total.errors / total.columns:.3g}",
                "over_draft": f"{total.errors / max(per_molecule['draft'].sum(), 1):.3f}",
                "model_over_this": f"{per_molecule[model].sum() / max(total.errors, 1):.3f}",
                "interval_low": f"{low:.3f}",
                "interval_high": f"{high:.3f}",
                "q30_bases": sum(
                    found.lengths[one] for one in chosen if found.errors[one].identity >= Q30_IDENTITY - 1e-12
                ),
                "s_per_zmw": f"{found.seconds / len(found.errors):.3g}" if name != "draft" else "",
            }
        )  # fmt: skip
    return rows


def calibration_rows(case: str, reads: str, counts: QualityCounts) -> list[dict[str, object]]:
    """A row for each source and predicted quality where calibration is judged."""
    expected = counts.bases * error_prob(np.arange(NUM_QUALITIES))  # [2, 94]
    rows: list[dict[str, object]] = []
    for source, quality in np.argwhere(expected >= JUDGED_ERRORS).tolist():
        if quality < JUDGED_PHRED:
            continue
        bases, errors = int(counts.bases[source, quality]), int(counts.errors[source, quality])
        empirical = float(phred(max(errors, 0.5) / bases))
        rows.append(
            {
                "case": case,
                "reads": reads,
                "source": SOURCES[source],
                "predicted_q": quality,
                "bases": bases,
                "expected_errors": round(expected[source, quality]),
                "errors": errors,
                "empirical_q": f"{empirical:.2f}",
                "empirical_minus_predicted": f"{empirical - quality:.2f}",
            }
        )
    return rows


def ratio_interval(model: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % interval of the ratio of sums of errors, molecules drawn with replacement; int64 [molecules] each."""
    drawn = np.random.default_rng(0).integers(0, len(model), (NUM_RESAMPLES, len(model)))
    ratios = model[drawn].sum(1) / np.maximum(other[drawn].sum(1), 1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="one thread of a CPU either way")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path, help="folder that keeps the simulated molecules; default: a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS / "consensus_quality.csv")
    parser.add_argument("--only-model", action="store_true", help="the draft and the model, without the others")
    options = parser.parse_args()
    model, model_45 = (f"{Path(options.model).stem} {skip}" for skip in ("all", "skip 45"))
    contenders: dict[str, Callable[[Case, Path], Path]] = {
        "draft": lambda case, folder: case.draft,
        "vote": corrected(VOTE, 0),
        **({racon_version(): racon} if shutil.which("racon") else {}),
        partial_order_version(): abpoa,
        model: corrected(options.model, 0),
        model_45: corrected(options.model, 45),
    }
    if options.only_model:
        contenders = {name: contenders[name] for name in ("draft", model)}
    rows: list[dict[str, object]] = []
    calibration: list[dict[str, object]] = []
    together = {name: QualityCounts.zero() for name in ("draft", model)}
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data or Path(temporary)
        for least, most, seed in BINS:
            results = run_all(simulated(data / f"passes_{least}_{most}", (least, most), seed), contenders)
            case = f"simulated, {least}-{most} passes"
            rows += rows_of(case, results, results["draft"].errors, model)
            for name in together:
                calibration += calibration_rows(case, name, results[name].qualities)
                together[name] += results[name].qualities
        for name, counts in together.items():
            calibration += calibration_rows("simulated, together", name, counts)
        if (REAL / "ccs.bam").is_file():
            results = run_all(real(Path(temporary)), contenders)
            rows += rows_of("real", results, real_drafts(), model)
            for one in sorted(set(results["draft"].errors) - real_drafts()):
                rows += rows_of(f"real, one subread as draft, ZMW {one.decode().split('/')[1]}", results, [one], model)
    for path, found in ((options.out, rows), (options.out.with_name("consensus_calibration.csv"), calibration)):
        print_table(found)
        write_rows(path, found)


def real_drafts() -> set[Molecule]:
    """The real molecules whose draft is a CCS read: those with a predicted accuracy."""
    with pysam.AlignmentFile(str(REAL / "ccs.bam"), check_sq=False) as file:
        return {"/".join(one.query_name.split("/")[:2]).encode() for one in file if one.get_tag("rq") > 0}


if __name__ == "__main__":
    main()
