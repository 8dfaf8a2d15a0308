import re
from dataclasses import replace

import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.datasets.pileup import build_pileup, cut_windows, window_rows
from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import CcsRead, Subread, decode_ccs, decode_subread, iterate_molecules
from genoformer.io.tfrecord import read_examples

LETTERS = " ATCG"  # pileup codes 0 to 4, as DeepConsensus numbers them
OPS = "MIDNSHP=X"


def as_subread(letters, cigar, start=0, is_reverse=False, pw=None, ip=None, sn=(6.5, 10.0, 5.25, 9.0), name="m/1/0_1"):
    """A subread written as letters and a CIGAR; base i has PW i + 1 and IP 100 + i unless given."""
    ops = [int(length) << 4 | OPS.index(op) for length, op in re.findall(r"(\d+)(.)", cigar)]
    length = len(letters)
    return Subread(
        name,
        np.array([max(LETTERS.find(letter), 0) for letter in letters.upper()], np.uint8),
        np.array(ops, np.uint32),
        start,
        is_reverse,
        np.array(range(1, length + 1) if pw is None else pw, np.uint8),
        np.array(range(100, 100 + length) if ip is None else ip, np.uint8),
        np.array(sn, np.float32),
    )


def as_ccs(letters, quals=None, window_lengths=None):
    quals = [20 + i % 40 for i in range(len(letters))] if quals is None else quals
    lengths = None if window_lengths is None else np.array(window_lengths)
    return CcsRead("m/1/ccs", letters.encode(), np.array(quals, np.uint8), window_lengths=lengths)


def as_letters(codes):
    return "".join("-ATCG"[code] for code in codes)


# By hand, in letters


def test_the_example_of_the_module():
    pileup = build_pileup(as_ccs("ACT"), [as_subread("ACGT", "2=1I1="), as_subread("AT", "1=1D1=", is_reverse=True)])
    assert as_letters(pileup.ccs_codes) == "AC-T"
    assert [as_letters(row) for row in pileup.codes] == ["ACGT", "A--T"]
    assert pileup.pw.tolist() == [[1, 2, 3, 4], [1, 0, 0, 2]]
    assert pileup.ip.tolist() == [[100, 101, 102, 103], [100, 0, 0, 101]]
    assert pileup.ccs_index.tolist() == [0, 1, -1, 2]
    assert pileup.ccs_quals.tolist() == [20, 21, -1, 22]
    assert pileup.span.tolist() == [[0, 4], [0, 4]]
    assert pileup.strand.tolist() == [1, 2]
    assert pileup.num_columns == 4


def test_insertions_share_columns_from_the_left():
    reads = [as_subread("AGGC", "1=2I1="), as_subread("ATTTC", "1=3I1="), as_subread("AC", "2=")]
    pileup = build_pileup(as_ccs("AC"), reads)
    assert as_letters(pileup.ccs_codes) == "A---C"
    assert [as_letters(row) for row in pileup.codes] == ["AGG-C", "ATTTC", "A---C"]


def test_insertions_before_and_after_the_ccs_read():
    reads = [as_subread("TTAC", "2I2="), as_subread("ACGG", "2=2I"), as_subread("GC", "1I1=", start=1)]
    pileup = build_pileup(as_ccs("AC"), reads)
    assert as_letters(pileup.ccs_codes) == "--A-C--"
    assert [as_letters(row) for row in pileup.codes] == ["TTA-C--", "--A-CGG", "---GC--"]
    assert pileup.span.tolist() == [[0, 5], [2, 7], [3, 5]]


def test_a_subread_beyond_max_passes_spaces_the_others():
    pileup = build_pileup(as_ccs("AC"), [as_subread("AC", "2="), as_subread("AGC", "1=1I1=")], max_passes=1)
    assert as_letters(pileup.ccs_codes) == "A-C"
    assert [as_letters(row) for row in pileup.codes] == ["A-C"]
    assert pileup.num_subreads == 2


def test_an_insertion_of_the_limit_stays_and_a_longer_one_goes():
    reads = [as_subread("AGGGGGC", "1=5I1="), as_subread("ATTTTTTC", "1=6I1=")]
    pileup = build_pileup(as_ccs("AC"), reads)
    assert [as_letters(row) for row in pileup.codes] == ["AGGGGGC", "A-----C"]
    assert pileup.pw[1].tolist() == [1, 0, 0, 0, 0, 0, 8]
    assert pileup.num_trimmed_bases == 6
    untrimmed = build_pileup(as_ccs("AC"), reads, max_insertion=0)
    assert [as_letters(row) for row in untrimmed.codes] == ["AGGGGG-C", "ATTTTTTC"]
    assert untrimmed.num_trimmed_bases == 0


