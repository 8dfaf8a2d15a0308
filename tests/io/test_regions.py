import gzip

import pytest

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.io.regions import Region, read_bed


def write(tmp_path, text):
    (tmp_path / "regions.bed").write_text(text)
    return tmp_path / "regions.bed"


def test_real_windows(shared_data):
    regions = read_bed(shared_data / "expression" / "borzoi" / "sequences_human.bed.gz")
    assert len(regions) == 55_497
    assert {region.interval.length for region in regions} == {196_608}
    assert {region.name for region in regions} == {f"fold{fold}" for fold in range(8)}


def test_lines_in_their_order_with_headers_and_without_names(tmp_path):
    text = (
        "track name=x\n#chrom\tstart\tend\nchr2\t10\t20\ttrain\t0\t+\n\nbrowser position\nchr1 0 5\ntracks\t3\t4\t.\n"
    )
    assert read_bed(write(tmp_path, text)) == [
        Region(Interval("chr2", 10, 20), "train", 3),
        Region(Interval("chr1", 0, 5), None, 6),
        Region(Interval("tracks", 3, 4), None, 7),
    ]


def test_windows_line_ends_and_gzip(tmp_path):
    (tmp_path / "a.bed.gz").write_bytes(gzip.compress(b"chr1\t1\t2\tfold0\r\n"))
    assert read_bed(tmp_path / "a.bed.gz") == [Region(Interval("chr1", 1, 2), "fold0", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": has no regions; expected BED lines: chrom, start, end"),
        ("# nothing\ntrack\n\n", ": has no regions"),
        ("chr1\t1\t2\nchr1\t5\n", r" line 2: \['chr1', '5'\]; expected chrom, start, end"),
        ("chr1\t-1\t2\n", r" line 1: \['chr1', '-1', '2'\]; expected"),
        ("chr1\t1e3\t2000\n", r" line 1: \['chr1', '1e3', '2000'\]; expected"),
        ("\t1\t2\n", r" line 1: \['', '1', '2'\]; expected"),
        ("chr1\t7\t7\n", " line 1: starts at 7 and ends at 7; expected an end after the start"),
        ("chr1:1-100\n", r" line 1: \['chr1:1-100'\]; expected"),
    ],
)
def test_bad_lines(tmp_path, text, message):
    with pytest.raises(DataError, match=f"regions.bed{message}"):
        read_bed(write(tmp_path, text))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", gzip.compress(b"chr1\t1\t2\n", mtime=0)[:-3]])
def test_no_text(tmp_path, content):
    (tmp_path / "a.bed").write_bytes(content)
    with pytest.raises(DataError, match=r"a.bed: cannot be read"):
        read_bed(tmp_path / "a.bed")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.bed: cannot be read: No such file"):
        read_bed(tmp_path / "none.bed")
