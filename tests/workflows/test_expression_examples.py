import json
import logging
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from genoformer.errors import DataError, UsageError
from genoformer.genome.alphabet import genome_codes
from genoformer.genome.interval import Interval
from genoformer.io.basenji import open_basenji, read_arrays
from genoformer.io.expression_examples import ExpressionShard, WindowShape
from genoformer.io.fasta import write_fasta
from genoformer.workflows.expression_examples import ExpressionExamplesOptions, make_expression_examples
from tests.bigwig_builder import write_bigwig, write_entries

LENGTHS = {"chr1": 400, "chr2": 120}
HEADER = "\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription"
REGIONS = "chr2\t0\t40\tvalid\nchr1\t100\t140\ttrain\nchr1\t360\t400\ttrain\nchr1\t20\t60\ttest\n"
NAME = "00001-of-00001.h5"


def letters_of(chrom):
    return np.random.default_rng(len(chrom) + LENGTHS[chrom]).choice(
        np.frombuffer(b"ACGTNacgt", np.uint8), LENGTHS[chrom]
    )


def coverage_of(name, chrom):
    """Whole numbers with gaps where they would be 0."""
    values = np.random.default_rng([ord(name[0]), LENGTHS[chrom]]).integers(0, 6, LENGTHS[chrom]).astype(float)
    return np.where(values == 0, np.nan, values)


def filled(name, chrom, start, end):
    return np.nan_to_num(coverage_of(name, chrom))[start:end]


@pytest.fixture
def options(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "genome.fa").write_bytes(b"".join(b">%s\n%s\n" % (c.encode(), letters_of(c).tobytes()) for c in LENGTHS))
    (folder / "regions.bed").write_text(REGIONS)
    for name in ("p", "m", "d"):
        write_bigwig(folder / f"{name}.bw", {chrom: coverage_of(name, chrom) for chrom in LENGTHS}, LENGTHS)
    rows = [
        "0\tx+\tp.bw\t\t\t1\tsum\t1\tCAGE:x",
        "1\tx-\tm.bw\t12\t\t0.5\tsum\t0\tCAGE:x",
        "2\td\td.bw\t384\t4\t2\tmean\t2\tDNASE:d",
    ]
    (folder / "targets.txt").write_text("\n".join([HEADER, *rows]) + "\n")
    return ExpressionExamplesOptions(
        folder / "genome.fa", folder / "targets.txt", folder / "regions.bed", tmp_path / "out", bin_bp=10
    )


def read(options, split, index=0, suffix=NAME):
    with ExpressionShard(options.out_dir / f"{split}-{suffix}") as shard:
        return shard.bins(index), *shard.read(index)


def expected_targets(chrom, start, end, bin_bp=10):
    plus = filled("p", chrom, start, end).reshape(-1, bin_bp).sum(1)
    minus = np.minimum(filled("m", chrom, start, end).reshape(-1, bin_bp).sum(1) / 2, 12)
    mean = filled("d", chrom, start, end).reshape(-1, bin_bp).mean(1) * 2
    return np.stack([plus, minus, np.where(mean > 4, 3 + np.sqrt(np.maximum(mean - 3, 0)), mean)])


def padded_codes(chrom, start, end):
    letters = b"N" * 500 + letters_of(chrom).tobytes() + b"N" * 500
    return genome_codes(letters)[start + 500 : end + 500]


def test_sequences_and_targets_of_every_region(options):
    summary = make_expression_examples(options)
    places = {
        ("valid", 0): ("chr2", 0),
        ("train", 0): ("chr1", 100),
        ("train", 1): ("chr1", 360),
        ("test", 0): ("chr1", 20),
    }
    for (split, index), (chrom, start) in places.items():
        bins, codes, targets = read(options, split, index)
        assert bins == Interval(chrom, start, start + 40)
        np.testing.assert_array_equal(codes, padded_codes(chrom, start, start + 40))
        np.testing.assert_allclose(targets, expected_targets(chrom, start, start + 40), rtol=1e-6)
        assert targets.dtype == np.float32
    assert [summary[f"n_examples{split}"] for split in ("", "_train", "_valid", "_test")] == [4, 2, 1, 1]
    assert json.loads((options.out_dir / "examples-00001-of-00001.summary.json").read_text()) == summary


