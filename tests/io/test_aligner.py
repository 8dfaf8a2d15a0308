import random
import sys

import pytest

from genoformer.errors import UsageError
from genoformer.io.aligner import MIN_SEARCHED_BASES, CcsAligner, aligner_versions
from tests.align_inputs import noisy, random_sequence, reverse_complement

OPS = "MIDNSHP=X"


def text(cigar):
    return "".join(f"{op >> 4}{OPS[op & 15]}" for op in cigar.tolist())


def num_edits(cigar):
    return sum(op >> 4 for op in cigar.tolist() if OPS[op & 15] != "=")


def place(found):
    local = found.local
    return found.is_reverse, local.ref_start, local.ref_end, local.read_start, local.read_end


def hits(ccs, read):
    mappy = pytest.importorskip("mappy")
    return list(mappy.Aligner(seq=ccs, preset="map-pb").map(read))


@pytest.fixture(scope="module")
def edlib():
    pytest.importorskip("mappy")
    return pytest.importorskip("edlib")


@pytest.fixture(scope="module")
def ccs():
    return random_sequence(random.Random(1), 3000)


@pytest.fixture(scope="module")
def aligner(ccs, edlib):
    return CcsAligner(ccs.encode())


@pytest.mark.parametrize("missing", ["mappy", "edlib"])
def test_a_package_that_is_not_installed_is_named(monkeypatch, missing):
    for name in ("mappy", "edlib"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    with pytest.raises(UsageError) as caught:
        aligner_versions()
    assert str(caught.value) == (
        f"{missing} is not installed, and aligning needs it; run: pip install 'genoformer[align]'"
    )


def test_versions(edlib):
    assert aligner_versions().startswith("mappy 2.")
    assert ", edlib 1." in aligner_versions()


@pytest.mark.parametrize("is_reverse", [False, True])
def test_strand_and_span(ccs, aligner, is_reverse):
    read = reverse_complement(ccs[400:2600]) if is_reverse else ccs[400:2600]
    found = aligner.align(read.encode())
    assert place(found) == (is_reverse, 400, 2600, 0, 2200)
    assert text(found.local.cigar) == "2200="


def test_bases_beyond_the_ccs_are_not_aligned(ccs, aligner):
    found = aligner.align(("G" * 30 + ccs + "A" * 25).encode())
    local = found.local
    assert (local.ref_start, local.ref_end) == (0, 3000)
    assert abs(local.read_start - 30) <= 1
    assert abs(local.read_end - 3030) <= 1


@pytest.mark.parametrize("is_reverse", [False, True])
def test_noisy_ends_are_followed_to_the_end(ccs, aligner, is_reverse):
    """minimap2 clips such ends: two matches score 4, a mismatch -4 or less and a gap -6."""
    letters = list(ccs)
    for at in (*range(2, 60, 3), *range(2940, 2999, 3)):
        letters[at] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[at]]
    read = "".join(letters)
    read = reverse_complement(read) if is_reverse else read
    [hit] = hits(ccs, read)
    assert hit.r_st > 20  # the negative control
    assert hit.r_en < 2980
    found = aligner.align(read.encode())
    assert found.is_reverse == is_reverse
    assert found.local.ref_start <= 3
    assert found.local.ref_end >= 2997


def test_an_end_that_does_not_belong_is_clipped(ccs, aligner):
    foreign = random_sequence(random.Random(2), 300)
    local = aligner.align((foreign + ccs[300:]).encode()).local
    assert abs(local.ref_start - 300) <= 12
    assert abs(local.read_start - 300) <= 12


def test_least_edit_distance_between_anchors(edlib, ccs, aligner):
    for seed in range(5):
        read = noisy(random.Random(seed), ccs)
        local = aligner.align(read.encode()).local
        span = read[local.read_start : local.read_end], ccs[local.ref_start : local.ref_end]
        assert num_edits(local.cigar) == edlib.align(*span, mode="NW")["editDistance"]
        assert local.ref_start <= 3
        assert local.ref_end >= 2997
    assert max(ops >> 4 for ops in local.cigar.tolist()) >= 20  # an anchor was there to cut at


def test_a_read_of_two_passes_is_aligned_once(ccs, aligner):
    """A missed adapter: both passes are in one read, of which the first to be reported is taken."""
    read = ccs + reverse_complement(ccs)
    found = aligner.align(read.encode())
    assert (found.local.ref_start, found.local.ref_end) == (0, 3000)
    assert found.local.read_end - found.local.read_start == 3000


@pytest.mark.parametrize("is_reverse", [False, True])
def test_a_short_read_is_searched_where_minimap2_finds_nothing(ccs, aligner, is_reverse):
    letters = list(ccs[1000:1060])
    for at in range(6, 60, 9):
        letters[at] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[at]]
    read = "".join(letters)
    read = reverse_complement(read) if is_reverse else read
    assert hits(ccs, read) == []
    assert place(aligner.align(read.encode())) == (is_reverse, 1000, 1060, 0, 60)


@pytest.mark.parametrize(("length", "is_aligned"), [(MIN_SEARCHED_BASES - 1, False), (MIN_SEARCHED_BASES, True)])
def test_what_is_shorter_could_lie_anywhere(ccs, aligner, length, is_aligned):
    letters = list(ccs[700 : 700 + length])
    for at in (12, 24, 36):
        letters[at] = reverse_complement(letters[at])
    read = "".join(letters)
    assert hits(ccs, read) == []
    assert (aligner.align(read.encode()) is not None) == is_aligned


def test_a_ccs_read_within_a_longer_subread(edlib):
    rng = random.Random(4)
    short = random_sequence(rng, 60)
    read = random_sequence(rng, 100) + noisy(rng, short, 0.1) + random_sequence(rng, 100)
    assert hits(short, read) == []
    found = CcsAligner(short.encode()).align(read.encode())
    assert (found.is_reverse, found.local.ref_start, found.local.ref_end) == (False, 0, 60)
    assert abs(found.local.read_start - 100) <= 3


def test_reads_that_do_not_belong_are_not_aligned(aligner):
    for seed in range(20):
        read = random_sequence(random.Random(100 + seed), 60 + 100 * seed)
        assert aligner.align(read.encode()) is None


@pytest.mark.parametrize("read", ["", "A", "N" * 500])
def test_reads_with_nothing_to_align(aligner, read):
    assert aligner.align(read.encode()) is None


def test_letters_that_are_no_bases_are_errors(ccs, aligner):
    found = aligner.align((ccs[:1500] + "N" + ccs[1501:]).encode())
    assert text(found.local.cigar) == "1500=1X1499="
