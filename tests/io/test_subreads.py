import array
import struct
from dataclasses import fields

import numpy as np
import pytest

from genoformer.io.bam import BamReader
from genoformer.io.subreads import decode_ccs, decode_subread, frames_to_codes
from tests.bam_builder import (
    MOVIE,
    REVERSE,
    SECONDARY,
    SUPPLEMENTARY,
    UNMAPPED,
    RawRecord,
    Read,
    bgzf,
    ccs_name,
    ccs_read,
    pysam_molecules,
    raw_header,
    subread,
)
from tests.molecule_reading import error_text, read_molecules

OTHER_MOVIE = "m54238_180901_011437"


def summary(molecules):
    """(CCS name, number of subreads, left out) of each molecule; the CCS record is the one of that name."""
    for molecule in molecules:
        assert decode_ccs(molecule.ccs, "ccs.bam").name == molecule.name
        assert molecule.zmw == int(molecule.name.split("/")[1])
    return [(molecule.name, len(molecule.subreads), molecule.num_unusable) for molecule in molecules]


def three_zmws():
    """Subreads and CCS reads of ZMWs 8, 5 and 60, in this order."""
    zmws = {8: 3, 5: 1, 60: 2}
    reads = [subread(zmw, "ACGTAC", "6=", start=i) for zmw, count in zmws.items() for i in range(count)]
    return reads, [ccs_read(zmw, "ACGTACGTAC") for zmw in zmws]


THREE = [(ccs_name(8), 3, 0), (ccs_name(5), 1, 0), (ccs_name(60), 2, 0)]


# Grouping


def test_molecules_come_in_the_order_of_the_subreads(pair):
    molecules, is_indexed = read_molecules(*pair(*three_zmws()))
    assert summary(molecules) == THREE
    assert not is_indexed
    names = [decode_subread(raw, "subreads.bam").name for raw in molecules[0].subreads]
    assert names == [f"{MOVIE}/8/0_6", f"{MOVIE}/8/1_7", f"{MOVIE}/8/2_8"]


def test_two_movies_with_the_same_hole(pair):
    reads = [subread(7, "ACG", "3="), subread(7, "ACG", "3="), subread(7, "ACG", "3=", movie=OTHER_MOVIE)]
    ccs = [ccs_read(7, "ACG"), ccs_read(7, "AC", movie=OTHER_MOVIE)]
    molecules, _ = read_molecules(*pair(reads, ccs))
    assert summary(molecules) == [(ccs_name(7), 2, 0), (ccs_name(7, OTHER_MOVIE), 1, 0)]


def test_by_strand_ccs_reads_stay_apart(pair):
    fwd, rev = "ccs/fwd", "ccs/rev"
    reads = [
        subread(7, "ACG", "3=", suffix=fwd),
        subread(7, "ACG", "3=", flag=REVERSE, suffix=rev),
        subread(7, "ACG", "3=", suffix=fwd),
        subread(9, "ACG", "3=", suffix=rev),
    ]
    ccs = [ccs_read(7, "ACG", suffix=fwd), ccs_read(7, "ACT", suffix=rev), ccs_read(9, "ACT", suffix=rev)]
    molecules, is_indexed = read_molecules(*pair(reads, ccs))
    names = [ccs_name(7, suffix=fwd), ccs_name(7, suffix=rev), ccs_name(9, suffix=rev)]
    assert summary(molecules) == [(names[0], 2, 0), (names[1], 1, 0), (names[2], 1, 0)]
    assert not is_indexed
    # A run can go on only after a whole ZMW.
    assert [molecule.next_offset is None for molecule in molecules] == [True, False, False]


def test_unusable_subreads_are_left_out_and_counted(pair):
    reads = [
        subread(7, "ACG", "3=", flag=SECONDARY),
        subread(7, "ACG", "3="),
        Read(f"{MOVIE}/7/9_12", "ACG", flag=UNMAPPED),
        subread(7, "ACG", "3=", flag=SUPPLEMENTARY | REVERSE),
        Read(f"{MOVIE}/7/20_23", "ACG"),  # says it is mapped and has no reference
        subread(9, "ACG", "3="),
    ]
    molecules, _ = read_molecules(*pair(reads, [ccs_read(7, "ACG"), ccs_read(9, "ACG")]))
    assert summary(molecules) == [(ccs_name(7), 1, 4), (ccs_name(9), 1, 0)]


