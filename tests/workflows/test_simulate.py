"""The files of `simulate`, read back as the rest of the project reads them."""

import dataclasses
import json

import numpy as np
import pytest
from Bio.Align import PairwiseAligner

from genoformer import __version__, assets
from genoformer.datasets.pileup import build_pileup
from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.alphabet import pileup_codes, pileup_letters, reverse_complement
from genoformer.io.bam import BamReader, BamRecord
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.error_tables import write_error_model
from genoformer.io.fasta import read_fasta
from genoformer.io.subreads import decode_ccs, decode_subread, iterate_molecules
from genoformer.io.truth import read_truth_bed, read_truth_split
from genoformer.models.vote import vote
from genoformer.workflows.align import AlignOptions, align
from genoformer.workflows.draft import DraftOptions, draft
from genoformer.workflows.examples import ExamplesOptions, make_examples
from genoformer.workflows.fit_errors import shipped_error_model
from genoformer.workflows.simulate import SimulateOptions, SimulateSummary, simulate

NAMES = (
    "genome.fa", "subreads.bam", "ccs.bam", "subreads_to_ccs.bam", "truth.fasta", "truth_to_ccs.bam", "truth.bed",
    "truth_split.tsv", "simulation.json",
)  # fmt: skip
EXAMPLE_FILES = tuple(name for name in NAMES if name != "simulation.json")


@pytest.fixture(scope="module")
def needs_align():
    for name in ("mappy", "edlib", "pyabpoa"):
        pytest.importorskip(name)


def options(out_dir, **changes):
    small = {
        "seed": 3, "num_zmws": 10, "min_passes": 5, "max_passes": 9, "min_length_bp": 400, "max_length_bp": 700,
        "random_bp": 40_000, "threads": 1,
    }  # fmt: skip
    return SimulateOptions(out_dir, **(small | changes))


def molecules(folder):
    """(CCS read, subreads, truth) of each ZMW."""
    truth = {name.rsplit("/", 1)[0]: letters for name, letters in read_fasta(folder / "truth.fasta").items()}
    with BamReader(folder / "subreads_to_ccs.bam") as subreads, CcsFinder(folder / "ccs.bam") as ccs:
        for raw in iterate_molecules(subreads, ccs):
            read = decode_ccs(raw.ccs, folder)
            yield read, [decode_subread(one, folder) for one in raw.subreads], truth[read.name.rsplit("/", 1)[0]]


def raw_records(path):
    """Without the header, which names versions."""
    with BamReader(path) as reader:
        return list(reader)


def records(path):
    return [BamRecord(raw, path) for raw in raw_records(path)]