def test_no_subreads():
    pileup = build_pileup(as_ccs("ACNt"), [])
    assert as_letters(pileup.ccs_codes) == "AC-T"
    assert pileup.ccs_index.tolist() == [0, 1, 2, 3]
    assert pileup.codes.shape == (0, 4)
    assert pileup.sn.tolist() == [0, 0, 0, 0]
    config = ConsensusConfig(max_passes=2, window_length=5)
    rows = window_rows(pileup, cut_windows(pileup, config), np.array([0]), config)
    assert rows.shape == (1, 13, 5)
    assert rows[0, 8].tolist() == [1, 3, 0, 2, 0]
    assert np.delete(rows[0], 8, axis=0).any() == np.False_


def test_signal_to_noise_is_cut_off_as_the_model_does():
    pileup = build_pileup(as_ccs("A"), [as_subread("A", "1=", sn=(-1.5, 7.99, 1e9, 0.5))])
    config = ConsensusConfig(max_passes=1, window_length=2)
    windows = cut_windows(pileup, config)
    assert window_rows(pileup, windows, np.array([0]), config)[0, -4:, 1].tolist() == [0, 7, 32767, 0]
    kept = window_rows(pileup, windows, np.array([0]), config, np.float32)[0, -4:, 0]
    assert kept.tolist() == [0, np.float32(7.99), 32767, 0.5]


def test_windows_are_picked_in_any_order():
    pileup = build_pileup(as_ccs("ACGTACG"), [as_subread("ACGTACG", "7=")])
    config = ConsensusConfig(max_passes=1, window_length=3)
    windows = cut_windows(pileup, config)
    rows = window_rows(pileup, windows, np.array([2, 0, 2]), config)
    assert [as_letters(row) for row in rows[:, 0]] == ["G--", "ACG", "G--"]
    assert window_rows(pileup, windows, np.zeros(0, np.int64), config).shape == (0, 9, 3)


def test_a_subread_beyond_its_ccs_read_is_an_error():
    with pytest.raises(AlignmentError) as error:
        build_pileup(as_ccs("ACG"), [as_subread("ACG", "3=", start=1, name="m/1/5_8")])
    assert str(error.value) == (
        "read m/1/5_8: aligned to m/1/ccs:1-4, which has 3 bases; check that the subreads and CCS files belong together"
    )


def test_a_deletion_of_a_giant_is_an_error_without_the_memory():
    with pytest.raises(AlignmentError, match=re.escape("m/1/ccs:0-536870911, which has 3 bases")):
        build_pileup(as_ccs("ACG"), [as_subread("A", "1=268435455D268435455N")])


def test_an_unknown_cigar_operation_is_an_error():
    read = replace(as_subread("A", "1="), cigar=np.array([1 << 4 | 7, 3 << 4 | 9], np.uint32))
    with pytest.raises(AlignmentError) as error:
        build_pileup(as_ccs("ACG"), [read])
    assert str(error.value) == "read m/1/0_1: CIGAR operation 9; expected 0 to 8"


@pytest.mark.parametrize(
    ("window_lengths", "found"),
    [
        (None, "no wl tag"),
        ([2, 2], "wl [2, 2]... adding up to 4"),
        ([5, 0], "wl [5, 0]... adding up to 5"),
        ([6, -1], "wl [6, -1]... adding up to 5"),
        ([2.5, 2.5], "wl [2.5, 2.5]... adding up to 5.0"),
        (np.zeros(0, np.uint8), "wl []... adding up to 0"),
    ],
)
def test_smart_windows_need_lengths_that_add_up(window_lengths, found):
    pileup = build_pileup(as_ccs("ACGTA", window_lengths=window_lengths), [])
    with pytest.raises(AlignmentError) as error:
        cut_windows(pileup, ConsensusConfig(), smart_windows=True)
    assert str(error.value) == (
        f"CCS read m/1/ccs has {found}; expected window lengths for 5 bases; leave out --smart-windows"
    )


# Brute force: the original's loops over bases and columns


