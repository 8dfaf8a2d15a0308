"""`predict` on a tiny model, against the model itself called window by window."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
import pytest

from genoformer.errors import CheckpointError, DataError, OutputError, UsageError
from genoformer.genome.tiling import tiles
from genoformer.io.reads import partial_path
from genoformer.models.checkpoint import model_hash
from genoformer.workflows import predict as predict_module
from genoformer.workflows.output import journal_path, summary_path
from genoformer.workflows.predict import predict
from tests.predict_inputs import BED, BIN_BP, LENGTHS, NUM_BINS, bins_of, forward, with_bed, write_inputs

REGIONS = [line.split("\t") for line in BED.splitlines()]
SHORT = [
    (i, chrom, int(start), int(end)) for i, (chrom, start, end, *_) in enumerate(REGIONS) if int(end) - int(start) <= 56
]
BIGWIGS = ["0_x+_CAGE_x_y_adult.bw", "1_d_DNASE_d.bw", "2_x-_CAGE_x_y_adult.bw"]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole_file(options):
    """The output of all regions."""
    path = options.output.with_name("whole.h5")
    predict(replace(options, output=path))
    return path


@pytest.fixture(scope="module")
def whole(whole_file):
    return read(whole_file)


def read(path):
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file} | dict(file.attrs)


def region(found, index):
    """Predictions [T, N] of a region."""
    first, last = found["first_bin"][index : index + 2]
    return found["predictions"][:, first:last]


def test_short_regions_are_in_the_middle_of_a_window(options, whole):
    assert len(SHORT) == 6
    for index, chrom, start, end in SHORT:
        first_base = bins_of(chrom, start, end)
        assert whole["start"][index] == first_base
        np.testing.assert_allclose(region(whole, index), forward(options, chrom, first_base).T, rtol=1e-6)


def test_where_bins_of_short_regions_begin(whole):
    """By hand: 56 bp of bins around 10, 13, 1, 25, 56 and 10 bp."""
    expected = {0: 277, 1: 969, 3: -27, 4: 305, 5: 500, 6: 277}
    assert {index: whole["start"][index] for index in expected} == expected


def test_a_long_region_is_stitched(options, whole):
    """200 bp: 25 bins; windows share at least 0 of 7, so 4 from bins 0, 6, 12 and 18, each giving the nearer half."""
    pieces = {0: (0, 6), 6: (6, 12), 12: (12, 18), 18: (18, 25)}
    parts = []
    for start, (low, high) in pieces.items():
        parts.append(forward(options, "chr2", 100 + BIN_BP * start)[low - start : high - start])
    np.testing.assert_allclose(region(whole, 7), np.concatenate(parts).T, rtol=1e-6)
    assert whole["start"][7] == 100


@pytest.mark.parametrize("shared", [0, 1, 2, 5, 6])
def test_windows_of_a_long_region_share_bins(options, shared):
    predict(replace(with_bed(options, "chr2\t100\t300\n"), shared_bins=shared))
    found = region(read(options.output), 0)
    for start, low, high in tiles(25, NUM_BINS, shared):
        expected = forward(options, "chr2", 100 + BIN_BP * start)[low - start : high - start]
        np.testing.assert_allclose(found[:, low:high], expected.T, rtol=1e-6)


def test_what_the_file_says(options, whole):
    assert whole["predictions"].dtype == np.float32
    assert [name.decode() for name in whole["chroms"]] == list(LENGTHS)
    assert whole["chrom_lengths"].tolist() == list(LENGTHS.values())
    assert [whole["chroms"][i].decode() for i in whole["chrom"]] == [chrom for chrom, *_ in REGIONS]
    assert whole["region_start"].tolist() == [int(start) for _, start, *_ in REGIONS]
    assert whole["region_end"].tolist() == [int(end) for _, _, end, *_ in REGIONS]
    assert [name.decode() for name in whole["name"]] == [
        "middle",
        "end",
        "whole",
        "start",
        "overlapping",
        "N",
        "",
        "long",
    ]
    assert np.diff(whole["first_bin"]).tolist() == [7, 7, 20, 7, 7, 7, 7, 25]
    assert whole["track"].tolist() == [0, 1, 2]
    assert [name.decode() for name in whole["identifier"]] == ["x+", "d", "x-"]
    assert (whole["kind"], whole["bin_bp"], whole["species"]) == ("predictions", 8, "human")
    assert whole["model_sha256"] == model_hash(options.model)
    command = (
        "genoformer expression predict genome.fa regions.bed -m model.safetensors --species human --precision fp32"
    )
    assert whole["command"] == command


def expected_coverage(whole, row):
    """Base by base, the mean of all bins that hold it; NaN where none does."""
    total = {chrom: np.zeros(length) for chrom, length in LENGTHS.items()}
    count = {chrom: np.zeros(length) for chrom, length in LENGTHS.items()}
    for index, (chrom, *_) in enumerate(REGIONS):
        for number, value in enumerate(region(whole, index)[row]):
            for base in range(whole["start"][index] + 8 * number, whole["start"][index] + 8 * number + 8):
                if 0 <= base < LENGTHS[chrom]:
                    total[chrom][base] += value
                    count[chrom][base] += 1
    with np.errstate(invalid="ignore"):
        return {chrom: (total[chrom] / count[chrom]).astype(np.float32) for chrom in LENGTHS}


def coverage(path):
    with pyBigWig.open(str(path)) as file:
        assert list(file.chroms().items()) == list(LENGTHS.items())
        return {chrom: file.values(chrom, 0, length, numpy=True) for chrom, length in LENGTHS.items()}


@pytest.mark.parametrize("threads", [1, 2])
def test_bigwigs_read_back_are_the_predictions(options, whole, tmp_path, threads):
    summary = predict(replace(options, output=tmp_path / "out", threads=threads))
    assert summary["files"] == BIGWIGS
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*BIGWIGS, "predictions.summary.json", "tracks.tsv"]
    )
    for row, name in enumerate(BIGWIGS):
        found, expected = coverage(tmp_path / "out" / name), expected_coverage(whole, row)
        for chrom in LENGTHS:
            np.testing.assert_array_equal(found[chrom], expected[chrom])
    assert (tmp_path / "out" / "tracks.tsv").read_text().splitlines()[:2] == [
        "index\tidentifier\tfile\tdescription",
        f"0\tx+\t{BIGWIGS[0]}\tCAGE:x/../y, adult",
    ]


def test_averages_over_strands_and_shifts(options):
    bed = with_bed(options, "chr10\t300\t310\n")
    predict(replace(bed, rc=True, shifts=(-2, 0, 3)))
    expected = np.zeros((NUM_BINS, 3))
    for shift in (-2, 0, 3):
        expected += forward(options, "chr10", 277, shift=shift)
        expected += forward(options, "chr10", 277, shift=shift, rc=True)[::-1][:, [2, 1, 0]]
    np.testing.assert_allclose(read(options.output)["predictions"], (expected / 6).T, rtol=1e-5)


def test_paired_tracks_change_places_even_where_one_is_not_chosen(options):
    bed = with_bed(options, "chr10\t300\t310\n")
    predict(replace(bed, rc=True, tracks=("2",)))
    own, other = forward(options, "chr10", 277), forward(options, "chr10", 277, rc=True)[::-1]
    np.testing.assert_allclose(read(options.output)["predictions"][0], (own[:, 2] + other[:, 0]) / 2, rtol=1e-5)


def test_chosen_tracks_are_those_of_all(options, whole, tmp_path):
    predict(replace(options, output=tmp_path / "some.h5", tracks=("dnase:*", "x-")))
    some = read(tmp_path / "some.h5")
    np.testing.assert_array_equal(some["predictions"], whole["predictions"][1:])
    assert some["track"].tolist() == [1, 2]


def test_the_same_numbers_whatever_the_neighbours_and_the_batch(options, whole, tmp_path):
    for index, (chrom, start, end, *_) in enumerate(REGIONS[:4]):
        predict(replace(options, output=tmp_path / "a.h5", regions=f"{chrom}:{int(start) + 1}-{end}", batch_size=3))
        np.testing.assert_array_equal(read(tmp_path / "a.h5")["predictions"], region(whole, index))


def test_equal_runs_give_equal_bytes(options, whole_file, tmp_path):
    predict(replace(options, output=tmp_path / "again.h5"))
    assert (tmp_path / "again.h5").read_bytes() == whole_file.read_bytes()


def test_a_model_of_one_species_needs_no_name(options, tmp_path):
    with pytest.raises(UsageError, match=r"--species is not given; the model has fly, human"):
        predict(replace(options, species=None))
    with pytest.raises(UsageError, match=r"--species is 'mouse'; the model has fly, human"):
        predict(replace(options, species="mouse"))
    predict(replace(options, species="fly", output=tmp_path / "fly.h5"))
    assert len(read(tmp_path / "fly.h5")["track"]) == 2


def test_bfloat16_is_near(options, whole, tmp_path):
    predict(replace(options, precision="bf16", output=tmp_path / "bf16.h5"))
    found = read(tmp_path / "bf16.h5")["predictions"]
    assert (found != whole["predictions"]).any()
    np.testing.assert_allclose(found, whole["predictions"], rtol=0.1, atol=0.05)


@pytest.mark.parametrize("views", [{}, {"rc": True, "shifts": (-2, 0, 3)}])
def test_devices_share_the_work_and_change_no_bit(options, tmp_path, views):
    one, two = (replace(options, output=tmp_path / name, **views) for name in ("one.h5", "two.h5"))
    expected = predict(one)
    found = predict(replace(two, device="cpu,cpu", threads=2))
    assert two.output.read_bytes() == one.output.read_bytes()
    assert found["identity"] == expected["identity"]
    assert [device["device"] for device in found["run"]["devices"]] == ["cpu", "cpu"]
    assert all(device["batches"] and 0 < device["busy"] <= 1 for device in found["run"]["devices"])
    assert [sum(device["batches"] for device in run["run"]["devices"]) for run in (expected, found)] == [13, 13]


def test_devices_change_no_bigwig(options, tmp_path):
    for device in ("cpu", "cpu,cpu"):
        predict(replace(options, output=tmp_path / device, device=device, threads=2))
    for name in BIGWIGS:
        assert (tmp_path / "cpu,cpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


def test_more_devices_finish_what_one_began(options, whole_file, tmp_path):
    run = replace(options, output=tmp_path / "a.h5")
    stop_after(5, run)
    predict(replace(run, device="cpu,cpu", threads=2, resume=True))
    assert run.output.read_bytes() == whole_file.read_bytes()


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_gpu_predicts_what_the_cpu_does(options, whole, tmp_path, batch_size):
    for name in ("a.h5", "b.h5"):
        predict(replace(options, output=tmp_path / name, device="cuda", batch_size=batch_size))
    np.testing.assert_allclose(read(tmp_path / "a.h5")["predictions"], whole["predictions"], rtol=1e-5, atol=1e-6)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        (
            {"regions": "chr2:900-1100"},
            DataError,
            r"region: chr2:900-1100 reaches past the end of chr2, 1003 bp in .*genome",
        ),
        ({"regions": "2:1-10"}, DataError, r"has no contig '2'; it has 'chr2': rename"),
        (
            {"regions": "nothing.bed"},
            UsageError,
            r"the regions are 'nothing.bed'; expected a BED file that is there, or a region such as chr8:1-9,000",
        ),
        ({"regions": "chr2:10-9"}, UsageError, r"'chr2:10-9'; expected chrom:first-last"),
        (
            {"tracks": ("dnase:e",)},
            UsageError,
            r"tracks 'dnase:e': none has such an identifier or description; did you mean 'DNASE:d'",
        ),
        ({"tracks": ("3",)}, UsageError, r"tracks '3': expected numbers from 0 to 2"),
        ({"shifts": (0, 9)}, UsageError, r"--shifts is \(0, 9\); expected at most a bin, 8 bp, either way"),
        ({"shifts": (1, 1)}, UsageError, r"expected different numbers of bases"),
        ({"shared_bins": 7}, UsageError, r"--overlap is 7 bins; expected fewer than a window's 7"),
        ({"output": Path("a.bw")}, UsageError, r"--output is 'a.bw'; expected a folder for a bigWig a track, or a .h5"),
        (
            {"output": Path("a.txt")},
            UsageError,
            r"--output is 'a.txt'; expected a folder for a bigWig",
        ),
        ({"output": Path("a"), "shard": (1, 2)}, UsageError, r"--shard needs a .h5 file"),
        ({"shard": (3, 2)}, UsageError, r"--shard is 3/2; expected i/N"),
        ({"batch_size": 0}, UsageError, r"--batch-size is 0"),
        (
            {"model": "enformer"},
            UsageError,
            r"the model is 'enformer'; expected a .safetensors file, or the name of a model",
        ),
        ({"model": "none.safetensors"}, CheckpointError, r"none.safetensors: cannot be read"),
        ({"model": "consensus-tiny"}, CheckpointError, r"holds a consensus model; expected an expression model"),
        ({"output": Path("/nowhere/a.h5")}, OutputError, r"/nowhere/a.h5.partial: cannot be written: No such file"),
    ],
)
def test_what_cannot_be_done_is_said(options, changes, error, text):
    with pytest.raises(error, match=text):
        predict(replace(options, **changes))


def test_bad_bed_files_and_genomes(options, tmp_path):
    with pytest.raises(DataError, match=r"other.bed: has no regions"):
        predict(with_bed(options, "#chrom\n"))
    with pytest.raises(
        DataError, match=r"other.bed line 2: chr2:991-1005 reaches past the end .*; check the genome build"
    ):
        predict(with_bed(options, "chr2\t0\t9\nchr2\t990\t1005\n"))
    (tmp_path / "genome.fa").write_text(">chr2\nACGT!ACGT\n")
    with pytest.raises(DataError, match=r"genome.fa: '!' at chr2:5; expected A, C, G, T, N or an IUPAC letter"):
        predict(replace(options, genome=tmp_path / "genome.fa", regions="chr2:1-9", output=tmp_path / "a.h5"))
    assert not list(tmp_path.glob("a.h5*"))


def test_other_tracks_in_the_folder_are_not_mixed_with(options, tmp_path):
    (tmp_path / "7_old.bw").touch()
    with pytest.raises(OutputError, match=r"7_old.bw: is a track of another run; remove those of"):
        predict(replace(options, output=tmp_path))


def test_a_disk_that_is_too_small(options, monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 3})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    text = r"out.h5.partial: needs 1,044 bytes, 3 are free; make room, or choose fewer --tracks"
    with pytest.raises(OutputError, match=text):
        predict(replace(options, output=tmp_path / "out.h5"))


class StoppedError(Exception):
    pass


def stop_after(number, options):
    """`predict` fails when so many windows are done."""

    def stop(done, total):
        assert total == 13
        if done == number:
            raise StoppedError

    with pytest.raises(StoppedError):
        predict(options, stop)


@pytest.mark.parametrize("number", [1, 5, 13])
@pytest.mark.parametrize("name", ["a.h5", "a"])
def test_a_stopped_run_goes_on(options, whole, whole_file, tmp_path, monkeypatch, number, name):
    run = replace(options, output=tmp_path / name)
    stop_after(number, run)
    assert not (tmp_path / "a.h5").exists()
    assert not list(tmp_path.glob("a/*.bw"))
    predicted = []
    original = predict_module.TrackPredictor.__call__
    monkeypatch.setattr(
        predict_module.TrackPredictor, "__call__", lambda self, codes: predicted.append(1) or original(self, codes)
    )
    predict(replace(run, resume=True))
    assert len(predicted) == 13 - number
    if name == "a.h5":
        assert (tmp_path / name).read_bytes() == whole_file.read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.h5.summary.json"]
    else:
        found, expected = coverage(tmp_path / "a" / BIGWIGS[1]), expected_coverage(whole, 1)
        np.testing.assert_array_equal(found["chr2"], expected["chr2"])
        assert not list((tmp_path / "a").glob("*journal*"))
        assert not list((tmp_path / "a").glob("*partial*"))


def test_an_unfinished_run_of_other_flags_is_refused(options, tmp_path):
    run = replace(options, output=tmp_path / "a.h5")
    stop_after(2, run)
    with pytest.raises(
        OutputError, match=r"a.h5.journal.json: is of another run \(rc: False there, True here\); repeat"
    ):
        predict(replace(run, resume=True, rc=True))
    predict(replace(run, rc=True))
    assert not journal_path(run.output).exists()


def test_a_whole_output_is_left_alone(options, tmp_path, caplog):
    run = replace(options, output=tmp_path / "a.h5")
    first = predict(run)
    written = run.output.stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert predict(replace(run, resume=True)) == first == json.loads(summary_path(run.output).read_text())
    assert run.output.stat().st_mtime_ns == written
    assert "is already whole; nothing to do" in caplog.text
    with pytest.raises(OutputError, match=r"is whole, but of another run \(rc"):
        predict(replace(run, resume=True, rc=True))


def test_a_killed_process_is_resumed(options, whole_file, tmp_path):
    """SIGKILL in the middle of a run, right after its first commit."""
    output = tmp_path / "killed.h5"
    script = (
        "import sys, time\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from genoformer.workflows import filled_output\n"
        "from genoformer.workflows.predict import predict\n"
        "from genoformer.workflows.predict_options import PredictOptions\n"
        "filled_output.COMMIT_SECONDS = 0\n"
        f"options = PredictOptions(Path({str(options.genome)!r}), {options.regions!r}, Path({str(output)!r}),\n"
        f"    {options.model!r}, species='human', threads=1, device='cpu')\n"
        "predict(options, lambda done, total: time.sleep(600 if done == 5 else 0))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 100
    while not journal_path(output).exists() or json.loads(journal_path(output).read_text())["num_done"] < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial_path(output).exists()
    assert not output.exists()
    predict(replace(options, output=output, resume=True))
    assert output.read_bytes() == whole_file.read_bytes()