@pytest.fixture(scope="module")
def simulated(needs_align, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("simulated") / "new" / "folder"
    return out_dir, simulate(options(out_dir))


def edit_distance(a, b):
    return -PairwiseAligner(mode="global", match_score=0, mismatch_score=-1, gap_score=-1).score(a, b)


def errors_before_and_after_vote(folder):
    before = after = 0
    for ccs, subreads, truth in molecules(folder):
        pileup = build_pileup(ccs, subreads)
        codes, _ = vote(pileup.codes, pileup.span, pileup.ccs_codes, pileup.ccs_quals)
        before += edit_distance(ccs.sequence, truth)
        after += edit_distance(pileup_letters(codes[codes > 0]), truth)
    return before, after


def test_files_and_counts(simulated):
    out_dir, summary = simulated
    assert summary.files == tuple(out_dir / name for name in NAMES)
    assert sorted(file.name for file in out_dir.iterdir()) == sorted(NAMES)
    found, raw = list(molecules(out_dir)), records(out_dir / "subreads.bam")
    assert summary.num_zmws == summary.num_drafts == len(found) == sum(summary.num_molecules.values()) == 10
    assert summary.num_subreads == len(raw)
    assert summary.num_subread_bases == sum(record.length for record in raw)
    assert summary.num_truth_bases == sum(len(truth) for _, _, truth in found)
    assert all(4 <= len(subreads) <= 9 for _, subreads, _ in found)  # a partial pass may be too short to align
    assert all(400 <= len(truth) <= 700 for _, _, truth in found)
    assert set(summary.seconds) == {"genome", "subreads", "draft", "align", "truth"}


def test_raw_subreads_are_as_the_instrument_writes_them(simulated):
    raw = records(simulated[0] / "subreads.bam")
    assert {record.flag for record in raw} == {4}
    assert all(len(record.tag("pw")) == len(record.tag("ip")) == record.length for record in raw)
    assert all(record.tag("cx") in (1, 2, 3) for record in raw)
    holes = [record.tag("zm") for record in raw]
    assert holes == sorted(holes)
    assert set(holes) == set(range(4_194_304, 4_194_314))


def test_drafts_and_alignments_are_what_the_commands_make_of_the_raw_subreads(simulated, tmp_path):
    out_dir, _ = simulated
    subreads = str(out_dir / "subreads.bam")
    draft(DraftOptions(subreads, str(tmp_path / "ccs.bam"), threads=1))
    align(AlignOptions(subreads, str(tmp_path / "ccs.bam"), str(tmp_path / "subreads_to_ccs.bam"), threads=1))
    for name in ("ccs.bam", "subreads_to_ccs.bam"):
        assert raw_records(tmp_path / name) == raw_records(out_dir / name)


def test_truth_names_join_with_the_holes_of_the_reads(simulated):
    out_dir, _ = simulated
    assert list(read_fasta(out_dir / "truth.fasta")) == [f"m00000_000000_000000/{4194304 + i}/truth" for i in range(10)]
    assert [ccs.name.split("/")[1] for ccs, _, _ in molecules(out_dir)] == [str(4194304 + i) for i in range(10)]


def test_truth_lies_in_the_genome_where_the_files_say(simulated):
    out_dir, _ = simulated
    [(contig, genome)] = read_fasta(out_dir / "genome.fa").items()
    assert (contig, len(genome)) == ("random", 40_000)
    truths = list(read_fasta(out_dir / "truth.fasta").values())
    titles = [line[1:].split() for line in (out_dir / "truth.fasta").read_text().splitlines() if line[0] == ">"]
    places = [line.split("\t") for line in (out_dir / "truth.bed").read_text().splitlines()]
    starts = {"random:1-32000": 0, "random:32001-36000": 32_000, "random:36001-40000": 36_000}
    for (_, region, strand), truth, (stretch, start, end, _) in zip(titles, truths, places, strict=True):
        first, last = map(int, region.removeprefix("random:").split("-"))
        assert (first - 1, last) == (int(start) + starts[stretch], int(end) + starts[stretch])
        letters = genome[first - 1 : last]
        assert truth == (letters if strand == "+" else reverse_complement(letters))


def test_truth_is_on_the_strand_of_the_draft_and_aligned_to_it(simulated):
    out_dir, summary = simulated
    truths = records(out_dir / "truth_to_ccs.bam")
    assert {record.flag for record in truths} == {0}
    letters = [truth for _, _, truth in molecules(out_dir)]
    assert [record.sequence for record in truths] == letters
    distances = [edit_distance(ccs.sequence, truth) for ccs, _, truth in molecules(out_dir)]
    assert sum(distances) <= summary.num_draft_errors <= 1.2 * sum(distances) + 5


def test_examples_take_the_folder(simulated, tmp_path):
    out_dir, summary = simulated
    inputs = (str(out_dir / name) for name in (
        "subreads_to_ccs.bam", "ccs.bam", "truth_to_ccs.bam", "truth.bed", "truth_split.tsv"))  # fmt: skip
    made = make_examples(ExamplesOptions(*inputs, tmp_path))
    assert made["n_zmw_pass"] == 10
    assert {split: made.get(f"n_zmw_{split}", 0) for split in ("train", "eval", "test")} == {
        split: summary.num_molecules.get(split, 0) for split in ("train", "eval", "test")
    }
    assert made["n_examples"] > 40


def test_each_molecule_is_in_the_split_of_its_part_of_the_genome(needs_align, tmp_path):
    simulate(options(tmp_path, num_zmws=40, min_passes=3, max_passes=3, max_length_bp=420, random_bp=5000))
    contigs, splits = read_truth_bed(tmp_path / "truth.bed"), read_truth_split(tmp_path / "truth_split.tsv", "human")
    assert splits == {"random:1-4000": "train", "random:4001-4500": "eval", "random:4501-5000": "test"}
    found = [splits[contig] for contig in contigs.values()]
    assert found.count("train") > 30
    assert {"eval", "test"} & set(found)


def test_pulse_widths_and_durations_belong_to_their_bases(simulated):
    """On both strands, mismatches are short (9.1 against 16.6), bases after a deletion late (35 against 17)."""
    deletion, equal, different = 2, 7, 8
    for is_reverse in (False, True):
        pulses, durations = {equal: [], different: []}, {True: [], False: []}
        for ccs, subreads, _ in molecules(simulated[0]):
            run_ends = np.flatnonzero(np.diff(pileup_codes(ccs.sequence), prepend=0, append=0))
            alone = set(run_ends[:-1][np.diff(run_ends) == 1].tolist())
            for one in subreads:
                if one.is_reverse != is_reverse:
                    continue
                ref_at, read_at = one.start, 0
                for op, number in zip((one.cigar & 15).tolist(), (one.cigar >> 4).tolist(), strict=True):
                    if op in pulses:
                        pulses[op].extend(one.pw[read_at : read_at + number].tolist())
                        durations[False].extend(one.ip[read_at : read_at + number].tolist())
                    if op == deletion and number == 1 and ref_at in alone:
                        durations[True].append(one.ip[read_at - 1 if is_reverse else read_at])
                    read_at += number * (op != deletion)
                    ref_at += number * (op in (deletion, equal, different))
        assert np.mean(pulses[different]) < 0.75 * np.mean(pulses[equal])
        assert np.mean(durations[True]) > 1.4 * np.mean(durations[False])


def without_seconds(summary: SimulateSummary):
    return dataclasses.replace(summary, files=(), seconds={})


def test_same_seed_same_bytes_whatever_the_threads(simulated, tmp_path):
    out_dir, summary = simulated
    assert without_seconds(simulate(options(tmp_path, threads=2))) == without_seconds(summary)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (out_dir / name).read_bytes()


def test_another_seed_gives_other_reads(simulated, tmp_path):
    out_dir, _ = simulated
    simulate(options(tmp_path, seed=4))
    for name in NAMES:
        assert (tmp_path / name).read_bytes() != (out_dir / name).read_bytes() or name == "truth_split.tsv"


def test_a_zmw_does_not_depend_on_how_many_there_are(simulated, tmp_path):
    simulate(options(tmp_path, num_zmws=3))
    few, many = list(molecules(tmp_path)), list(molecules(simulated[0]))[:3]
    for (ccs, subreads, truth), (other_ccs, other_subreads, other_truth) in zip(few, many, strict=True):
        assert (truth, ccs.name, ccs.sequence) == (other_truth, other_ccs.name, other_ccs.sequence)
        assert [one.name for one in subreads] == [one.name for one in other_subreads]
        assert all((a.pw == b.pw).all() for a, b in zip(subreads, other_subreads, strict=True))


def test_one_pass_is_its_own_draft(needs_align, tmp_path):
    summary = simulate(options(tmp_path, num_zmws=3, min_passes=1, max_passes=1))
    assert summary.num_drafts == summary.num_subreads == 3
    assert summary.num_draft_errors > 0.05 * summary.num_truth_bases


def test_provenance_names_no_path(simulated):
    out_dir, _ = simulated
    provenance = json.loads((out_dir / "simulation.json").read_text())
    assert provenance == {
        "version": __version__, "command": "genoformer consensus simulate", "seed": 3, "num_zmws": 10,
        "min_passes": 5, "max_passes": 9, "min_length_bp": 400, "max_length_bp": 700, "genome": None,
        "random_bp": 40_000, "error_model": None, "movie": "m00000_000000_000000",
    }  # fmt: skip


def test_molecules_are_cut_from_a_genome(needs_align, tmp_path):
    genome = tmp_path / "genome.fa"
    rng = np.random.default_rng(0)
    long = bytes(rng.choice(np.frombuffer(b"ACGT", np.uint8), 3000))
    genome.write_bytes(b">short\n" + b"A" * 699 + b"\n>long\n" + long[:1000].lower() + b"N" * 20 + long[1000:] + b"\n")
    summary = simulate(options(tmp_path / "out", genome=genome, num_zmws=12, min_passes=1, max_passes=1))
    assert "genome.fa" not in {file.name for file in summary.files}
    titles = [
        line[1:].split() for line in (tmp_path / "out" / "truth.fasta").read_text().splitlines() if line[0] == ">"
    ]
    truths = read_fasta(tmp_path / "out" / "truth.fasta").values()
    sequences = read_fasta(genome)
    for (_, region, strand), truth in zip(titles, truths, strict=True):
        name, place = region.split(":")
        first, last = map(int, place.split("-"))
        letters = sequences[name][first - 1 : last]
        assert truth == (letters if strand == "+" else reverse_complement(letters))
        assert b"N" not in truth
    assert {region.split(":")[0] for _, region, _ in titles} == {"long"}
    provenance = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert provenance["genome"] == "genome.fa"
    assert "random_bp" not in provenance


def test_another_error_model(needs_align, tmp_path):
    """Without errors, drafts are the truth."""
    shipped = shipped_error_model()
    nothing = {name: getattr(shipped, name) * 0 for name in ("deletion", "substitution", "copy", "insertion")}
    write_error_model(tmp_path / "model.json", dataclasses.replace(shipped, **nothing), {})
    summary = simulate(options(tmp_path / "out", error_model=tmp_path / "model.json", num_zmws=4))
    assert summary.num_draft_errors == 0
    assert json.loads((tmp_path / "out" / "simulation.json").read_text())["error_model"] == "model.json"


def test_a_genome_that_is_too_short_or_full_of_n(needs_align, tmp_path):
    genome = tmp_path / "genome.fa"
    genome.write_bytes(b">a\n" + b"A" * 500 + b"\n>b\nACGT\n")
    with pytest.raises(DataError, match=r"genome.fa: its longest part for one split has 403 bases; expected .* 700 bp"):
        simulate(options(tmp_path / "out", genome=genome))
    genome.write_bytes(b">a\n" + b"N" * 5000)
    with pytest.raises(DataError, match=r"genome.fa: no stretch of \d+ bp without N was found; use another genome"):
        simulate(options(tmp_path / "out", genome=genome))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_zmws": 0}, "number of ZMWs is 0; expected 1 to 1000000"),
        ({"min_passes": 0}, "least number of passes is 0; expected 1 to 1000"),
        ({"max_passes": 4}, "largest number of passes is 4; expected 5 to 1000"),
        ({"min_length_bp": 99}, "least length in bp is 99; expected 100 to 100000"),
        ({"max_length_bp": 100_001}, "largest length in bp is 100001; expected 400 to 100000"),
        ({"random_bp": 699}, "size of the random genome in bp is 699; expected 700 to 1000000000"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"threads": 0}, "--threads is 0; expected at least 1"),
        ({"movie": "a/b"}, "movie is 'a/b'; expected up to 100 letters"),
        ({"movie": ""}, "movie is ''"),
    ],
)
def test_options_out_of_range(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        simulate(options(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(needs_align, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out: cannot be made: Not a directory"):
        simulate(options(tmp_path / "file" / "out", num_zmws=1))


@pytest.fixture(scope="module")
def shipped():
    return assets.path("examples", "simulation.json").parent


def test_shipped_example_is_what_its_command_makes(needs_align, shipped, tmp_path):
    """`genoformer consensus simulate --seed 7 --zmws 20 --random 50kb`: same records, whatever the headers say."""
    simulate(SimulateOptions(tmp_path, seed=7, num_zmws=20, random_bp=50_000, threads=1))
    for name in EXAMPLE_FILES:
        if name.endswith(".bam"):
            assert raw_records(tmp_path / name) == raw_records(shipped / name)
        else:
            assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()


def test_shipped_example_is_small(shipped):
    assert sum(file.stat().st_size for file in shipped.iterdir()) < 2_000_000


def test_shipped_example_as_its_readme_says(shipped):
    before, after = errors_before_and_after_vote(shipped)
    text = (shipped / "README.md").read_text()
    assert f"{before:.0f} errors" in text
    assert f"{after:.0f} errors" in text