def cells_of(subread, letters, max_insertion):
    """What a subread puts down from left to right: (is inserted, code, PW, IP), gaps where it has no base."""
    gap = (False, 0, 0, 0)
    cells, at = [gap] * subread.start, 0
    for packed in subread.cigar.tolist():
        op, length = OPS[packed & 15], packed >> 4
        bases = []
        if op in "MIS=X":
            bases = [(max(LETTERS.find(letters[i].upper()), 0), int(subread.pw[i]), int(subread.ip[i]))
                     for i in range(at, at + length)]  # fmt: skip
            at += length
        if op in "M=X":
            cells += [(False, *base) for base in bases]
        elif op == "I" and (max_insertion == 0 or length <= max_insertion):
            cells += [(True, *base) for base in bases]
        elif op in "DN":
            cells += [gap] * length
    return cells


def space_out(reads):
    """The reads with a common column numbering: where one of them inserts, those that do not get a gap (None)."""
    at, spaced = [0] * len(reads), [[] for _ in reads]
    while any(i < len(read) for i, read in zip(at, reads, strict=True)):
        inserting = [i < len(read) and read[i][0] for i, read in zip(at, reads, strict=True)]
        for k, read in enumerate(reads):
            if at[k] < len(read) and (inserting[k] or not any(inserting)):
                spaced[k].append(read[at[k]])
                at[k] += 1
            else:
                spaced[k].append(None)
    return spaced


def window_bounds(ccs_cells, config, window_lengths):
    """[start, end) of all windows, with and without CCS bases."""
    num_columns = max(i for i, cell in enumerate(ccs_cells) if cell is not None) + 1
    if window_lengths is None:
        step = config.window_length - config.window_padding
        return [(start, start + step) for start in range(0, num_columns, step)]
    bounds, start = [], 0
    for num_bases in window_lengths:
        end = start
        while num_bases:
            num_bases -= ccs_cells[end] is not None
            end += 1
        bounds.append((start, end))
        start = end
    assert start == num_columns
    return bounds


def slow_rows(spaced, ccs_cells, subreads, bounds, config):
    """Rows of one window, cell by cell."""
    rows = np.zeros((config.num_rows, config.window_length), np.float32)
    passes = config.max_passes
    for x, column in enumerate(range(*bounds)):
        for k, cells in enumerate(spaced[:passes]):
            if column < len(cells) and cells[column] is not None:
                for feature in range(3):
                    rows[feature * passes + k, x] = cells[column][1 + feature]
        if column < len(ccs_cells) and ccs_cells[column] is not None:
            rows[4 * passes, x] = ccs_cells[column][1]
    for k, subread in enumerate(subreads[:passes]):
        rows[3 * passes + k, :] = 2 if subread.is_reverse else 1
    if config.use_ccs_quality:
        rows[4 * passes + 1, :] = -1
        for x, column in enumerate(range(*bounds)):
            if column < len(ccs_cells) and ccs_cells[column] is not None:
                rows[4 * passes + 1, x] = ccs_cells[column][2]
    if subreads:
        rows[-4:] = subreads[0].sn[:, None]
    return rows


def random_letters(rng, length, odd="N"):
    return "".join(rng.choice(list("ACGT" * 8 + odd), length))


def random_cigar(rng, start, ccs_length):
    """A CIGAR from `start` on, and how many bases of the read it takes."""
    end = int(rng.integers(start, ccs_length + 1))
    ops = [op for op in "HSI" if rng.random() < 0.25]
    ops = [(op, int(rng.integers(1, 9))) for op in ops]
    at = start
    while at < end:
        op = str(rng.choice(list("MMM==X" + "DDNPIII")))
        length = int(rng.integers(0 if op == "D" else 1, 10 if op in "IM=" else 3))
        length = min(length, end - at) if op in "M=XDN" else length
        at += length if op in "M=XDN" else 0
        ops.append((op, length))
    ops += [(op, int(rng.integers(1, 9))) for op in "IISH" if rng.random() < 0.2]
    return "".join(f"{length}{op}" for op, length in ops), sum(length for op, length in ops if op in "MIS=X")


def random_molecule(rng):
    """A small CCS read and subreads with CIGARs of every kind, and the letters of both."""
    ccs_length = int(rng.choice([1, 2, 13, 60, 140]))
    window_lengths = None
    if rng.random() < 0.4:
        cuts = np.unique(rng.integers(1, ccs_length + 1, int(rng.integers(0, 6))))
        edges = sorted({0, ccs_length, *cuts.tolist()})
        window_lengths = np.diff(edges).tolist()
    ccs_letters = random_letters(rng, ccs_length, odd="NRacgtn")
    ccs = as_ccs(ccs_letters, rng.integers(0, 94, ccs_length), window_lengths)
    subreads, letters = [], []
    for _ in range(int(rng.choice([0, 1, 2, 3, 5, 22]))):
        start = int(rng.integers(0, ccs_length + 1)) if rng.random() < 0.5 else 0
        cigar, length = random_cigar(rng, start, ccs_length)
        letters.append(random_letters(rng, length))
        pw, ip = rng.integers(0, 256, (2, length))
        sn = rng.uniform(0, 20, 4).round(3)
        subreads.append(as_subread(letters[-1], cigar, start, bool(rng.integers(2)), pw, ip, sn))
    return ccs, subreads, letters