def test_a_subread_aligned_to_another_zmw_is_left_out(pair):
    stray = Read(f"{MOVIE}/7/30_33", "ACG", "3=", ccs_name(9))
    other_movie = Read(f"{MOVIE}/7/40_43", "ACG", "3=", ccs_name(7, OTHER_MOVIE))
    reads = [subread(7, "ACG", "3="), stray, other_movie, subread(9, "ACG", "3=")]
    ccs = [ccs_read(7, "ACG"), ccs_read(9, "ACG"), ccs_read(7, "ACG", movie=OTHER_MOVIE)]
    assert summary(read_molecules(*pair(reads, ccs))[0]) == [(ccs_name(7), 1, 2), (ccs_name(9), 1, 0)]


def test_real_subreads_in_the_order_of_references(shared_data):
    # minimap2 placed 246 of 256 subreads on a CCS read of another ZMW, and their order is that of the references.
    folder = shared_data / "consensus" / "ecoli"
    subreads, ccs = folder / "ecoli.subreadsToCcs.bam", folder / "ecoli.ccs.bam"
    assert error_text(lambda: read_molecules(subreads, ccs)).startswith(
        f"{subreads}: subreads of ZMW m54316_180808_005743/12124622 are in two places; "
    )


@pytest.mark.parametrize("has_ccs", [True, False])
def test_a_zmw_without_usable_subreads(pair, has_ccs):
    reads = [
        Read(f"{MOVIE}/7/0_3", "ACG", flag=UNMAPPED),
        Read(f"{MOVIE}/7/4_7", "ACG", flag=UNMAPPED),
        subread(9, "ACG", "3="),
    ]
    ccs = [ccs_read(7, "ACG")] * has_ccs + [ccs_read(9, "ACG")]
    molecules, is_indexed = read_molecules(*pair(reads, ccs))
    with_it, without_it = [(ccs_name(7), 0, 2), (ccs_name(9), 1, 0)], [(ccs_name(9), 1, 2)]
    assert summary(molecules) == (with_it if has_ccs else without_it)
    assert is_indexed != has_ccs


def test_files_without_reads(pair):
    assert read_molecules(*pair([], [], [ccs_name(7)])) == ([], False)


def test_unaligned_subreads_are_an_error(pair):
    subreads, ccs = pair([Read(f"{MOVIE}/7/0_3", "ACG", flag=UNMAPPED)], [ccs_read(7, "ACG")])
    assert error_text(lambda: read_molecules(subreads, ccs)) == (
        f"{subreads}: its header has no @SQ line; expected subreads aligned to their CCS reads (actc)"
    )


@pytest.mark.parametrize("index", range(4))
def test_a_run_goes_on_where_another_stopped(pair, index):
    paths = pair(*three_zmws())
    molecules, _ = read_molecules(*paths)
    starts = [None, *(molecule.next_offset for molecule in molecules)]
    rest, _ = read_molecules(*paths, start=starts[index])
    assert summary(rest) == THREE[index:]
    first, _ = read_molecules(*paths, end=starts[index] or 0)
    assert summary(first) == THREE[:index]


def test_a_ccs_read_that_is_not_there_is_an_error(pair):
    reads, ccs = three_zmws()
    subreads, ccs = pair(reads, [ccs[0], ccs[2]])
    assert error_text(lambda: read_molecules(subreads, ccs)) == (
        f"{subreads}: ZMW {MOVIE}/5: its CCS read '{MOVIE}/5/ccs' is not in {ccs}; "
        "check that the two files belong together"
    )


def test_names_of_another_form_in_files(pair):
    reads = [Read("SRR1234.5", "ACG", "3=", ccs_name(7))]
    subreads, ccs = pair(reads, [ccs_read(7, "ACG")])
    expected = f"{subreads}: read name 'SRR1234.5'; expected PacBio's movie/hole/... form"
    assert error_text(lambda: read_molecules(subreads, ccs)) == expected

    subreads, ccs = pair([Read(f"{MOVIE}/7/0_3", "ACG", "3=", "contig")], [Read("contig", "ACG", flag=UNMAPPED)])
    expected = f"{subreads}: read name 'contig'; expected PacBio's movie/hole/... form"
    assert error_text(lambda: read_molecules(subreads, ccs)) == expected


# Decoding


def decode_one(pair, read, with_kinetics=True):
    subreads, _ = pair([read], [])
    with BamReader(subreads) as reader:
        return decode_subread(reader.read_record(), "a.bam", with_kinetics)


