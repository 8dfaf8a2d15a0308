"""bigWigs of predictions, against bins put on a genome base by base."""

from dataclasses import replace

import numpy as np
import pyBigWig
import pytest

from genoformer.genome.interval import Interval
from genoformer.io.predictions import PredictionWriter, Stretch
from genoformer.workflows import prediction_tracks
from genoformer.workflows.prediction_tracks import track_files, write_tracks
from tests.io.test_predictions import LAYOUT

CONTIGS = {"chr2": 300, "chr1": 170}
BIN_BP = 4


def random_stretches(rng, count):
    """Bins that overlap, touch, lie in one another, and reach past the contigs' ends; in no order."""
    found = []
    for _ in range(count):
        chrom = str(rng.choice(list(CONTIGS)))
        start = int(rng.integers(-20, CONTIGS[chrom]))
        end = start + BIN_BP * int(rng.integers(6, 14))
        inside = min(max(start, 0), CONTIGS[chrom] - 1)
        found.append(Stretch(Interval(chrom, inside, inside + 1), None, Interval(chrom, start, end)))
    return found


def base_by_base(stretches, values):
    held = {chrom: [[] for _ in range(length)] for chrom, length in CONTIGS.items()}
    place = 0
    for stretch in stretches:
        for base in range(stretch.bins.start, stretch.bins.end):
            if 0 <= base < CONTIGS[stretch.bins.chrom]:
                held[stretch.bins.chrom][base].append(values[place + (base - stretch.bins.start) // BIN_BP])
        place += stretch.bins.length // BIN_BP
    return {
        chrom: np.array([np.mean(bins, dtype=np.float64) if bins else np.nan for bins in found]).astype(np.float32)
        for chrom, found in held.items()
    }


@pytest.mark.parametrize("block_bins", [3, 1000])
@pytest.mark.parametrize(("count", "num_files"), [(1, 1), (4, 1), (12, 3), (40, 2)])
def test_the_mean_of_all_bins_that_hold_a_base(tmp_path, monkeypatch, block_bins, count, num_files):
    monkeypatch.setattr(prediction_tracks, "_BLOCK_BINS", block_bins)
    rng = np.random.default_rng([count, num_files])
    stretches = random_stretches(rng, count)
    layout = replace(LAYOUT, lengths=CONTIGS, stretches=stretches)
    values = rng.random((2, int(layout.first_bins[-1])), np.float32)
    paths, cuts = [], np.linspace(0, count, num_files + 1).astype(int)
    for number in range(num_files):
        first, last = cuts[number], cuts[number + 1]
        paths.append(tmp_path / f"{number}.h5")
        writer = PredictionWriter(paths[-1], replace(layout, stretches=stretches[first:last]))
        writer.write(0, values[:, layout.first_bins[first] : layout.first_bins[last]])
        writer.finish()
    names = track_files(layout)
    assert names == ["3_x_DNASE_x.bw", "7_y_DNASE_y.bw"]
    done = []
    write_tracks(paths, tmp_path, names, on_progress=lambda *counts: done.append(counts))
    assert done == [(2, 2)]
    for row, name in enumerate(names):
        with pyBigWig.open(str(tmp_path / name)) as file:
            for chrom, expected in base_by_base(stretches, values[row]).items():
                np.testing.assert_array_equal(file.values(chrom, 0, CONTIGS[chrom], numpy=True), expected)
