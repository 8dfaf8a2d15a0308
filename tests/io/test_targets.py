import pytest

from genoformer.errors import DataError
from genoformer.genome.track import Track
from genoformer.io.targets import read_targets, target_lines

HEADER = "\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription"


def write(tmp_path, *rows, header=HEADER):
    (tmp_path / "targets.txt").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path / "targets.txt"


@pytest.mark.parametrize(
    ("name", "count", "assays", "stats"),
    [
        ("basenji_cross2020/targets_human.txt", 5313, {"DNASE": 674, "ATAC": 10, "CHIP": 3991, "CAGE": 638},
         {"mean": 4506, "sum": 807}),
        ("basenji_cross2020/targets_mouse.txt", 1643, {"DNASE": 101, "ATAC": 127, "CHIP": 1058, "CAGE": 357}, None),
        ("baskerville_tests/tiny/hg38/targets.txt", 74, {"CAGE": 24, "DNASE": 10, "RNA": 30, "RNA3": 10},
         {"sum_sqrt": 64, "mean": 10}),
        ("baskerville_tests/tiny/hg38/targets_rna.txt", 40, {"RNA": 30, "RNA3": 10}, None),
        ("borzoi/targets_gtex.txt", 89, {"RNA": 89}, None),
    ],
)  # fmt: skip
def test_real_tables(shared_data, name, count, assays, stats):
    tracks = read_targets(shared_data / "expression" / name)
    assert len(tracks) == count
    assert {assay: sum(track.assay == assay for track in tracks) for assay in assays} == assays
    if stats is not None:
        assert {stat: sum(track.sum_stat == stat for track in tracks) for stat in stats} == stats
    for place, track in enumerate(tracks):
        pair = tracks[track.strand_pair]
        if pair is not track:
            assert {track.identifier[-1], pair.identifier[-1]} == {"+", "-"}
            assert (pair.identifier[:-1], pair.strand_pair) == (track.identifier[:-1], place)


def test_a_row_of_each_generation(shared_data):
    folder = shared_data / "expression"
    new = read_targets(folder / "baskerville_tests" / "tiny" / "hg38" / "targets_rna.txt")[1]
    file = "/home/drk/tillage/datasets/human/rna/encode/ENCSR000AAR/summary/coverage-.w5"
    description = "RNA:tracheal epithelial cell male adult (21 years) and male adult (68 years)"
    assert new == Track("ENCFF520NFI-", description, file, "sum_sqrt", 0.3, 64.0, 384.0, strand_pair=0)
    old = read_targets(folder / "basenji_cross2020" / "targets_human.txt")[2]
    assert (old.scale, old.clip, old.clip_soft, old.sum_stat, old.strand_pair) == (2.0, 32.0, None, "mean", 2)


def test_what_may_be_left_out_and_relative_files(tmp_path):
    path = write(tmp_path, "7\ta\tx/a.bw", "9\tb\t/data/b.bw", header="index\tidentifier\tfile")
    assert read_targets(path) == [
        Track("a", "", str(tmp_path / "x/a.bw"), "sum", 1.0, None, None, 0),
        Track("b", "", "/data/b.bw", "sum", 1.0, None, None, 1),
    ]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, ": has no tracks; expected a header and a line for each track"),
        (["0\ta"], "index\tname", " line 1: has no column 'identifier'; expected index, identifier, file"),
        (["0\ta"], "index\tidentifier", " line 1: has no column 'file'"),
        (["0\ta\tb\tc"], "\tidentifier\tfile\tfile", " line 1: column 'file' is there twice"),
        (["0\ta\tf", "1\tb"], "\tidentifier\tfile", " line 3: has 2 fields, the header has 3"),
        (["0\ta\tf", "0\tb\tf"], "\tidentifier\tfile", " line 3: index 0 is there twice"),
        (["0\t\tf"], "\tidentifier\tfile", " line 2: has no identifier"),
        (["0\ta\tf\tsums"], "\tidentifier\tfile\tsum_stat", " line 2: sum_stat is 'sums'; expected one of sum, mean, "),
        (["0\ta\tf\t0"], "\tidentifier\tfile\tscale", " line 2: scale is '0'; expected a positive number"),
        (["0\ta\tf\tnan"], "\tidentifier\tfile\tclip", " line 2: clip is 'nan'; expected"),
        (["0\ta\tf\tbig"], "\tidentifier\tfile\tclip_soft", " line 2: clip_soft is 'big'; expected"),
        (["0\ta\tf\t5"], "\tidentifier\tfile\tstrand_pair", " line 2: strand_pair is 5, an index that the table does"),
        (["0\ta\tf\t1", "1\tb\tf\t1"], "\tidentifier\tfile\tstrand_pair",
         " line 2: strand_pair of 'a' is 'b', not paired with it"),
    ],
)  # fmt: skip
def test_broken_tables(tmp_path, rows, header, message):
    with pytest.raises(DataError, match=f"targets.txt{message}"):
        read_targets(write(tmp_path, *rows, header=header))


def test_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a.txt: cannot be read: 'utf-8' codec"):
        read_targets(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"b.txt: cannot be read: No such file"):
        read_targets(tmp_path / "b.txt")


def test_a_table_written_and_read_back(tmp_path):
    tracks = [
        Track("x+", "CAGE:x", str(tmp_path / "p.bw"), "sum", 0.25, None, 384.0, 1),
        Track("x-", "", str(tmp_path / "m.bw"), "mean_sqrt", 1.0, 32.0, None, 0),
    ]
    path = tmp_path / "targets.txt"
    path.write_text("".join(target_lines(tracks)))
    assert read_targets(path) == tracks
    assert path.read_text().splitlines()[2] == f"1\tx-\t{tmp_path}/m.bw\t\t32.0\t1.0\tmean_sqrt\t0\t"
