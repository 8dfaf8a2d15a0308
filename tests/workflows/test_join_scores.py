"""Shards that cannot be joined."""

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path

import pysam
import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.workflows import score_output
from genoformer.workflows.join_scores import join_scores
from genoformer.workflows.output import file_identity
from genoformer.workflows.score_output import write_outputs
from tests.score_rows import TABLE, VARIANTS, Rows
from tests.variant_cases import write_vcf


def rows_of(index, count, **identity):
    """Rows of one shard; attributes in their order, as `variants score` has them."""
    text = json.dumps({"version": "0.1.0", **identity, "shard": [index, count]})
    attributes = dict(sorted({**TABLE.attributes, "identity": text}.items()))
    return Rows(table=dataclasses.replace(TABLE, attributes=attributes))


@pytest.fixture
def write(tmp_path):
    def write_shard(name, index, count, **identity):
        path = tmp_path / name
        write_score_hdf5(path, rows_of(index, count, **identity))
        return str(path)

    return write_shard


def test_joined_rows_stand_in_order(write, tmp_path):
    shards = [write("b.h5", 2, 2), write("a.h5", 1, 2)]
    summary = join_scores(shards, [str(tmp_path / "all.tsv")])
    assert summary["variants"] == 8
    assert summary["identity"] == {"version": "0.1.0", "shard": [1, 1]}
    assert "counts" not in summary
    assert (
        len([line for line in (tmp_path / "all.tsv").read_text().splitlines() if line.startswith(("1\t", "4\t"))]) == 8
    )


def test_every_format_has_the_bytes_of_the_whole(write, tmp_path):
    formats = ["h5", "tsv", "tsv.gz", *(["parquet"] if find_spec("pyarrow") else [])]
    whole, joined = ([str(tmp_path / f"{name}.{kind}") for kind in formats] for name in ("whole", "joined"))
    write_outputs(whole, rows_of(1, 1), None)
    join_scores([write("1.h5", 1, 1)], joined)
    for one, other in zip(whole, joined, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_vcf_needs_the_file_that_was_scored(write, tmp_path):
    vcf, output = tmp_path / "calls.vcf", [str(tmp_path / "all.vcf")]
    write_vcf(vcf, VARIANTS)
    shards = [write("1.h5", 1, 1, vcf=file_identity(vcf))]
    join_scores(shards, output, str(vcf))
    with pysam.VariantFile(output[0]) as file:
        assert [record.pos for record in file] == [10, 10, 100, 5]
    with pytest.raises(UsageError, match=r"all\.vcf': its records come from the VCF file that was scored; name it by"):
        join_scores(shards, output)
    with pytest.raises(UsageError, match=r"absent\.vcf': is no file; expected the one that was scored"):
        join_scores(shards, output, str(tmp_path / "absent.vcf"))
    with pytest.raises(UsageError, match="an output is one of the shards, or their VCF file"):
        join_scores(shards, [str(vcf)], str(vcf))
    write_vcf(vcf, VARIANTS[:3])
    with pytest.raises(
        OutputError, match=r"calls\.vcf': is not the file that was scored \(calls\.vcf, .* there, calls"
    ):
        join_scores(shards, output, str(vcf))


def test_shards_that_do_not_belong_together(write, tmp_path):
    one, two, output = write("1.h5", 1, 2), write("2.h5", 2, 2), [str(tmp_path / "all.h5")]
    with pytest.raises(OutputError, match=r"shard 2 of 2 is missing \(1 in all\)"):
        join_scores([one], output)
    with pytest.raises(OutputError, match=r"1\.h5: is there twice; name each shard once"):
        join_scores([one, one], output)
    with pytest.raises(OutputError, match=r"is not of the same run as .*1\.h5: rc: True there, None here"):
        join_scores([one, write("other.h5", 2, 2, rc=True)], output)
    with pytest.raises(OutputError, match="is not of the same run as"):
        join_scores([one, write("third.h5", 2, 3)], output)
    with pytest.raises(OutputError, match=r"again\.h5: is shard 1/2, as .*1\.h5 is; name each shard once"):
        join_scores([one, write("again.h5", 1, 2)], output)
    with pytest.raises(UsageError, match="an output is one of the shards"):
        join_scores([one, two], [one])
    with pytest.raises(UsageError, match=r"'1\.tsv': only \.h5 shards can be joined"):
        join_scores(["1.tsv", two], output)
    (tmp_path / "2.h5.spool.partial").touch()
    with pytest.raises(OutputError, match="a later run of this shard is not finished"):
        join_scores([one, two], output)
    with pytest.raises(DataError, match=r"absent\.h5: is no whole file"):
        join_scores([str(tmp_path / "absent.h5")], output)
    assert not (tmp_path / "all.h5").exists()


def test_a_stopped_join_keeps_what_is_written(write, tmp_path, monkeypatch):
    shards, outputs = [write("1.h5", 1, 2), write("2.h5", 2, 2)], [str(tmp_path / name) for name in ("a.tsv", "b.h5")]
    with monkeypatch.context() as patch:
        patch.setattr(score_output, "write_score_hdf5", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            join_scores(shards, outputs)
    written = (tmp_path / "a.tsv").stat().st_mtime_ns
    summary = join_scores(shards, outputs, resume=True)
    assert (tmp_path / "a.tsv").stat().st_mtime_ns == written
    assert summary["variants"] == 8
    whole = [str(tmp_path / name) for name in ("whole.tsv", "whole.h5")]
    join_scores(shards, whole)
    assert [(tmp_path / name).read_bytes() for name in ("a.tsv", "b.h5")] == [
        (tmp_path / name).read_bytes() for name in ("whole.tsv", "whole.h5")
    ]
    assert join_scores(shards, outputs, resume=True) == summary
    other = [write("1.h5", 1, 2, rc=True), write("2.h5", 2, 2, rc=True)]
    with pytest.raises(OutputError, match=r"is of another run \(rc: None there, True here\)"):
        join_scores(other, outputs, resume=True)
