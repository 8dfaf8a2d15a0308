import itertools
import random

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, OutputError, UsageError
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import decode_subread, iterate_molecules
from genoformer.workflows.align import AlignCounts, AlignOptions, align
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from tests.align_inputs import (
    noisy,
    random_sequence,
    raw_subread,
    records_of,
    reverse_complement,
    simulate_zmw,
    write_as_sequenced,
    write_raw,
)
from tests.bam_builder import MOVIE, bgzf, ccs_name, ccs_read, raw_header, subread, write_bam

pytest.importorskip("mappy")
pytest.importorskip("edlib")

EDIT_OPS = "MIDNSHP=X"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve ZMWs of which the third has no CCS read, and a CCS read without subreads; CCS reads in another order."""
    folder = tmp_path_factory.mktemp("align")
    zmws = {zmw: simulate_zmw(zmw, 400 + 60 * zmw, 1 + zmw % 4) for zmw in (*range(1, 13), 99)}
    write_raw(folder / "raw.bam", [read for zmw in range(1, 13) for read in zmws[zmw][1]])
    write_bam(folder / "ccs.bam", [zmws[zmw][0] for zmw in (2, 1, 99, *range(4, 13))])
    return folder


def run(folder, output, **options):
    return align(AlignOptions(str(folder / "raw.bam"), str(folder / "ccs.bam"), str(output), **options))


@pytest.fixture(scope="module")
def aligned(folder):
    path = folder / "aligned.bam"
    return path, run(folder, path, threads=1)


def test_counts(aligned):
    num_subreads = sum(1 + zmw % 4 for zmw in range(1, 13))
    assert aligned[1] == AlignCounts(
        zmws=12, zmws_without_ccs=1, subreads=num_subreads, subreads_without_ccs=4, aligned=num_subreads - 4
    )


def test_subreads_lie_on_their_ccs_in_input_order(folder, aligned):
    raw = {record.query_name: record for record in records_of(folder / "raw.bam")}
    records = records_of(aligned[0])
    assert [record.query_name for record in records] == [name for name in raw if "/3/" not in name]
    for zmw, group in itertools.groupby(records, lambda record: int(record.query_name.split("/")[1])):
        group = list(group)
        assert {record.reference_name for record in group} == {ccs_name(zmw)}
        assert [record.is_reverse for record in group] == [bool(number % 2) for number in range(len(group))]
        for record in group:
            assert record.reference_start <= 5
            assert record.reference_end >= 400 + 60 * zmw - 5
            assert record.get_forward_sequence() == raw[record.query_name].query_sequence
            assert record.get_tags(with_value_type=True) == raw[record.query_name].get_tags(with_value_type=True)


def test_cigars_are_true_to_the_bases(folder, aligned):
    ccs = {record.query_name: record.query_sequence for record in records_of(folder / "ccs.bam")}
    for record in records_of(aligned[0]):
        reference, read = record.reference_start, 0
        for op, length in record.cigartuples:
            ours = record.query_sequence[read : read + length]
            theirs = ccs[record.reference_name][reference : reference + length]
            if EDIT_OPS[op] in "=X":
                assert all((a == b) == (EDIT_OPS[op] == "=") for a, b in zip(ours, theirs, strict=True))
            reference += length * (EDIT_OPS[op] in "=XD")
            read += length * (EDIT_OPS[op] in "=XIS")
        assert (reference, read) == (record.reference_end, len(record.query_sequence))


def test_header(folder, aligned):
    with pysam.AlignmentFile(str(aligned[0])) as file:
        header = file.header.to_dict()
    assert header["HD"] == {"VN": "1.5", "SO": "unknown", "pb": "3.0.5"}
    assert [entry["SN"] for entry in header["SQ"]] == [ccs_name(zmw) for zmw in (2, 1, 99, *range(4, 13))]
    assert [entry["LN"] for entry in header["SQ"][:2]] == [520, 460]
    assert [entry["ID"] for entry in header["RG"]] == ["c0ffee00"]
    *before, own = header["PG"]
    assert [entry["ID"] for entry in before] == ["baz2bam", "samtools"]
    assert (own["ID"], own["PP"]) == ("genoformer", "samtools")
    assert own["CL"] == "genoformer consensus align raw.bam ccs.bam"
    assert own["DS"].startswith("mappy 2.")


def test_the_bytes_do_not_depend_on_the_number_of_processes(folder, aligned, tmp_path):
    assert run(folder, tmp_path / "two.bam", threads=2) == aligned[1]
    assert (tmp_path / "two.bam").read_bytes() == aligned[0].read_bytes()


@pytest.mark.parametrize("num_shards", [1, 3, 30])
def test_shards_put_together_are_the_file(folder, aligned, tmp_path, num_shards):
    total, records = AlignCounts(), []
    for index in range(1, num_shards + 1):
        path = tmp_path / f"{index}.bam"
        total.add_(run(folder, path, threads=1, shard=(index, num_shards)))
        with BamReader(path) as shard, BamReader(aligned[0]) as whole:
            assert shard.header.names == whole.header.names
            records += list(shard)
    assert total == aligned[1]
    with BamReader(aligned[0]) as whole:
        assert records == list(whole)


def test_correct_takes_what_align_makes(tmp_path):
    """A draft with six wrong bases, and eleven noisy passes of its molecule that vote on it."""
    edlib = pytest.importorskip("edlib")
    ccs, subreads = simulate_zmw(4, 900, 11)
    molecule, draft = ccs.sequence, list(ccs.sequence)
    for at in range(70, 900, 150):
        draft[at] = reverse_complement(draft[at])
    write_raw(tmp_path / "raw.bam", subreads)
    write_bam(tmp_path / "ccs.bam", [ccs_read(4, "".join(draft))])
    run(tmp_path, tmp_path / "aligned.bam", threads=1)
    options = CorrectOptions(str(tmp_path / "aligned.bam"), str(tmp_path / "ccs.bam"), str(tmp_path / "out.bam"),
                             model="vote", min_quality=0, skip_windows_above=0, threads=1)  # fmt: skip
    counts = correct(options)["counts"]
    assert (counts["molecules"], counts["subreads"], counts["unusable_subreads"]) == (1, 11, 0)
    [corrected] = records_of(tmp_path / "out.bam")
    assert edlib.align(corrected.query_sequence, molecule)["editDistance"] <= 2
    assert edlib.align("".join(draft), molecule)["editDistance"] == 6


def test_kinetics_reach_correct_along_the_ccs(folder, aligned):
    with BamReader(aligned[0]) as subreads, CcsFinder(folder / "ccs.bam") as ccs:
        decoded = [decode_subread(raw, "aligned.bam") for m in iterate_molecules(subreads, ccs) for raw in m.subreads]
    assert len(decoded) == aligned[1].aligned
    for read in decoded:
        as_sequenced = read.pw[::-1] if read.is_reverse else read.pw
        assert np.array_equal(as_sequenced, 1 + np.arange(len(read.pw)) % 200)


def test_by_strand_reads_get_the_subreads_of_their_strand(tmp_path):
    rng = random.Random(3)
    molecule = random_sequence(rng, 900)
    copies = [noisy(rng, molecule if number % 2 == 0 else reverse_complement(molecule)) for number in range(5)]
    write_raw(tmp_path / "raw.bam", [raw_subread(4, 1000 * at, copy) for at, copy in enumerate(copies)])
    forward = ccs_read(4, molecule, suffix="ccs/fwd")
    reverse = ccs_read(4, reverse_complement(molecule), suffix="ccs/rev")
    write_bam(tmp_path / "ccs.bam", [reverse, forward])
    assert run(tmp_path, tmp_path / "both.bam", threads=1) == AlignCounts(zmws=1, subreads=5, aligned=5)
    found = [(record.reference_name[-3:], record.is_reverse) for record in records_of(tmp_path / "both.bam")]
    assert found == [("fwd", False), ("rev", False), ("fwd", False), ("rev", False), ("fwd", False)]
    options = CorrectOptions(str(tmp_path / "both.bam"), str(tmp_path / "ccs.bam"), str(tmp_path / "out.bam"),
                             model="vote", min_quality=0, threads=1)  # fmt: skip
    assert correct(options)["counts"]["molecules"] == 2
    write_bam(tmp_path / "ccs.bam", [reverse])
    counts = run(tmp_path, tmp_path / "one.bam", threads=1)
    assert counts == AlignCounts(zmws=1, subreads=5, aligned=2, other_strand=3)


def test_what_does_not_align_is_left_out_and_counted(tmp_path):
    ccs, subreads = simulate_zmw(4, 800, 2)
    foreign = raw_subread(4, 9000, random_sequence(random.Random(8), 700))
    write_raw(tmp_path / "raw.bam", [subreads[0], foreign, raw_subread(4, 9999, ""), subreads[1]])
    write_bam(tmp_path / "ccs.bam", [ccs])
    assert run(tmp_path, tmp_path / "out.bam", threads=1) == AlignCounts(zmws=1, subreads=4, aligned=2, unaligned=2)
    assert [record.query_name for record in records_of(tmp_path / "out.bam")] == [read.name for read in subreads]


def test_progress(folder, tmp_path):
    steps = []
    options = AlignOptions(str(folder / "raw.bam"), str(folder / "ccs.bam"), str(tmp_path / "out.bam"), threads=1)
    align(options, lambda num_zmws, part: steps.append((num_zmws, part)))
    assert [num_zmws for num_zmws, _ in steps] == list(range(1, 13))
    assert all(0 <= part <= 1 for _, part in steps)
    assert steps == sorted(steps)


# what cannot work


def refused(tmp_path, raw, ccs, error=AlignmentError):
    """The message of a run that fails; no file is left of it, and an older output stays."""
    write_raw(tmp_path / "raw.bam", raw)
    write_bam(tmp_path / "ccs.bam", ccs)
    (tmp_path / "out.bam").write_text("older")
    with pytest.raises(error) as caught:
        run(tmp_path, tmp_path / "out.bam", threads=1)
    assert (tmp_path / "out.bam").read_text() == "older"
    assert not (tmp_path / "out.bam.partial").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_without_subreads(tmp_path):
    assert "raw.bam: holds no reads; expected raw subreads" in refused(tmp_path, [], [ccs_read(4, "ACG")])


def test_no_zmw_has_a_ccs_read(tmp_path):
    raw = [*simulate_zmw(4, 200, 2)[1], *simulate_zmw(5, 200, 1)[1]]
    message = refused(tmp_path, raw, [ccs_read(6, "ACG")])
    assert "raw.bam: none of its 2 ZMWs has a CCS read in" in message
    assert message.endswith("ccs.bam; check that the two files belong together")


def test_a_shard_whose_zmws_have_no_ccs_read_is_empty(tmp_path, caplog):
    write_raw(tmp_path / "raw.bam", simulate_zmw(4, 200, 2)[1])
    write_bam(tmp_path / "ccs.bam", [ccs_read(6, "ACG")])
    assert run(tmp_path, tmp_path / "out.bam", threads=1, shard=(1, 2)).aligned == 0
    assert records_of(tmp_path / "out.bam") == []
    assert "shard 1/2: none of its 1 ZMWs has a CCS read" in caplog.text


def test_aligned_subreads(tmp_path):
    write_bam(tmp_path / "raw.bam", [subread(4, "ACG", "3=")])
    write_bam(tmp_path / "ccs.bam", [ccs_read(4, "ACG")])
    with pytest.raises(AlignmentError, match=r"raw.bam: read .* is aligned already; .* 'genoformer consensus correct'"):
        run(tmp_path, tmp_path / "out.bam")


def test_files_in_the_wrong_order(folder, tmp_path):
    options = AlignOptions(str(folder / "ccs.bam"), str(folder / "raw.bam"), str(tmp_path / "out.bam"))
    with pytest.raises(AlignmentError, match=r"raw.bam: read name .* expected a CCS read.*is the order of files right"):
        align(options)


def test_a_zmw_in_two_places(tmp_path):
    (ccs_4, [one, two]), (ccs_5, [other]) = simulate_zmw(4, 200, 2), simulate_zmw(5, 200, 1)
    assert f"subreads of ZMW {MOVIE}/4 are in two places" in refused(tmp_path, [one, other, two], [ccs_4, ccs_5])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_record_names_its_file_whoever_reads_it(folder, tmp_path, threads):
    ccs, [read, _] = simulate_zmw(4, 300, 2)
    path = write_raw(tmp_path / "raw.bam", [read])
    with BamReader(path) as reader:
        [raw] = list(reader)
    damaged = raw[:-3]  # the last tag, RG, loses its end
    path.write_bytes(bgzf(raw_header([]) + len(damaged).to_bytes(4, "little") + damaged))
    write_bam(tmp_path / "ccs.bam", [ccs])
    with pytest.raises(AlignmentError, match=r"raw.bam: read .*/4/0_\d+: its tags are damaged"):
        run(tmp_path, tmp_path / "out.bam", threads=threads)
    assert not list(tmp_path.glob("out.bam*"))


def test_a_truncated_file(folder, tmp_path):
    (tmp_path / "raw.bam").write_bytes((folder / "raw.bam").read_bytes()[:-40])
    (tmp_path / "ccs.bam").write_bytes((folder / "ccs.bam").read_bytes())
    with pytest.raises(AlignmentError, match=r"raw.bam: has no end-of-file block"):
        run(tmp_path, tmp_path / "out.bam")


def test_an_output_that_cannot_be_written(folder, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        run(folder, tmp_path / "no" / "out.bam")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "out.sam"}, "output 'out.sam': expected a name ending in .bam"),
        ({"output": "-"}, "output '-': expected a name ending in .bam"),
        ({"threads": 0}, "--threads is 0; expected at least 1"),
        ({"shard": (0, 2)}, "--shard is 0/2; expected i/N with 1 <= i <= N"),
        ({"shard": (3, 2)}, "--shard is 3/2; expected i/N with 1 <= i <= N"),
        ({"output": "./a.bam"}, "subreads, CCS reads and output must be different files"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(UsageError) as caught:
        align(AlignOptions(**{"subreads": "a.bam", "ccs": "b.bam", "output": "c.bam", **options}))
    assert str(caught.value) == message


# real reads


# Passes that end in noise: what is left of the CCS, 32 to 212 bases, differs from the read in at least 38 of 100.
TINY_NOISY_ENDS = {f"m64011_190228_190319/32/{name}" for name in ("212407_222664", "273938_284167", "304899_325371")}


@pytest.mark.parametrize(("name", "num_aligned", "num_without_ccs"), [("tiny", 68, 25), ("single", 11, 0)])
def test_as_many_alignments_as_actc_makes(shared_data, tmp_path, name, num_aligned, num_without_ccs):
    """actc's own tests (tests/cram/tiny.t, single.t): all subreads of the ZMWs that have a CCS read, 6 of 15 in tiny.

    It may give a read several alignments or none; ours has one for each.
    """
    folder = shared_data / "consensus" / "actc"
    output = tmp_path / "out.bam"
    counts = align(AlignOptions(str(folder / f"{name}.clr.bam"), str(folder / f"{name}.ccs.bam"), str(output), 1))
    assert (counts.aligned, counts.unaligned, counts.subreads_without_ccs) == (num_aligned, 0, num_without_ccs)
    records = records_of(output)
    assert len({record.query_name for record in records}) == len(records) == num_aligned
    with pysam.AlignmentFile(str(output)) as file:
        lengths = dict(zip(file.references, file.lengths, strict=True))
    short = set()
    for reference, group in itertools.groupby(records, lambda record: record.reference_name):
        inner = list(group)[1:-1]  # the first and the last pass are partial
        assert all(one.is_reverse != two.is_reverse or max(one.query_length, two.query_length) > 20_000
                   for one, two in itertools.pairwise(inner))  # fmt: skip
        short |= {record.query_name for record in inner if record.reference_length < lengths[reference] - 30}
    assert short == (TINY_NOISY_ENDS if name == "tiny" else set())


# PacBio's alignments that ours differ from by more than 20 bp at an end, with the reason.
HUMAN_EXCEPTIONS = {
    # PacBio clips the read 26 bases before the end of the draft, itself a raw read; ours goes on to the end.
    "m54238_180901_011437/4194379/0_8035": (0, 26),
    # Its first 39 bases are noise (CTGCCCTCCCCCCCCTTTCTCGCCCCCCCT, 24 edits to the CCS): ours clips them.
    "m54238_180901_011437/4194388/122910_130855": (43, 0),
}
# 1,327 bases of which PacBio aligns 178 to 202, with 92 edits; minimap2 finds nothing: ours leaves it out.
HUMAN_UNALIGNED = "m54238_180901_011437/4194379/36306_37633"


def edits_within(record, start, end):
    """Edits of an alignment between two reference positions; insertions at the limits are outside."""
    position, edits = record.reference_start, 0
    for op, length in record.cigartuples:
        if EDIT_OPS[op] in "=XD":
            if EDIT_OPS[op] != "=":
                edits += max(0, min(position + length, end) - max(position, start))
            position += length
        elif EDIT_OPS[op] == "I" and start < position < end:
            edits += length
    return edits


def test_real_subreads_lie_where_pacbio_put_them(shared_data, tmp_path):
    folder = shared_data / "consensus" / "human_1m"
    raw = write_as_sequenced(folder / "subreads_to_ccs.bam", tmp_path / "raw.bam")
    counts = align(AlignOptions(str(raw), str(folder / "ccs.bam"), str(tmp_path / "out.bam"), threads=1))
    assert counts == AlignCounts(zmws=10, subreads=93, aligned=92, unaligned=1)
    theirs = {record.query_name: record for record in records_of(folder / "subreads_to_ccs.bam")}
    ours = {record.query_name: record for record in records_of(tmp_path / "out.bam")}
    assert list(ours) == [name for name in theirs if name != HUMAN_UNALIGNED]
    exceptions, edits = {}, np.zeros(2, int)
    for name, record in ours.items():
        other = theirs[name]
        assert (record.is_reverse, record.reference_name) == (other.is_reverse, other.reference_name)
        assert record.get_tags(with_value_type=True) == other.get_tags(with_value_type=True)
        shift = abs(record.reference_start - other.reference_start), abs(record.reference_end - other.reference_end)
        if max(shift) > 20:
            exceptions[name] = shift
        common = max(record.reference_start, other.reference_start), min(record.reference_end, other.reference_end)
        edits += edits_within(record, *common), edits_within(other, *common)
    assert exceptions == HUMAN_EXCEPTIONS
    assert edits[0] <= edits[1]
    assert edits[1] > 120_000  # PacBio's have 128,177 in all