@pytest.mark.parametrize("seed", range(25))
def test_random_molecules_equal_a_loop_over_columns(seed):
    rng = np.random.default_rng(seed)
    for _ in range(16):
        ccs, subreads, letters = random_molecule(rng)
        window_length, padding = [(7, 0), (9, 3), (50, 0), (100, 0), (120, 20)][rng.integers(5)]
        config = ConsensusConfig(
            max_passes=int(rng.choice([1, 3, 20, 40])),
            window_length=window_length,
            window_padding=padding,
            use_ccs_quality=bool(rng.integers(2)),
        )
        check_molecule(ccs, subreads, letters, config, max_insertion=int(rng.choice([0, 1, 5])))


def check_molecule(ccs, subreads, letters, config, max_insertion):
    ccs_letters = ccs.sequence.decode().upper()
    ccs_cells = [
        (False, max(LETTERS.find(letter), 0), qual) for letter, qual in zip(ccs_letters, ccs.quals, strict=True)
    ]
    reads = [cells_of(read, text, max_insertion) for read, text in zip(subreads, letters, strict=True)]
    *spaced, ccs_cells = space_out([*reads, ccs_cells])
    pileup = build_pileup(ccs, subreads, config.max_passes, max_insertion)
    windows = cut_windows(pileup, config, smart_windows=ccs.window_lengths is not None)

    position = np.cumsum([cell is not None for cell in ccs_cells]) - 1
    index = [int(position[i]) if cell is not None else -1 for i, cell in enumerate(ccs_cells)]
    assert pileup.ccs_index.tolist() == index
    check_spans(pileup, spaced)

    bounds = window_bounds(ccs_cells, config, None if ccs.window_lengths is None else ccs.window_lengths.tolist())
    bases = [[i for i in index[start:end] if i >= 0] for start, end in bounds]
    filled = [i for i, found in enumerate(bases) if found]
    assert windows.num_empty == len(bounds) - len(filled)
    assert windows.start.tolist() == [bounds[i][0] for i in filled]
    assert windows.length.tolist() == [bounds[i][1] - bounds[i][0] for i in filled]
    assert windows.ccs_start.tolist() == [bases[i][0] for i in filled]
    assert windows.ccs_end.tolist() == [bases[i][-1] + 1 for i in filled]
    assert windows.overflows.tolist() == [bounds[i][1] - bounds[i][0] > config.window_length for i in filled]
    errors = [np.mean([10.0 ** (-float(ccs.quals[b]) / 10) for b in bases[i]]) for i in filled]
    np.testing.assert_allclose(windows.ccs_phred, -10 * np.log10(errors), rtol=1e-9, atol=1e-9)

    chosen = np.flatnonzero(~windows.overflows)
    expected = [slow_rows(spaced, ccs_cells, subreads, bounds[filled[i]], config) for i in chosen]
    expected = np.array(expected, np.float32).reshape(len(chosen), config.num_rows, config.window_length)
    np.testing.assert_array_equal(window_rows(pileup, windows, chosen, config, np.float32), expected)
    np.testing.assert_array_equal(window_rows(pileup, windows, chosen, config), np.trunc(expected).astype(np.int16))


def check_spans(pileup, spaced):
    """A pass spans from its first to its last base."""
    for span, cells in zip(pileup.span.tolist(), spaced, strict=False):
        columns = [column for column, cell in enumerate(cells) if cell is not None and any(cell[1:])]
        assert span == ([columns[0], columns[-1] + 1] if columns else [0, 0])


# The original's own output on real reads


@pytest.fixture(scope="module")
def human_molecules(shared_data):
    """Decoded CCS read and subreads of each molecule, by the CCS read's name, in file order."""
    folder = shared_data / "consensus" / "human_1m"
    with BamReader(folder / "subreads_to_ccs.bam") as subreads, CcsFinder(folder / "ccs.bam") as ccs:
        return {
            raw.name: (decode_ccs(raw.ccs, ccs.path), [decode_subread(read, subreads.path) for read in raw.subreads])
            for raw in iterate_molecules(subreads, ccs)
        }


