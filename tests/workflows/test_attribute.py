"""`attribute`, file in and file out, against contributions computed one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyBigWig
import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.alphabet import genome_codes
from genoformer.genome.interval import Interval
from genoformer.io.predictions import PredictionFile
from genoformer.models.checkpoint import load_model
from genoformer.workflows import attribute as attribute_module
from genoformer.workflows.attribute import attribute
from genoformer.workflows.attribute_options import AttributeOptions
from genoformer.workflows.check import check_file, files_to_check
from genoformer.workflows.contributions import Contributions, ContributionSettings
from genoformer.workflows.join_predictions import join_predictions
from tests.predict_inputs import BIN_BP, NUM_BINS, WINDOW_BP, sequence_of, write_inputs

# Both ends of contigs, all N, and two that overlap; the name of one is not fit for a file.
BED = """\
chr10\t300\t310\tmid/../dle
chr2\t990\t1003\tend
chr2\t0\t1\tstart
chr10\t305\t345
chr2\t500\t540\tN
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attribute")
    inputs = write_inputs(folder)
    (folder / "regions.bed").write_text(BED)
    return AttributeOptions(
        inputs.genome, str(folder / "regions.bed"), folder / "out.h5", inputs.model, "human", ("0", "1"), device="cpu",
        threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(options):
    """The contributions of each region."""
    attribute(options)
    return read(options.output)


def read(path):
    with PredictionFile(path) as file:
        first = file.first_bins.tolist()
        return [file.values(0, low, high) for low, high in pairwise(first)]


def fetch(interval):
    return genome_codes(sequence_of(interval.chrom, interval.start, interval.end))


def by_hand(options, chrom, start, end, bins, span=None):
    """Contributions of a span to bins of the window in whose middle, as `predict` has it, a region lies."""
    middle = start - (NUM_BINS * BIN_BP - (end - start)) // 2
    window = Interval(chrom, middle - 2 * BIN_BP, middle - 2 * BIN_BP + WINDOW_BP)
    engine = Contributions(load_model(options.model), "human", [0, 1], options.settings)
    values = engine(window, bins, fetch)
    low, high = span or (start, end)
    offset = window.start - options.settings.margin_bp
    return values[low - offset : high - offset]


def test_each_region_against_the_engine(options, whole):
    """7 bins of 8 bp around 10 bases begin 23 bases before: these are in bins 2 (16 to 23), 3 and 4 (up to 39)."""
    np.testing.assert_array_equal(whole[0], by_hand(options, "chr10", 300, 310, range(2, 5)))
    np.testing.assert_array_equal(whole[1], by_hand(options, "chr2", 990, 1003, range(2, 5)))
    np.testing.assert_array_equal(whole[2], by_hand(options, "chr2", 0, 1, range(3, 4)))
    np.testing.assert_array_equal(whole[3], by_hand(options, "chr10", 305, 345, range(1, 6)))
    assert [np.abs(values).max() > 0 for values in whole] == [True, True, True, True, False]


def test_bins_and_span(options, tmp_path):
    changed = replace(options, output=tmp_path / "a.h5", num_bins=3, span_bp=60)
    attribute(changed)
    np.testing.assert_array_equal(read(changed.output)[0], by_hand(options, "chr10", 300, 310, range(2, 5), (275, 335)))


def test_a_span_beyond_the_window_is_0_there(options, tmp_path):
    """The window has 2 bins before and 3 after the 7 that are predicted."""
    changed = replace(options, output=tmp_path / "a.h5", span_bp=WINDOW_BP)
    attribute(changed)
    [found, *_] = read(changed.output)
    start = 300 - 23 - 2 * BIN_BP
    low = 305 - WINDOW_BP // 2
    expected = by_hand(options, "chr10", 300, 310, range(2, 5), (start, start + WINDOW_BP))
    np.testing.assert_array_equal(found[: start - low], 0)
    np.testing.assert_array_equal(found[start - low :], expected[: WINDOW_BP - (start - low)])


def test_shifts_reach_beyond_the_window(options, tmp_path):
    settings = ContributionSettings(reverse_complement=True, shifts=(-3, 2), num_noisy=2, mean_centred=True)
    changed = replace(options, output=tmp_path / "a.h5", settings=settings)
    attribute(changed)
    np.testing.assert_array_equal(read(changed.output)[0], by_hand(changed, "chr10", 300, 310, range(2, 5)))


def test_a_folder_gets_a_bigwig_and_logos(options, whole, tmp_path):
    pytest.importorskip("logomaker")
    changed = replace(options, output=tmp_path / "out", wanted_logos=2)
    summary = attribute(changed)
    assert summary["files"] == ["0_contributions.bw"]
    assert sorted(path.name for path in changed.output.iterdir()) == [
        "0_contributions.bw", "contributions.summary.json", "logo_0001_mid_dle.png", "logo_0002_end.png", "tracks.tsv",
    ]  # fmt: skip
    with pyBigWig.open(str(changed.output / "0_contributions.bw")) as file:
        one, other = whole[0], whole[3]
        np.testing.assert_allclose(file.values("chr10", 300, 305), one[:5], rtol=1e-6)
        np.testing.assert_allclose(file.values("chr10", 305, 310), (one[5:] + other[:5]) / 2, rtol=1e-5)
        np.testing.assert_allclose(file.values("chr2", 990, 1003), whole[1], rtol=1e-6)
        assert np.isnan(file.values("chr2", 1, 990)[:400]).all()


def test_shards_are_parts_of_the_whole_and_runs_go_on(options, whole, tmp_path, monkeypatch):
    parts = []
    for index in (1, 2):
        shard = replace(options, output=tmp_path / f"{index}.h5", shard=(index, 2))
        with monkeypatch.context() as patch:
            patch.setattr(attribute_module, "_cut", stopping_at(2))
            with pytest.raises(KeyboardInterrupt):
                attribute(shard)
        attribute(replace(shard, resume=True))
        parts += read(shard.output)
    assert len(parts) == len(whole)
    for part, values in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part, values)