def test_a_forward_subread(pair):
    read = decode_one(pair, subread(7, "ACGTN", "2S2=1I", start=4))
    assert read.name == f"{MOVIE}/7/4_9"
    assert read.codes.tolist() == [1, 3, 4, 2, 0]
    assert read.pw.tolist() == [1, 2, 3, 4, 5]
    assert read.ip.tolist() == [2, 3, 4, 5, 6]
    assert read.cigar.tolist() == [2 << 4 | 4, 2 << 4 | 7, 1 << 4 | 1]
    assert (read.start, read.is_reverse) == (4, False)
    assert read.sn.tolist() == [6.5, 10.0, 5.25, 9.0]
    assert {read.codes.dtype, read.pw.dtype, read.ip.dtype} == {np.dtype(np.uint8)}


def test_kinetics_of_a_reverse_subread_run_backwards(pair):
    # BAM holds the bases along the reference and the tags as they were sequenced.
    read = decode_one(pair, subread(7, "ACGT", "4=", flag=REVERSE))
    assert read.codes.tolist() == [1, 3, 4, 2]
    assert read.pw.tolist() == [4, 3, 2, 1]
    assert read.ip.tolist() == [5, 4, 3, 2]
    assert read.is_reverse


def test_real_reads_equal_pysams(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    paths = folder / "subreads_to_ccs.bam", folder / "ccs.bam"
    count = 0
    for raw, (ccs, reads) in zip(read_molecules(*paths)[0], pysam_molecules(*paths), strict=True):
        ours = decode_ccs(raw.ccs, "ccs.bam")
        assert (ours.name, ours.sequence, ours.quals.tolist()) == (ccs.name, ccs.sequence, ccs.quals.tolist())
        for record, expected in zip(raw.subreads, reads, strict=True):
            found = decode_subread(record, "subreads.bam")
            for field in fields(found):
                np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))
            count += 1
    assert count == 93


def test_frames_become_codes(pair):
    frames = array.array("H", [0, 63, 64, 65, 194, 447, 448, 952, 65_535])
    read = decode_one(pair, subread(7, "ACGTACGTA", "9=", ip=frames))
    assert read.ip.tolist() == [0, 63, 64, 65, 129, 192, 192, 255, 255]
    assert read.pw.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_codec_v1_of_every_frame_count():
    # PacBio BAM specification, codec V1, and its reference implementation in pbcore: ties go up, 952 caps.
    points = [*range(64), *range(64, 192, 2), *range(192, 448, 4), *range(448, 960, 8)]
    assert (len(points), points[-1]) == (256, 952)
    expected = [min(range(256), key=lambda code: (abs(points[code] - frame), -code)) for frame in range(1200)]
    codes = frames_to_codes(np.arange(1 << 16, dtype=np.uint16))
    assert codes.dtype == np.uint8
    assert codes[:1200].tolist() == expected
    assert (codes[1200:] == 255).all()
    assert frames_to_codes(np.array([194], np.uint16)).tolist() == [129]  # the specification's example
    assert frames_to_codes(np.zeros(0, np.uint16)).tolist() == []


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"pw": None}, "tag pw is missing; expected an array ('u1', 'u2')"),
        ({"ip": None}, "tag ip is missing; expected an array ('u1', 'u2')"),
        ({"sn": None}, "tag sn is missing; expected an array ('f4',)"),
        ({"pw": "ABCD"}, "tag pw has type Z; expected an array ('u1', 'u2')"),
        ({"ip": array.array("b", [1, 2, 3, 4])}, "tag ip has type Bc; expected an array ('u1', 'u2')"),
        ({"ip": array.array("I", [1, 2, 3, 4])}, "tag ip has type BI; expected an array ('u1', 'u2')"),
        ({"pw": array.array("f", [1, 2, 3, 4])}, "tag pw has type Bf; expected an array ('u1', 'u2')"),
        ({"sn": array.array("H", [1, 2, 3, 4])}, "tag sn has type BS; expected an array ('f4',)"),
        ({"sn": 5.5}, "tag sn has type f; expected an array ('f4',)"),
        (
            {"pw": array.array("B", [1, 2, 3])},
            "tag pw has 3 values for 4 bases; rerun the step that clipped the reads",
        ),
        (
            {"ip": array.array("H", [1, 2, 3, 4, 5])},
            "tag ip has 5 values for 4 bases; rerun the step that clipped the reads",
        ),
        ({"sn": array.array("f", [1, 2, 3])}, "tag sn has 3 values; expected 4"),
        (
            {"sn": array.array("f", [1, 2, float("nan"), 4])},
            "tag sn is [1.0, 2.0, nan, 4.0]; expected finite numbers",
        ),
        (
            {"sn": array.array("f", [1, 2, float("inf"), 4])},
            "tag sn is [1.0, 2.0, inf, 4.0]; expected finite numbers",
        ),
    ],
)
def test_tags_that_are_missing_or_wrong(pair, tags, problem):
    text = error_text(lambda: decode_one(pair, subread(7, "ACGT", "4=", **tags)))
    assert text == f"a.bam: read {MOVIE}/7/0_4: {problem}"