def test_longer_sequences_crop_and_the_genome_s_ends(options):
    summary = make_expression_examples(replace(options, sequence_bp=100, crop_bp=5, bin_bp=6))
    assert (summary["sequence_bp"], summary["bin_bp"], summary["num_bins"]) == (100, 6, 5)
    for split, index, chrom, start in (("valid", 0, "chr2", 5), ("train", 1, "chr1", 365), ("train", 0, "chr1", 105)):
        bins, codes, targets = read(options, split, index)
        assert bins == Interval(chrom, start, start + 30)
        np.testing.assert_array_equal(codes, padded_codes(chrom, start - 35, start + 65))
        np.testing.assert_allclose(targets, expected_targets(chrom, start, start + 30, 6), rtol=1e-6)
    assert summary["n_sequences_overlapping_other_splits"] == 1
    with ExpressionShard(options.out_dir / f"train-{NAME}") as shard:
        assert (shard.shape, shard.transform) == (WindowShape(100, 6, 5), "baskerville")
        assert [track.identifier for track in shard.tracks] == ["x+", "x-", "d"]


def test_the_same_bytes_with_workers_and_as_shards(options, tmp_path):
    make_expression_examples(options)
    other = replace(options, out_dir=tmp_path / "workers", num_workers=2)
    make_expression_examples(other)
    for split in ("train", "valid", "test"):
        assert (options.out_dir / f"{split}-{NAME}").read_bytes() == (other.out_dir / f"{split}-{NAME}").read_bytes()
    for index in (1, 2):
        make_expression_examples(replace(options, out_dir=tmp_path / "parts", shard=(index, 2)))
    parts = replace(options, out_dir=tmp_path / "parts")
    for split, index, suffix in (
        ("valid", 0, "00001"),
        ("train", 0, "00002"),
        ("train", 1, "00001"),
        ("test", 0, "00002"),
    ):
        whole = read(options, split, index)
        part = read(parts, split, 0, f"{suffix}-of-00002.h5")
        assert whole[0] == part[0]
        np.testing.assert_array_equal(whole[2], part[2])


def test_blacklisted_regions_are_bounded_by_the_median(options, tmp_path):
    (tmp_path / "black.bed").write_text("chr1\t75\t82\nchr1\t158\t170\nchr3\t0\t5\n")  # with margins 55-102 and 138-190
    make_expression_examples(replace(options, bin_bp=2, blacklist=tmp_path / "black.bed"))
    coverage = filled("p", "chr1", 100, 140)
    median = np.median(coverage)
    bounded = [min(value, median) if at < 2 or at >= 38 else value for at, value in enumerate(coverage)]
    assert bounded != coverage.tolist()
    assert read(options, "train")[2][0].tolist() == np.reshape(bounded, (-1, 2)).sum(1).tolist()


def test_bases_without_a_value_may_be_interpolated(options):
    make_expression_examples(replace(options, interpolate=True))
    coverage = coverage_of("p", "chr1")[100:140]
    known = np.flatnonzero(~np.isnan(coverage))
    line = np.interp(np.arange(40), [-1, *known, 40], [0, *coverage[known], 0])
    np.testing.assert_allclose(read(options, "train")[2][0], line.reshape(-1, 10).sum(1), rtol=1e-6)


def test_as_borzoi(options):
    path = options.targets
    path.write_text(path.read_text().replace("\tsum\t", "\tsum_sqrt\t"))
    summary = make_expression_examples(replace(options, as_borzoi=True))
    assert summary["transform"] == "borzoi"
    sums = filled("m", "chr1", 100, 140).reshape(-1, 10).sum(1)
    np.testing.assert_allclose(read(options, "train")[2][1], np.minimum(sums**0.75, 12) / 2, rtol=1e-6)


