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
from genoformer.io.bam import BamReader
from genoformer.io.fasta import read_fasta
from genoformer.io.subreads import CcsFinder, decode_ccs, decode_subread, iterate_molecules
from genoformer.models.vote import vote
from genoformer.workflows.simulate import SimulateOptions, simulate

NAMES = ("subreads_to_ccs.bam", "ccs.bam", "truth.fasta", "simulation.json")
INSERTION, DELETION, EQUAL, DIFFERENT = 1, 2, 7, 8


def options(out_dir, **changes):
    small = {"seed": 3, "num_zmws": 10, "min_passes": 5, "max_passes": 9, "min_length_bp": 400, "max_length_bp": 700}
    return SimulateOptions(out_dir, **(small | changes))


def molecules(folder):
    """(CCS read, subreads, truth) of each ZMW."""
    truth = {name.rsplit("/", 1)[0]: letters for name, letters in read_fasta(folder / "truth.fasta").items()}
    with BamReader(folder / "subreads_to_ccs.bam") as subreads, CcsFinder(folder / "ccs.bam") as ccs:
        for raw in iterate_molecules(subreads, ccs):
            read = decode_ccs(raw.ccs, folder)
            yield read, [decode_subread(one, folder) for one in raw.subreads], truth[read.name.rsplit("/", 1)[0]]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
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
    found = list(molecules(out_dir))
    assert summary.num_zmws == len(found) == 10
    assert summary.num_subreads == sum(len(subreads) for _, subreads, _ in found)
    assert summary.num_subread_bases == sum(len(one.codes) for _, subreads, _ in found for one in subreads)
    assert summary.num_truth_bases == sum(len(truth) for _, _, truth in found)
    assert all(5 <= len(subreads) <= 9 for _, subreads, _ in found)
    assert all(400 <= len(truth) <= 700 for _, _, truth in found)


def test_truth_names_join_with_the_holes_of_the_reads(simulated):
    out_dir, _ = simulated
    assert list(read_fasta(out_dir / "truth.fasta")) == [f"m00000_000000_000000/{4194304 + i}/truth" for i in range(10)]
    assert [ccs.name.split("/")[1] for ccs, _, _ in molecules(out_dir)] == [str(4194304 + i) for i in range(10)]


def test_header_lists_every_draft_with_its_length(simulated):
    out_dir, _ = simulated
    with BamReader(out_dir / "subreads_to_ccs.bam") as reader:
        lines = reader.header.text.splitlines()
    found = [line.split("\t")[1:] for line in lines if line.startswith("@SQ")]
    assert found == [[f"SN:{ccs.name}", f"LN:{len(ccs.sequence)}"] for ccs, _, _ in molecules(out_dir)]
    assert lines[-1].split("\t")[:4] == ["@PG", "ID:genoformer", "PN:genoformer", f"VN:{__version__}"]


def test_pulse_widths_and_durations_belong_to_their_bases(simulated):
    """On both strands, mismatches are short (9.1 against 16.6), bases after a deletion late (35 against 17)."""
    for is_reverse in (False, True):
        pulses, durations = {EQUAL: [], DIFFERENT: []}, {True: [], False: []}
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
                    if op == DELETION and number == 1 and ref_at in alone:
                        durations[True].append(one.ip[read_at - 1 if is_reverse else read_at])
                    read_at += number * (op != DELETION)
                    ref_at += number * (op != INSERTION)
        assert np.mean(pulses[DIFFERENT]) < 0.75 * np.mean(pulses[EQUAL])
        assert np.mean(durations[True]) > 1.5 * np.mean(durations[False])


def test_drafts_have_errors_and_a_vote_mends_them(simulated):
    out_dir, summary = simulated
    before, after = errors_before_and_after_vote(out_dir)
    assert 0.97 < 1 - before / summary.num_truth_bases < 1
    assert after < 0.75 * before


def test_same_seed_same_bytes(simulated, tmp_path):
    out_dir, summary = simulated
    assert dataclasses.replace(simulate(options(tmp_path)), files=()) == dataclasses.replace(summary, files=())
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (out_dir / name).read_bytes()
    simulate(options(tmp_path, seed=4))
    for name in NAMES:
        assert (tmp_path / name).read_bytes() != (out_dir / name).read_bytes()