def examples_of(shared_data, split):
    folder = shared_data / "consensus" / "human_1m" / "tf_examples" / split
    for example in read_examples(folder / f"{split}.tfrecord.gz"):
        assert example["subreads/shape"].tolist() == [85, 100, 1]
        rows = np.frombuffer(example["subreads/encoded"][0], np.float32).reshape(85, 100)
        yield example["name"][0].decode(), int(example["window_pos"][0]), rows, example


def all_windows(molecules, config=None, max_insertion=5):
    """(name, first CCS position) -> float32 rows and (windows, index), in file order."""
    config, found = config or ConsensusConfig(), {}
    for name, (ccs, subreads) in molecules.items():
        pileup = build_pileup(ccs, subreads, config.max_passes, max_insertion)
        windows = cut_windows(pileup, config)
        rows = window_rows(pileup, windows, np.arange(len(windows)), config, np.float32)
        for i, window in enumerate(rows):
            found[name, int(windows.ccs_start[i])] = window, (windows, i)
    return found


def test_every_window_equals_deepconsensus(shared_data, human_molecules):
    windows = all_windows(human_molecules)
    assert len(windows) == 1593
    for ours, original in zip(windows.items(), examples_of(shared_data, "inference"), strict=True):
        (place, (rows, (found, i))), (name, position, expected, example) = ours, original
        assert place == (name, position)
        np.testing.assert_array_equal(rows, expected, err_msg=str(place))
        num_passes = min(len(human_molecules[name][1]), 20)
        assert example["subreads/num_passes"].tolist() == [num_passes]
        quals = example["ccs_base_quality_scores"]
        bases = quals[quals >= 0]
        assert found.ccs_end[i] - found.ccs_start[i] == len(bases)
        expected_phred = -10 * np.log10(np.mean(10 ** (bases / -10))) if bases.any() else 0
        assert found.ccs_phred[i] == pytest.approx(expected_phred, rel=1e-9, abs=1e-9)


def test_counts_equal_deepconsensus(human_molecules):
    pileups = [build_pileup(ccs, subreads) for ccs, subreads in human_molecules.values()]
    # inference.inference.json of the original: n_zmw_pass, zmw_trimmed_insertions_bp; n_examples_no_ccs_idx is absent.
    assert len(pileups) == 10
    assert sum(pileup.num_trimmed_bases for pileup in pileups) == 9421
    assert sum(cut_windows(pileup, ConsensusConfig()).num_empty for pileup in pileups) == 0
    assert sum(pileup.num_subreads for pileup in pileups) == 93


@pytest.mark.parametrize(("split", "count"), [("train", 1239), ("eval", 65), ("test", 203)])
def test_training_windows_are_among_them(shared_data, human_molecules, split, count):
    windows, seen = all_windows(human_molecules), set()
    for name, position, expected, _ in examples_of(shared_data, split):
        np.testing.assert_array_equal(windows[name, position][0], expected, err_msg=f"{name}:{position}")
        seen.add((name, position))
    assert len(seen) == count


def test_the_quality_row_equals_deepconsensus(shared_data, human_molecules):
    windows = all_windows(human_molecules, ConsensusConfig(use_ccs_quality=True))
    count = 0
    for name, position, expected, example in examples_of(shared_data, "inference"):
        rows = windows[name, position][0]
        assert rows.shape == (86, 100)
        np.testing.assert_array_equal(rows[81], example["ccs_base_quality_scores"])
        np.testing.assert_array_equal(np.delete(rows, 81, axis=0), expected)
        count += 1
    assert count == 1593


@pytest.mark.parametrize("change", ["untrimmed", "another order", "kinetics backwards"])
def test_parity_would_notice(shared_data, human_molecules, change):
    changed, max_insertion = human_molecules, 5
    if change == "untrimmed":
        max_insertion = 0
    elif change == "another order":
        changed = {name: (ccs, reads[::-1]) for name, (ccs, reads) in human_molecules.items()}
    else:
        changed = {name: (ccs, [replace(read, pw=read.pw[::-1]) for read in reads])
                   for name, (ccs, reads) in human_molecules.items()}  # fmt: skip
    windows = all_windows(changed, max_insertion=max_insertion)
    different = sum(
        (name, position) not in windows or not np.array_equal(windows[name, position][0], rows)
        for name, position, rows, _ in examples_of(shared_data, "inference")
    )
    assert different > 1000