def test_float16_keeps_what_it_can(options, tmp_path, caplog):
    write_bigwig(options.targets.parent / "p.bw", {chrom: np.full(length, 9e3) for chrom, length in LENGTHS.items()})
    with caplog.at_level(logging.WARNING):
        summary = make_expression_examples(replace(options, dtype="float16"))
    assert summary["n_values_bounded"] == 16
    assert "16 values are too large for float16" in caplog.text
    assert read(options, "train")[2][0].tolist() == [65_504] * 4
    single = replace(options, out_dir=tmp_path / "single")
    assert make_expression_examples(single)["n_values_bounded"] == 0
    assert read(single, "train")[2][0].tolist() == [90_000] * 4


def test_a_track_without_a_contig(options, caplog):
    write_bigwig(options.targets.parent / "p.bw", {"chr1": coverage_of("p", "chr1")})
    with caplog.at_level(logging.WARNING):
        make_expression_examples(options)
    assert "1 of 3 tracks have no value on some contigs, which counts as 0; " in caplog.text
    assert "p.bw has none on chr2" in caplog.text
    assert read(options, "valid")[2][0].tolist() == [0] * 4


def rewrite(options, **texts):
    for name, text in texts.items():
        getattr(options, name).write_text(text)
    return options


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("", "regions.bed: has no regions; expected BED lines"),
        ("chr1\t0\t40\ttrain\nchr1\t50\t80\ttrain\n", "line 2: has 30 bp, line 1 has 40; expected regions of one"),
        ("chr1\t0\t45\ttrain\n", "regions of 45 bp without 0 at either end are no whole number of bins of 10 bp"),
        ("chr1\t370\t410\ttrain\n",
         "line 1: chr1:371-410 reaches past the end of chr1, 400 bp in .*genome.fa; check the genome build"),
        ("1\t0\t40\ttrain\n", "genome.fa: has no contig '1'; it has 'chr1': rename the contigs in one of the files"),
        ("chr1\t0\t40\n", "regions.bed line 1: column 4 is None; expected a split such as"),
        ("chr1\t0\t40\ttrain\nchr1\t30\t70\ttest\n", " line 2: chr1:31-70 of split test overlaps chr1:1-40 of split"),
    ],
)  # fmt: skip
def test_regions_that_do_not_fit(options, regions, message):
    with pytest.raises(DataError, match=message):
        make_expression_examples(rewrite(options, regions=regions))
    assert not options.out_dir.exists()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (
            {"chr1": 401, "chr2": 120},
            "p.bw: chr1 has 401 bp, in .*genome.fa it has 400; the track is of another genome build",
        ),
        (
            {"chr9": 7, "1": 400},
            "p.bw: has no contig 'chr2'; it has chr9, 1",
        ),
        ({"2": 120}, "p.bw: has no contig 'chr2'; it has '2': rename the contigs in one of the files"),
    ],
)
def test_a_track_of_another_genome(options, lengths, message):
    chrom = next(iter(lengths))
    write_entries(options.targets.parent / "p.bw", lengths, [(chrom, 0, 5, 1)])
    with pytest.raises(DataError, match=message):
        make_expression_examples(options)
    assert not options.out_dir.exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_value_that_is_no_number(options, num_workers):
    entries = [("chr1", 0, 110, 1), ("chr1", 110, 120, np.nan), ("chr2", 0, 9, 1)]
    write_entries(options.targets.parent / "m.bw", LENGTHS, entries)
    with pytest.raises(DataError, match=r"m.bw: has the value nan at chr1:111; expected numbers; make the track anew"):
        make_expression_examples(replace(options, num_workers=num_workers))
    assert list(options.out_dir.iterdir()) == []


def test_a_root_of_negative_coverage(options):
    rewrite(options, targets=options.targets.read_text().replace("\tsum\t", "\tsum_sqrt\t"))
    write_bigwig(options.targets.parent / "m.bw", {chrom: -np.ones(length) for chrom, length in LENGTHS.items()})
    with pytest.raises(
        DataError, match=r"m.bw: chr2:1-40: has a bin of -5, which has no root; give it another sum_stat"
    ):
        make_expression_examples(options)