def test_a_zmw_does_not_depend_on_how_many_there_are(simulated, tmp_path):
    simulate(options(tmp_path, num_zmws=3))
    few, many = list(molecules(tmp_path)), list(molecules(simulated[0]))[:3]
    for (ccs, subreads, truth), (other_ccs, other_subreads, other_truth) in zip(few, many, strict=True):
        assert (truth, ccs.name, ccs.sequence) == (other_truth, other_ccs.name, other_ccs.sequence)
        assert [one.name for one in subreads] == [one.name for one in other_subreads]
        assert all((a.pw == b.pw).all() for a, b in zip(subreads, other_subreads, strict=True))


def test_provenance_names_no_path(simulated):
    out_dir, _ = simulated
    provenance = json.loads((out_dir / "simulation.json").read_text())
    assert provenance == {
        "version": __version__, "command": "genoformer consensus simulate", "seed": 3, "num_zmws": 10,
        "min_passes": 5, "max_passes": 9, "min_length_bp": 400, "max_length_bp": 700, "genome": None,
        "movie": "m00000_000000_000000",
    }  # fmt: skip


def test_molecules_are_cut_from_a_genome(tmp_path):
    genome = tmp_path / "genome.fa"
    rng = np.random.default_rng(0)
    long = bytes(rng.choice(np.frombuffer(b"ACGT", np.uint8), 3000))
    genome.write_bytes(b">short\n" + b"A" * 699 + b"\n>long\n" + long[:1000].lower() + b"N" * 20 + long[1000:] + b"\n")
    simulate(options(tmp_path / "out", genome=genome, num_zmws=12, min_passes=1, max_passes=1))
    sequences = read_fasta(genome)
    titles = [
        line[1:].split() for line in (tmp_path / "out" / "truth.fasta").read_text().splitlines() if line[0] == ">"
    ]
    truths = list(read_fasta(tmp_path / "out" / "truth.fasta").values())
    for (_, region, strand), truth in zip(titles, truths, strict=True):
        name, place = region.split(":")
        first, last = map(int, place.split("-"))
        letters = sequences[name][first - 1 : last]
        assert truth == (letters if strand == "+" else reverse_complement(letters))
        assert b"N" not in truth
    assert {strand for _, _, strand in titles} == {"+", "-"}
    assert {region.split(":")[0] for _, region, _ in titles} == {"long"}
    assert json.loads((tmp_path / "out" / "simulation.json").read_text())["genome"] == "genome.fa"


def test_a_genome_that_is_too_short_or_full_of_n(tmp_path):
    genome = tmp_path / "genome.fa"
    genome.write_bytes(b">a\n" + b"A" * 500 + b"\n>b\nACGT\n")
    with pytest.raises(DataError, match=r"genome.fa: its longest sequence has 500 bases; expected .* 700 bp"):
        simulate(options(tmp_path / "out", genome=genome))
    genome.write_bytes(b">a\n" + b"N" * 5000)
    with pytest.raises(DataError, match=r"genome.fa: no stretch of \d+ bp without N in 100 tries"):
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
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"movie": "a/b"}, "movie is 'a/b'; expected up to 100 letters"),
        ({"movie": ""}, "movie is ''"),
    ],
)
def test_options_out_of_range(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        simulate(options(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out: cannot be made: Not a directory"):
        simulate(options(tmp_path / "file" / "out", num_zmws=1))


def test_the_default_simulation_is_small(tmp_path):
    summary = simulate(SimulateOptions(tmp_path, seed=0, num_zmws=20))
    assert sum(file.stat().st_size for file in summary.files) < 1_000_000


@pytest.fixture(scope="module")
def shipped():
    return assets.path("examples", "simulation.json").parent


def test_shipped_example_is_what_its_command_makes(shipped, tmp_path):
    """`genoformer consensus simulate --seed 7 --zmws 20`: same records, whatever the version in the header."""
    simulate(SimulateOptions(tmp_path, seed=7, num_zmws=20))
    assert (tmp_path / "truth.fasta").read_bytes() == (shipped / "truth.fasta").read_bytes()
    for name in ("subreads_to_ccs.bam", "ccs.bam"):
        with BamReader(tmp_path / name) as made, BamReader(shipped / name) as there:
            assert list(made) == list(there)


def test_shipped_example_has_room_for_correction(shipped):
    before, after = errors_before_and_after_vote(shipped)
    assert after < 0.75 * before
    text = (shipped / "README.md").read_text()
    assert f"{before:.0f} errors" in text
    assert f"{after:.0f} errors" in text
