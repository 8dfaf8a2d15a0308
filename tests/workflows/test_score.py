"""Runs of `score`: what is written, and that shards, order, interruptions and neighbours change none of it."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pysam
import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.variant import Variant
from genoformer.io.reads import read_json
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows import score as module
from genoformer.workflows.join_scores import join_scores
from genoformer.workflows.score import score, shard_records
from genoformer.workflows.score_options import ScoreOptions, ScoreSettings
from tests.expression_reference import TINY, random_weights_
from tests.test_architecture import CHECKOUT
from tests.variant_cases import random_letters, snv, write_case, write_vcf

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'kernels'}"}
HUMAN = ScoreSettings(species="human", scores=("sad", "js", "d2", "max_centre"))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"))


def options_of(case, *outputs, settings=HUMAN, **changes):
    given = {"vcf": str(case.vcf), "genome": case.genome, "model": str(case.model), "threads": 1, "device": "cpu"}
    return ScoreOptions(outputs=tuple(map(str, outputs)), settings=settings, **{**given, **changes})


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """The outputs of a plain run, and its summary."""
    folder = tmp_path_factory.mktemp("whole")
    summary = score(options_of(case, folder / "s.h5", folder / "s.tsv", folder / "s.vcf"))
    return folder, summary


def test_every_variant_has_a_row_in_every_output(case, whole):
    folder, summary = whole
    assert summary["variants"] == 6
    assert summary["records"] == 7
    assert summary["counts"] == {"SNV": 2, "deletion": 2, "insertion": 2, "overlapped": 1, "symbolic": 1}
    with h5py.File(folder / "s.h5") as file:
        assert file["pos"][:].tolist() == [v.start + 1 for v in case.variants]
        assert file["alt_allele"][:].tolist() == [v.alt.encode() for v in case.variants]
        assert file["target_labels"][:].tolist()[0] == b"CAGE:liver"
        assert file["SAD"].shape == (6, 4)
        assert np.abs(file["SAD"][:]).max(axis=1).min() > 1e-3
        assert file.attrs["model"] == "model.safetensors"
        assert len(file.attrs["model_sha256"]) == 64
        assert file.attrs["genome"] == "genome.fa"
        assert file.attrs["command"] == (
            "genoformer variants score calls.vcf genome.fa -m model.safetensors --scores "
            "sad_sum,js,d2_sum,max_centre --species human"
        )
        assert "2e-6" in file.attrs["noise"]
        sad = file["SAD"][:]
    with pysam.VariantFile(str(folder / "s.vcf")) as file:
        *scored, last = file
        np.testing.assert_array_equal(np.float32([record.info["SAD_SUM"] for record in scored]), sad)
        assert (last.id, last.alts, list(last.info)) == ("many", ("*", "<DEL>"), [])
    assert sorted(path.name for path in folder.iterdir()) == ["s.h5", "s.h5.summary.json", "s.tsv", "s.vcf"]


def test_the_order_of_the_file_changes_no_score(case, whole, tmp_path):
    order = [4, 0, 5, 2, 1, 3]
    write_vcf(tmp_path / "other.vcf", [case.variants[place] for place in order])
    score(options_of(case, tmp_path / "s.h5", vcf=str(tmp_path / "other.vcf")))
    with h5py.File(tmp_path / "s.h5") as mine, h5py.File(whole[0] / "s.h5") as theirs:
        for name in ("SAD", "JS", "D2", "SAX_centre"):
            np.testing.assert_array_equal(mine[name], theirs[name][:][order])


def test_shards_make_the_bytes_of_the_whole(case, whole, tmp_path):
    shards = [str(tmp_path / f"shard_{i}.h5") for i in (1, 2, 3)]
    for i, shard in enumerate(shards, 1):
        score(options_of(case, shard, shard=(i, 3)))
    joined = join_scores(shards[::-1], [str(tmp_path / name) for name in ("s.h5", "s.tsv", "s.vcf")], str(case.vcf))
    assert joined["counts"] == whole[1]["counts"]
    assert joined["records"] == 7
    for name in ("s.h5", "s.tsv", "s.vcf"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


def test_a_shard_of_vcf_has_the_records_of_the_shard(case, whole, tmp_path):
    rows = []
    for i in (1, 2):
        score(options_of(case, tmp_path / "s.vcf", shard=(i, 2)))
        rows += [line for line in (tmp_path / "s.vcf").read_text().splitlines() if not line.startswith("#")]
    assert rows == [line for line in (whole[0] / "s.vcf").read_text().splitlines() if not line.startswith("#")]


def test_vcf_keeps_what_the_input_has(case, tmp_path):
    """With samples, an ALT that is not scored, and contigs that the genome calls chr1 and chr2."""
    one, two = case.variants[0], case.variants[2]
    third = next(base for base in "ACGT" if base not in (one.ref, one.alt))
    header = (
        '##fileformat=VCFv4.2\n##contig=<ID=1,length=9000>\n##FILTER=<ID=q10,Description="Quality below 10">\n'
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    )
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tNA1\tNA2\n"
    (tmp_path / "c.vcf").write_text(
        f"{header}{columns}1\t{one.start + 1}\trs1\t{one.ref}\t{one.alt},<DEL>,{third}\t29\tq10\tAF=0.5,0.1,0.2;DB"
        f"\tGT\t0|1\t2/3\n2\t{two.start + 1}\t.\t{two.ref}\t{two.alt}\t.\tPASS\t.\tGT\t0/0\t./.\n"
    )
    score(options_of(case, tmp_path / "s.h5", tmp_path / "s.vcf.gz", vcf=str(tmp_path / "c.vcf")))
    with h5py.File(tmp_path / "s.h5") as file:
        sad = file["SAD"][:]
    with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as file:
        lines = [line for line in str(file.header).splitlines() if "<ID=PASS," not in line]  # htslib's own
        assert lines[:5] == header.splitlines()
        assert file.header.contigs["2"].length == 5000
        first, second = file
        assert [record.pos for record in file.fetch("2")] == [two.start + 1]
    assert (first.id, first.qual, list(first.filter), first.alts) == ("rs1", 29, ["q10"], (one.alt, "<DEL>", third))
    assert (np.float32(first.info["AF"]) == np.float32([0.5, 0.1, 0.2])).all()
    assert [first.samples[name]["GT"] for name in ("NA1", "NA2")] == [(0, 1), (2, 3)]
    assert (second.qual, list(second.filter), second.samples["NA1"]["GT"]) == (None, ["PASS"], (0, 0))
    scores = first.info["SAD_SUM"]
    assert scores[4:8] == (None,) * 4
    np.testing.assert_array_equal(np.float32([scores[:4], scores[8:], second.info["SAD_SUM"]]), sad)


SHRINK = 1000  # of positions, so that genes of all chromosomes fit into contigs of 230 kb; their order stays


@pytest.fixture(scope="module")
def validated(shared_data, tmp_path_factory):
    """Basenji's misordered file of validated variants, shrunk: its fields, and a genome that has its REFs."""
    path = shared_data / "expression" / "basenji_tests" / "vcf" / "regulatory_validated_misorder.vcf"
    fields = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    contigs = {row[0]: list(random_letters(230_000, seed=int(row[0][3:]))) for row in fields}
    for row in fields:
        row[1] = str(int(row[1]) // SHRINK)
        contigs[row[0]][int(row[1]) - 1] = row[3]
    genome = tmp_path_factory.mktemp("validated") / "genome.fa"
    genome.write_text("".join(f">{name}\n{''.join(letters)}\n" for name, letters in contigs.items()))
    return fields, genome


AS_IT_IS, INTERLEAVED, SORTED = range(16), [*range(1, 16, 2), *range(0, 16, 2)], [1, 0, *range(2, 16)]


@pytest.mark.parametrize("order", [AS_IT_IS, INTERLEAVED, SORTED], ids=["as it is", "interleaved", "sorted"])
def test_misordered_files_keep_their_order_in_every_output(case, validated, tmp_path, caplog, order):
    """In the file as it is, chr1:109817590 comes before chr1:56972353; interleaved, chr1 comes again after chr22."""
    fields, genome = [validated[0][place] for place in order], validated[1]
    text = "\n".join(["##fileformat=VCFv4.2", *("\t".join(row) for row in fields)])
    (tmp_path / "calls.vcf").write_text(text + "\n")
    names = ("s.h5", "s.tsv", "s.vcf.gz", "s.parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    outputs = [tmp_path / name for name in names]
    settings = ScoreSettings(species="human", tracks=("0",))
    score(options_of(case, *outputs, settings=settings, vcf=str(tmp_path / "calls.vcf"), genome=genome))
    wanted = [(row[0], int(row[1]), row[2], row[3], row[4]) for row in fields]
    with h5py.File(tmp_path / "s.h5") as file:
        columns = [file[name].asstr()[:].tolist() for name in ("chr", "snp", "ref_allele", "alt_allele")]
        assert list(zip(columns[0], file["pos"][:].tolist(), *columns[1:], strict=True)) == wanted
        sad = file["SAD"][:, 0]
    assert len(set(np.abs(sad).tolist()) - {0}) == 16
    lines = [line.split("\t") for line in (tmp_path / "s.tsv").read_text().splitlines() if not line.startswith("#")][1:]
    assert [(line[1], int(line[2]), *line[3:6]) for line in lines] == wanted
    np.testing.assert_array_equal(np.float32([line[-1] for line in lines]), sad)
    with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as file:
        records = list(file)
    assert [(record.chrom, record.pos, record.id, record.ref, *record.alts) for record in records] == wanted
    assert all((record.qual, list(record.filter)) == (100, []) for record in records)
    np.testing.assert_array_equal(np.float32([record.info["SAD_SUM"][0] for record in records]), sad)
    table = parquet.read_table(tmp_path / "s.parquet").to_pydict()
    assert list(zip(*(table[name] for name in ("chrom", "pos", "id", "ref", "alt")), strict=True)) == wanted
    np.testing.assert_array_equal(np.float32(table["sad_sum"]), sad)
    is_sorted = order is SORTED
    assert (tmp_path / "s.vcf.gz.tbi").exists() == is_sorted
    assert any("s.vcf.gz: has no index, since" in message for message in caplog.messages) == (not is_sorted)
    if not is_sorted:  # a variant's score is that of the variant alone, wherever it stands
        place = [row[2] for row in fields].index("rs1427407")
        (tmp_path / "one.vcf").write_text("\t".join(fields[place]) + "\n")
        score(options_of(case, tmp_path / "o.h5", settings=settings, vcf=str(tmp_path / "one.vcf"), genome=genome))
        with h5py.File(tmp_path / "o.h5") as file:
            assert file["SAD"][:, 0].tolist() == [sad[place]]


def test_records_of_shards():
    for num_records, count in ((7, 3), (2, 5), (0, 2), (100, 7)):
        numbers = [number for i in range(1, count + 1) for number in shard_records(num_records, (i, count))]
        assert numbers == list(range(1, num_records + 1))


def test_standard_input(case, whole, tmp_path, monkeypatch):
    with case.vcf.open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        score(options_of(case, tmp_path / "s.h5", vcf="-"))
    with h5py.File(tmp_path / "s.h5") as mine, h5py.File(whole[0] / "s.h5") as theirs:
        np.testing.assert_array_equal(mine["SAD"], theirs["SAD"])


def test_flipped_variants_have_the_negative_scores(case, whole, tmp_path):
    flipped = [variant.flipped() for variant in case.variants if not variant.is_indel]
    write_vcf(tmp_path / "flipped.vcf", flipped)
    settings = dataclasses.replace(HUMAN, ref_mismatch="flip")
    summary = score(options_of(case, tmp_path / "s.h5", vcf=str(tmp_path / "flipped.vcf"), settings=settings))
    assert summary["counts"] == {"SNV": 2, "flipped": 2}
    rows = [place for place, variant in enumerate(case.variants) if not variant.is_indel]
    with h5py.File(tmp_path / "s.h5") as mine, h5py.File(whole[0] / "s.h5") as theirs:
        for name, sign in (("SAD", -1), ("SAX_centre", -1), ("JS", 1), ("D2", 1)):
            np.testing.assert_array_equal(mine[name], sign * theirs[name][:][rows])
        assert mine["note"][:].tolist() == [b"flipped"] * 2


def test_real_variants_and_the_same_flipped(case, shared_data, tmp_path):
    folder = shared_data / "expression" / "baskerville_tests"
    for suffix in ("", ".fai", ".gzi"):
        (tmp_path / f"hg38_1m.fa.gz{suffix}").symlink_to(folder / f"hg38_1m.fa.gz{suffix}")
    for name, mode, counts in (("eqtl", "error", {"SNV": 8}), ("eqtl_flip", "flip", {"SNV": 8, "flipped": 8})):
        options = options_of(
            case, tmp_path / f"{name}.h5", vcf=str(folder / "snp" / f"{name}.vcf"), genome=tmp_path / "hg38_1m.fa.gz",
            settings=dataclasses.replace(HUMAN, ref_mismatch=mode),
        )  # fmt: skip
        assert score(options)["counts"] == counts
    with h5py.File(tmp_path / "eqtl.h5") as plain, h5py.File(tmp_path / "eqtl_flip.h5") as flipped:
        for name, sign in (("SAD", -1), ("SAX_centre", -1), ("JS", 1), ("D2", 1)):
            np.testing.assert_array_equal(flipped[name], sign * plain[name][:])
        assert plain["SAD"][:].any(axis=1).all()


def test_trusted_variants_are_put_into_the_genome(case, tmp_path):
    """An ALT next to another one is scored from a genome that has this other one."""
    one = case.variants[0]
    third = next(base for base in "ACGT" if base not in (one.ref, one.alt))
    write_vcf(tmp_path / "trusted.vcf", [dataclasses.replace(one, ref=third)])
    settings = dataclasses.replace(HUMAN, ref_mismatch="trust", keep_predictions=True)
    score(options_of(case, tmp_path / "s.h5", vcf=str(tmp_path / "trusted.vcf"), settings=settings))
    write_vcf(tmp_path / "plain.vcf", [one, dataclasses.replace(one, alt=third)])
    settings = dataclasses.replace(HUMAN, keep_predictions=True)
    score(options_of(case, tmp_path / "p.h5", vcf=str(tmp_path / "plain.vcf"), settings=settings))
    with h5py.File(tmp_path / "s.h5") as trusted, h5py.File(tmp_path / "p.h5") as plain:
        np.testing.assert_array_equal(trusted["REF"][0], plain["ALT"][1])
        np.testing.assert_array_equal(trusted["ALT"][0], plain["ALT"][0])


def test_genes_and_a_background(case, whole, tmp_path):
    (tmp_path / "genes.gtf").write_text(
        'chr1\tx\texon\t3001\t3400\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC";\n'
        'chr2\tx\texon\t4900\t4950\t.\t-\t.\tgene_id "G2"; transcript_id "T2";\n'
    )
    summary = score(
        options_of(
            case, tmp_path / "s.h5", tmp_path / "s.tsv", genes=tmp_path / "genes.gtf", background=whole[0] / "s.h5"
        )
    )
    assert summary["variants"] == 6
    with h5py.File(tmp_path / "s.h5") as file, h5py.File(whole[0] / "s.h5") as plain:
        assert file["genes/gene"][:].tolist() == [b"G1", b"G2"]
        assert file["genes/si"][:].tolist() == [0, 1, 3, 4]  # the variants of chr1; G2 is beyond their window
        assert np.isfinite(file["genes/tss_sum_logfc"][:]).all()
        sad = plain["SAD"][:].astype(np.float64)
        np.testing.assert_allclose(file["SAD_z"], (sad - sad.mean(0)) / sad.std(0), rtol=1e-4, atol=1e-5)
        assert (file["SAD_percentile"][:].argmax(0) == sad.argmax(0)).all()
    assert (tmp_path / "s.genes.tsv").read_text().count("\tG1\tABC\t") == 4 * 4


def test_a_grid_of_windows(case, tmp_path):
    """Windows do not depend on what else is in the file; near variants share them."""
    settings = dataclasses.replace(HUMAN, grid_bp=512)
    score(options_of(case, tmp_path / "s.h5", settings=settings))
    write_vcf(tmp_path / "one.vcf", [case.variants[3]])
    score(options_of(case, tmp_path / "one.h5", vcf=str(tmp_path / "one.vcf"), settings=settings))
    with h5py.File(tmp_path / "s.h5") as every, h5py.File(tmp_path / "one.h5") as one:
        np.testing.assert_array_equal(every["SAD"][3], one["SAD"][0])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rc": True, "shifts": (-1, 0, 1)},
        {"grid_bp": 512},
        {"keep_predictions": True, "reuse": False},
        {"grid_bp": 512, "batch_size": 4},
    ],
)
def test_devices_share_the_work_and_change_no_bit(case, whole, tmp_path, changes):
    (tmp_path / "genes.gtf").write_text('chr1\tx\texon\t3001\t3400\t.\t+\t.\tgene_id "G1"; transcript_id "T1";\n')
    given = {"settings": dataclasses.replace(HUMAN, **changes), "genes": tmp_path / "genes.gtf"}
    given["background"] = whole[0] / "s.h5"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    names = ("s.h5", "s.tsv", "s.genes.tsv")
    one, two = ([tmp_path / folder / name for name in names[:2]] for folder in ("one", "two"))
    expected = score(options_of(case, *one, **given))
    found = score(options_of(case, *two, **given, device="cpu,cpu", threads=2))
    for name in names:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert found["identity"] == expected["identity"]
    assert [device["device"] for device in found["run"]["devices"]] == ["cpu", "cpu"]
    assert all(device["batches"] and 0 < device["busy"] <= 1 for device in found["run"]["devices"])