def test_a_letter_that_is_no_base(options):
    genome = options.genome.read_text()
    options.genome.write_text(genome[:126] + "*" + genome[127:])  # after ">chr1\n", base 121
    with pytest.raises(DataError, match=r"genome.fa: '\*' at chr1:121; expected A, C, G, T, N or an IUPAC letter"):
        make_expression_examples(options)
    assert list(options.out_dir.iterdir()) == []


def test_files_that_are_not_there(options):
    (options.targets.parent / "d.bw").unlink()
    with pytest.raises(DataError, match=r"d.bw: cannot be read: No such file"):
        make_expression_examples(options)
    rewrite(options, targets=options.targets.read_text().replace("d.bw", ""))
    with pytest.raises(DataError, match="track 'd': has no file in the targets table"):
        make_expression_examples(options)


def test_a_sequence_that_cannot_have_the_bins_in_its_middle(options):
    for length in (30, 51):
        with pytest.raises(DataError, match=f"a sequence of {length} bp cannot have 40 bp of bins in its middle"):
            make_expression_examples(replace(options, sequence_bp=length))


def test_a_shard_out_of_range(options):
    with pytest.raises(UsageError, match="--shard is 0/2"):
        make_expression_examples(replace(options, shard=(0, 2)))


def coverage_behind(values, track):
    """Coverage of 32 bases a bin from which Baskerville would have made `values`, [N]."""
    values = values.astype(float)
    soft = track.clip_soft or np.inf
    values = np.where(values > soft, (values - soft + 1) ** 2 + soft - 1, values)
    if track.sum_stat == "sum_sqrt":
        values = ((values + 1) ** 2 - 1) / 32
    return np.repeat(values / track.scale, 32)


def test_real_windows_are_found_again_in_bigwigs_made_of_them(shared_data, tmp_path):
    real = open_basenji(shared_data / "expression" / "baskerville_tests" / "tiny" / "hg38")
    arrays = dict(zip("xy", islice(read_arrays(real, real.files["train"][4]), 2), strict=True))
    chosen = [0, 1, 24, 33, 34, 73]  # CAGE on two strands, the first and last DNASE, RNA with a scale, RNA3
    genome = [(name, np.frombuffer(b"ACGTN", np.uint8)[codes].tobytes()) for name, (codes, _) in arrays.items()]
    write_fasta(tmp_path / "genome.fa", genome)
    (tmp_path / "regions.bed").write_text("y\t32768\t98304\ttest\nx\t32768\t98304\ttrain\n")
    lines = (real.path / "targets.txt").read_text().splitlines()
    fields = [lines[1 + index].split("\t") for index in chosen]
    for place, row in enumerate(fields):
        track = real.tracks[chosen[place]]
        coverage = {name: coverage_behind(targets[chosen[place]], track) for name, (_, targets) in arrays.items()}
        padded = {name: np.pad(values, 32_768, constant_values=np.nan) for name, values in coverage.items()}
        write_bigwig(tmp_path / f"{place}.bw", padded)
        row[2], row[7] = f"{place}.bw", row[0]
    (tmp_path / "targets.txt").write_text("\n".join([lines[0], *("\t".join(row) for row in fields)]) + "\n")
    options = ExpressionExamplesOptions(
        tmp_path / "genome.fa", tmp_path / "targets.txt", tmp_path / "regions.bed", tmp_path / "out", 131_072, 32
    )
    make_expression_examples(options)
    assert {track.sum_stat for track in real.tracks} == {real.tracks[index].sum_stat for index in chosen}
    for name, split in (("x", "train"), ("y", "test")):
        _, codes, targets = read(options, split)
        np.testing.assert_array_equal(codes, arrays[name][0])
        np.testing.assert_allclose(targets, arrays[name][1][chosen].astype(float), rtol=2e-5, atol=1e-6)
