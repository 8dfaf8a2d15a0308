import pytest

from genoformer.io.zmws import zmw_key
from tests.bam_builder import MOVIE, ccs_read, subread
from tests.molecule_reading import error_text, read_molecules


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"m64011_190228_190319/8/0_2628", b"m64011_190228_190319/8"),
        (b"m64011_190228_190319/8/ccs/fwd", b"m64011_190228_190319/8"),
        (b"m/2147483647/ccs", b"m/2147483647"),
        (b"m/12", b"m/12"),
    ],
)
def test_the_zmw_of_a_name(name, expected):
    assert zmw_key(name, "a.bam") == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"", "''"),
        (b"SRR1234.5", "'SRR1234.5'"),
        (b"m/ccs", "'m/ccs'"),
        (b"m//ccs", "'m//ccs'"),
        (b"/7/ccs", "'/7/ccs'"),
        (b"m/7x/ccs", "'m/7x/ccs'"),
        (b"m/-7/ccs", "'m/-7/ccs'"),
        (b"m/2147483648/ccs", "'m/2147483648/ccs'"),
        (b"m/7/a\nb", "'m/7/a\\nb'"),
        (b"m/7\n", "'m/7\\n'"),
        (b"m\0/7/ccs", "'m\\x00/7/ccs'"),
        (b"m/7/\xff", "'m/7/\ufffd'"),
    ],
)
def test_names_of_another_form(name, shown):
    text = error_text(lambda: zmw_key(name, "a.bam"))
    assert text == f"a.bam: read name {shown}; expected PacBio's movie/hole/... form"


def test_a_zmw_in_two_places_is_an_error(pair):
    reads = [subread(zmw, "ACG", "3=") for zmw in (7, 9, 7)]
    subreads, ccs = pair(reads, [ccs_read(7, "ACG"), ccs_read(9, "ACG")])
    assert error_text(lambda: read_molecules(subreads, ccs)) == (
        f"{subreads}: subreads of ZMW {MOVIE}/7 are in two places; expected them together: "
        "sort with 'samtools sort -n' or rerun the aligner"
    )


def test_holes_far_apart_are_told_apart(pair):
    zmws = [0, 1, 65_535, 65_536, 131_072, 2**31 - 1]
    reads = [subread(zmw, "ACG", "3=") for zmw in zmws]
    molecules, _ = read_molecules(*pair(reads, [ccs_read(zmw, "ACG") for zmw in zmws]))
    assert [molecule.zmw for molecule in molecules] == zmws