def test_a_cpu_goes_on_whatever_the_batch(case, whole, tmp_path):
    options = options_of(case, tmp_path / "s.tsv")
    with pytest.raises(StoppedError):
        score(options, stopped_after(2))
    settings = dataclasses.replace(options.settings, batch_size=5)
    score(dataclasses.replace(options, resume=True, settings=settings))
    assert (tmp_path / "s.tsv").read_bytes() == (whole[0] / "s.tsv").read_bytes()


def test_more_devices_finish_what_one_began(case, whole, tmp_path):
    options = options_of(case, tmp_path / "s.h5", tmp_path / "s.tsv", tmp_path / "s.vcf")
    with pytest.raises(StoppedError):
        score(options, stopped_after(2))
    summary = score(dataclasses.replace(options, resume=True, device="cpu,cpu", threads=2))
    assert summary["run"]["variants"] == 4
    for name in ("s.h5", "s.tsv", "s.vcf"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


def test_bad_variants_end_the_run_before_it_begins(case, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ScoreOutput", None)
    write_vcf(
        tmp_path / "bad.vcf",
        [*case.variants, Variant("chr1", 10, "N", "ACGT", "x")],
        extra="chr1\t-7\t.\tA\tC\t.\t.\t.\n",
    )
    with pytest.raises(DataError, match=r"bad\.vcf record 8 \(line 10\): POS is '-7'"):
        score(options_of(case, tmp_path / "s.h5", vcf=str(tmp_path / "bad.vcf")))
    write_vcf(tmp_path / "bad.vcf", [variant.flipped() for variant in case.variants[:1]])
    with pytest.raises(DataError, match="1 of 1 ALT with a REF that is not in"):
        score(options_of(case, tmp_path / "s.h5", vcf=str(tmp_path / "bad.vcf")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ("s.csv",)}, r"output 's\.csv': expected a name ending in \.h5"),
        ({"outputs": ("s.h5", "s.h5")}, "each with a name of its own"),
        ({"outputs": ("s.h5", "missing/s.tsv")}, r"missing/s\.tsv': expected a file in a folder that is there"),
        ({"outputs": ("s.tsv",), "settings": dataclasses.replace(HUMAN, keep_predictions=True)}, "into HDF5 only"),
        ({"shard": (4, 3)}, r"--shard is 4/3; expected i/N"),
        ({"vcf": "-", "resume": True}, "--resume needs a VCF file"),
        ({"settings": ScoreSettings()}, "--species is not given; the model has human, mouse"),
        (
            {"settings": dataclasses.replace(HUMAN, tracks=("CAGE:brain",))},
            "none has such an identifier or description",
        ),
        ({"settings": dataclasses.replace(HUMAN, scores=("sax",))}, "score 'sax'"),
        ({"settings": dataclasses.replace(HUMAN, shifts=(1, 1))}, "expected different numbers"),
        (
            {"settings": dataclasses.replace(HUMAN, grid_bp=1 << 20)},
            "--window-grid is 1048576; expected at most the 2560",
        ),
        ({"settings": dataclasses.replace(HUMAN, centre_bins=21)}, "--centre-bins is 21; the model predicts 20"),
    ],
)
def test_options_that_cannot_work(case, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    options = dataclasses.replace(options_of(case, "out.h5"), **changes)
    with pytest.raises(UsageError, match=message):
        score(options)
    assert not list(tmp_path.iterdir())


def test_an_input_is_no_output(case):
    with pytest.raises(UsageError, match="is one of the inputs"):
        score(options_of(case, case.vcf))


class StoppedError(Exception):
    pass


def stopped_after(num_variants):
    def on_progress(done, total):
        if done == num_variants:
            raise StoppedError

    return on_progress


@pytest.mark.parametrize("num_variants", [1, 4, 6])
def test_a_stopped_run_goes_on(case, whole, tmp_path, num_variants):
    options = options_of(case, tmp_path / "s.h5", tmp_path / "s.tsv", tmp_path / "s.vcf")
    with pytest.raises(StoppedError):
        score(options, stopped_after(num_variants))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.h5.journal.json", "s.h5.spool.partial"]
    other = dataclasses.replace(options, resume=True, settings=dataclasses.replace(HUMAN, rc=True))
    with pytest.raises(OutputError, match=r"is of another run \(rc: False there, True here"):
        score(other)
    done = []
    score(dataclasses.replace(options, resume=True), lambda count, total: done.append((count, total)))
    assert done == [(count, 6) for count in range(num_variants + 1, 7)]
    for name in ("s.h5", "s.tsv", "s.vcf"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()
    assert score(dataclasses.replace(options, resume=True)) == read_json(tmp_path / "s.h5.summary.json")
    with pytest.raises(OutputError, match="is of another run"):
        score(other)


def test_a_run_that_fails_at_once_leaves_nothing(case, tmp_path, monkeypatch):
    monkeypatch.setattr("genoformer.workflows.variant_scorer.VariantScorer.score", lambda self, variants: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(options_of(case, tmp_path / "s.h5"))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from genoformer.workflows import score_output
from genoformer.cli.main import app
score_output.COMMIT_SECONDS = 0.02
app(sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_at_random_moments(case, whole, tmp_path):
    command = [
        sys.executable,
        "-c",
        KILLED,
        "variants",
        "score",
        str(case.vcf),
        str(case.genome),
        "-m",
        str(case.model),
    ]
    command += ["--species", "human", "--scores", "sad,js,d2,max_centre", "--device", "cpu", "-t", "1", "--resume"]
    command += ["-o", str(tmp_path / "s.h5"), "-o", str(tmp_path / "s.tsv"), "-o", str(tmp_path / "s.vcf")]
    rng = random.Random(0)
    begun = time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    seconds = time.monotonic() - begun
    for name in ("s.h5", "s.tsv", "s.vcf", "s.h5.summary.json"):
        (tmp_path / name).unlink()
    for _ in range(10):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    for name in ("s.h5", "s.tsv", "s.vcf"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()
    assert json.loads((tmp_path / "s.h5.summary.json").read_text())["variants"] == 6


MEASURED = """
import sys
from pathlib import Path
from genoformer.cli.main import app
try:
    app(sys.argv[1:])
finally:
    print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Ten thousand variants of a genome of 20 kb by a model of 96 bp."""
    contig = random_letters(20_000)
    (tmp_path / "genome.fa").write_text(f">chr1\n{contig}\n")
    model = random_weights_(ExpressionTransformer(TINY))
    save_checkpoint(tmp_path / "tiny.safetensors", model.state_dict(), TINY)
    peaks = {}
    for count in (100, 10_000):
        write_vcf(tmp_path / f"{count}.vcf", [snv(contig, 2 * place) for place in range(count)])
        command = [sys.executable, "-c", MEASURED, "variants", "score", str(tmp_path / f"{count}.vcf")]
        command += [str(tmp_path / "genome.fa"), "-m", str(tmp_path / "tiny.safetensors"), "--species", "human"]
        command += ["--device", "cpu", "-t", "1", "-q", "-o", str(tmp_path / "s.h5"), "-o", str(tmp_path / "s.vcf.gz")]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        peaks[count] = int(done.stdout.split()[-2])
        with h5py.File(tmp_path / "s.h5") as file:
            assert len(file["snp"]) == count
    assert peaks[10_000] < 1.1 * peaks[100]