def test_a_vote_needs_no_kinetics(pair):
    read = decode_one(pair, subread(7, "ACGT", "4=", pw=None, ip=None, sn=None), with_kinetics=False)
    assert read.codes.tolist() == [1, 3, 4, 2]
    assert read.pw.tolist() == read.ip.tolist() == read.sn.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("read", [Read("m/7/0_4", "", "4=", ccs_name(7)), Read("m/7/0_4", "ACGT", None, ccs_name(7))])
def test_a_subread_without_bases_or_alignment_is_none(pair, read):
    assert decode_one(pair, read) is None


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"ops": (3 << 4 | 7,)}, "CIGAR covers 3 bases from position 0; the read has 4"),
        ({"ops": (4 << 4 | 7, 1 << 4 | 4)}, "CIGAR covers 5 bases from position 0; the read has 4"),
        ({"ops": (4 << 4 | 2,)}, "CIGAR covers 0 bases from position 0; the read has 4"),
        ({"ops": (0xFFFFFFF7,) * 40}, "CIGAR covers 10737418200 bases from position 0; the read has 4"),
        ({"start": -1}, "CIGAR covers 4 bases from position -1; the read has 4"),
    ],
)
def test_a_cigar_that_does_not_fit(parts, problem):
    text = error_text(lambda: decode_subread(RawRecord(**parts).pack()[4:], "a.bam"))
    assert text == f"a.bam: read m/1/0_4: {problem}"


def test_a_ccs_read_with_its_tags(pair):
    lengths = array.array("B", [2, 3])
    read = ccs_read(7, "ACGNT", [5, 0, 93, 1, 2], np=9, ec=8.5, RG="abc", wl=lengths)
    _, path = pair([], [read])
    with BamReader(path) as reader:
        ccs = decode_ccs(reader.read_record(), path)
    assert (ccs.name, ccs.sequence) == (ccs_name(7), b"ACGNT")
    assert ccs.quals.tolist() == [5, 0, 93, 1, 2]
    assert (ccs.num_passes, ccs.effective_coverage, ccs.read_group) == (9, 8.5, "abc")
    assert ccs.window_lengths.tolist() == [2, 3]


def test_a_ccs_read_without_tags_and_qualities():
    ccs = decode_ccs(RawRecord(name=b"m/1/ccs\0", tags=b"").pack()[4:], "a.bam")
    assert ccs.sequence == b"ACGT"
    assert ccs.quals.tolist() == [0, 0, 0, 0]
    assert (ccs.num_passes, ccs.effective_coverage, ccs.read_group, ccs.window_lengths) == (None,) * 4


def test_a_ccs_read_without_bases_is_an_error():
    raw = RawRecord(name=b"m/1/ccs\0", ops=(), length=0, bases=b"", quals=b"", tags=b"").pack()[4:]
    assert error_text(lambda: decode_ccs(raw, "a.bam")) == "a.bam: CCS read m/1/ccs has no bases"


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (b"npZnine\0", "tag np is 'nine'; expected int"),
        (b"npI\xff\xff\xff\xff", "tag np is 4294967295; expected int"),
        (b"ecZa\nb\0", "tag ec is 'a\\nb'; expected float"),
        (b"RGi\7\0\0\0", "tag RG is 7; expected str"),
        (b"RGBC" + struct.pack("<i", 2000) + bytes(2000), "tag RG is an array; expected str"),
        (b"wlZ100\0", "tag wl is '100'; expected ndarray"),
        (b"wlC\x64", "tag wl is 100; expected ndarray"),
    ],
)
def test_tags_of_a_ccs_read_of_another_type(tags, problem):
    raw = RawRecord(name=b"m/1/ccs\0", tags=tags).pack()[4:]
    assert error_text(lambda: decode_ccs(raw, "a.bam")) == f"a.bam: read m/1/ccs: {problem}"


def test_a_reference_that_the_header_lacks(tmp_path):
    data = raw_header() + RawRecord().pack() + RawRecord(name=b"m/2/0_4\0", reference=1).pack()
    subreads = tmp_path / "subreads.bam"
    subreads.write_bytes(bgzf(data))
    ccs = tmp_path / "ccs.bam"
    ccs.write_bytes(bgzf(raw_header([]) + RawRecord(name=b"m/1/ccs\0", reference=-1, flag=4).pack()))
    text = error_text(lambda: read_molecules(subreads, ccs))
    assert text == f"{subreads}: a record has reference 1 of 1; the file is damaged"
