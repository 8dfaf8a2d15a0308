"""Windows a second on one core: reading, decoding, pileup and windows, against decoding by pysam.

Inputs are the example reads and, where they lie beside the checkout, ten real ZMWs. `ours` and `pysam` run all stages;
the other rows are single stages, and `pysam read+decode` gives the same arrays as `read` and `decode` together.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.record import CHECKOUT, RESULTS, print_table, time_in_turns, write_rows
from genoformer.config import ConsensusConfig
from genoformer.datasets.pileup import Pileup, build_pileup, cut_windows, window_rows
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import CcsRead, RawMolecule, Subread, decode_ccs, decode_subread, iterate_molecules
from tests.bam_builder import pysam_molecules

INPUTS = {
    "examples": CHECKOUT / "data" / "examples",
    "human_1m": CHECKOUT.parent / "shared" / "data" / "consensus" / "human_1m",
}
CONFIG = ConsensusConfig()

Molecule = tuple[CcsRead, list[Subread]]


def read(folder: Path) -> list[RawMolecule]:
    """All molecules of the two files of a folder."""
    with BamReader(folder / "subreads_to_ccs.bam") as subreads, CcsFinder(folder / "ccs.bam") as ccs:
        return list(iterate_molecules(subreads, ccs))


def decode(raw: list[RawMolecule]) -> list[Molecule]:
    """CCS read and subreads of each molecule."""
    molecules = []
    for molecule in raw:
        decoded = [decode_subread(record, "subreads_to_ccs.bam") for record in molecule.subreads]
        molecules.append((decode_ccs(molecule.ccs, "ccs.bam"), [read for read in decoded if read is not None]))
    return molecules


def pysam_decode(folder: Path) -> list[Molecule]:
    """As `read` and `decode`, by pysam."""
    return list(pysam_molecules(folder / "subreads_to_ccs.bam", folder / "ccs.bam"))


def pile_up(molecules: list[Molecule]) -> list[Pileup]:
    """The pileup of each molecule."""
    return [build_pileup(ccs, subreads, CONFIG.max_passes) for ccs, subreads in molecules]


def cut(pileups: list[Pileup]) -> list[np.ndarray]:
    """The model's input of each molecule."""
    rows = []
    for pileup in pileups:
        windows = cut_windows(pileup, CONFIG)
        rows.append(window_rows(pileup, windows, np.arange(len(windows)), CONFIG))
    return rows


def peak_mb(call: Callable[[], object]) -> float:
    """The most memory that a call has allocated at once."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def measure(name: str, folder: Path, repeats: int) -> list[dict[str, object]]:
    """One row for each variant and stage on one input."""
    raw = read(folder)
    molecules = decode(raw)
    pileups = pile_up(molecules)
    rows = cut(pileups)
    baseline = cut(pile_up(pysam_decode(folder)))
    if len(rows) != len(baseline) or not all(map(np.array_equal, rows, baseline)):
        raise SystemExit(f"{name}: the windows of pysam's arrays differ from ours")
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: cut(pile_up(decode(read(folder)))),
        "pysam": lambda: cut(pile_up(pysam_decode(folder))),
        "read": lambda: read(folder),
        "decode": lambda: decode(raw),
        "pysam read+decode": lambda: pysam_decode(folder),
        "pileup": lambda: pile_up(molecules),
        "windows": lambda: cut(pileups),
    }
    timings = time_in_turns(calls, repeats=repeats)
    num_windows, num_subreads = sum(map(len, rows)), sum(len(molecule.subreads) for molecule in raw)
    return [
        {
            "input": name,
            "zmws": len(raw),
            "subreads": num_subreads,
            "windows": num_windows,
            "what": what,
            "ms": f"{timings[what].median_s * 1e3:.2f}",
            **timings[what].rates(num_windows, "windows_per_s"),
            "peak_mb": f"{peak_mb(call):.1f}",
            "repeats": repeats,
            **{package: version(package) for package in ("pysam", "biopython")},
        }
        for what, call in calls.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="a pileup uses the CPU either way")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS / "pileup.csv")
    options = parser.parse_args()
    folders = {name: folder for name, folder in INPUTS.items() if (folder / "ccs.bam").is_file()}
    rows = [row for name, folder in folders.items() for row in measure(name, folder, options.repeats)]
    print_table(rows)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