def test_shards_joined_into_a_folder_are_called_what_they_are(options, tmp_path):
    shards = [tmp_path / "1.h5", tmp_path / "2.h5"]
    for index, shard in enumerate(shards, 1):
        attribute(replace(options, output=shard, shard=(index, 2)))
    join_predictions(shards, tmp_path / "out")
    names = ["0_contributions.bw", "contributions.summary.json", "tracks.tsv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_a_whole_folder_is_left_alone_and_checked(options, tmp_path):
    run = replace(options, output=tmp_path / "out", wanted_logos=0)
    summary = attribute(run)
    assert attribute(replace(run, resume=True)) == summary
    for path in files_to_check(tmp_path / "out"):
        check_file(path)
    with pytest.raises(OutputError, match=r"out/contributions: is whole, but of another run \(bins: None there, 1"):
        attribute(replace(run, resume=True, num_bins=1))


def stopping_at(number):
    original, calls = attribute_module._cut, []

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*arguments)

    return cut


def test_what_the_file_says(options, whole):
    with PredictionFile(options.output) as file:
        assert file.layout.bin_bp == 1
        assert file.layout.notes["command"] == (
            "genoformer expression attribute genome.fa regions.bed -m model.safetensors --species human "
            "--tracks '0' --tracks '1'"
        )
    summary = json.loads((options.output.parent / "out.h5.summary.json").read_text())
    assert summary["counts"] == {"regions": 5, "bins": 104, "tracks": 1}
    assert summary["identity"]["tracks"] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"num_bins": 8}, UsageError, "--bins is 8; expected 1 to 7, which the model predicts"),
        ({"span_bp": 97}, UsageError, "--span is 97; expected 1 to 96, which the model reads"),
        ({"wanted_logos": 1}, UsageError, "--logos is 1; logos need a folder as output"),
        ({"settings": ContributionSettings(shifts=(9,))}, UsageError, r"--shifts is \(9,\); expected at most a bin"),
        ({"regions": "chr10:1-57"}, DataError, "^region: chr10:1-57 has 57 bp; the model predicts 56 bp at once"),
        ({"shard": (3, 2)}, UsageError, "--shard is 3/2"),
        ({"resume": True, "num_bins": 1}, OutputError, "is whole, but of another run"),
    ],
)
def test_what_cannot_be_done_is_said(options, whole, changes, error, text):
    with pytest.raises(error, match=text):
        attribute(replace(options, **changes))


def test_a_missing_extra_is_said_before_anything_else(options, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("genoformer.workflows.attribute.find_device", None)
    monkeypatch.setattr("genoformer.workflows.report_logos.import_module", missing)
    with pytest.raises(UsageError, match=r"logomaker is not installed, .*pip install 'genoformer\[plots\]', or say"):
        attribute(replace(options, output=tmp_path / "out"))
