"""A small model and measured tracks of which some figures are known, held against numpy over all bins at once."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from genoformer.errors import CheckpointError, DataError, UsageError
from genoformer.genome.alphabet import one_hot, reverse_complement_codes
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionWriter, WindowShape, pack_example
from genoformer.models.checkpoint import load_model, save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.expression_assess import AssessExpressionOptions, assess_expression, find_shards
from tests.expression_reference import TINY, random_weights_

CONFIG = TINY.model_copy(update={"target_bins": 8})  # 8 of 12 bins of 8 bp, two left out at either end
STORED = WindowShape(sequence_bp=120, bin_bp=4, num_bins=20)  # more bins and sequence than the model reads, in halves
NUM_WINDOWS = 5
TRACKS = (
    Track("x+", "CAGE:x", "", "sum", 1.0, None, None, 2),
    Track("d", "DNASE:d", "", "mean", 1.0, None, None, 1),
    Track("x-", "CAGE:x", "", "sum", 1.0, None, None, 0),
)
MODEL_TRACKS = {"human": TRACKS, "fly": (replace(TRACKS[1], identifier="0"), replace(TRACKS[1], identifier="1"))}
GENES = (
    'c\t.\tgene\t{}\t{}\t.\t+\t.\tgene_id "A"; gene_type "protein_coding";\n'
    'c\t.\tgene\t{}\t{}\t.\t-\t.\tgene_id "B"; gene_type "protein_coding";\n'
    'c\t.\tgene\t{}\t{}\t.\t-\t.\tgene_id "C"; gene_type "lncRNA";\n'
    'c\t.\tgene\t5000\t5010\t.\t+\t.\tgene_id "far"; gene_type "miRNA";\n'
)


def window_of(index):
    """Codes [120] and targets [3, 20] of an example, some of them 0."""
    rng = np.random.default_rng(index)
    codes = rng.integers(0, 5, STORED.sequence_bp, np.uint8)
    return codes, rng.gamma(0.5, 3, (3, STORED.num_bins)).astype(np.float32)


def write_shard(path, indices, tracks=TRACKS, shape=STORED, change=lambda targets: targets):
    writer = ExpressionWriter(path, shape, tracks, dtype="float32", transform="", split="test")
    for index in indices:
        codes, targets = window_of(index)
        bins = Interval("c", 1000 * index, 1000 * index + shape.target_bp)
        writer.append(pack_example(bins, codes[: shape.sequence_bp], change(targets[: len(tracks)]), "float32"))
    writer.finish()


def save_model(folder, *, tracks=MODEL_TRACKS, config=CONFIG, change=lambda model: model):
    model = change(random_weights_(ExpressionTransformer(config)))
    save_checkpoint(folder / "model.safetensors", model.state_dict(), config, tracks=tracks)


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def options(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_shard(data / "test-00001-of-00002.h5", range(3))
    write_shard(data / "test-00002-of-00002.h5", range(3, NUM_WINDOWS))
    write_shard(data / "train-00001-of-00002.h5", [])
    save_model(tmp_path)
    outputs = tuple(str(tmp_path / f"report{suffix}") for suffix in (".tsv", ".json"))
    return AssessExpressionOptions(str(tmp_path / "model.safetensors"), data, "test", outputs, device="cpu", threads=1)


def predictions(options, *, rc=False):
    """What the model says and what was measured, [5, 8, 3] each, without any of the code under test."""
    model = load_model(options.model)
    predicted, measured = [], []
    for index in range(NUM_WINDOWS):
        codes, targets = window_of(index)
        codes = codes[12:108]  # 96 of 120 bases
        codes = reverse_complement_codes(codes) if rc else codes
        with torch.inference_mode():
            predicted.append(model(torch.from_numpy(one_hot(codes))[None])["human"][0].numpy())
        halves = targets[:, 2:18].reshape(3, 8, 2)  # 16 of 20 bins, two to each of the model's
        measured.append(np.stack([halves[0].sum(1), halves[1].mean(1), halves[2].sum(1)], 1))
    return np.array(predicted, np.float64), np.array(measured, np.float64)


def pearson(predicted, measured):
    return [np.corrcoef(predicted[..., t].ravel(), measured[..., t].ravel())[0, 1] for t in range(predicted.shape[-1])]


def figures(summary, name):
    return [row[name] for row in summary["tracks"]]


def test_figures_are_those_of_all_bins_together(options):
    summary = assess_expression(options)
    predicted, measured = predictions(options)
    assert (summary["windows"], summary["bins"], summary["species"], summary["genes"]) == (5, 40, "human", None)
    for name, transform in (("bins", np.array), ("bins_log1p", np.log1p)):
        p, m = transform(predicted), transform(measured)
        assert figures(summary, f"pearson_{name}") == pytest.approx(pearson(p, m), abs=1e-6)
        r2 = 1 - ((p - m) ** 2).sum((0, 1)) / ((m - m.mean((0, 1))) ** 2).sum((0, 1))
        assert figures(summary, f"r2_{name}") == pytest.approx(list(r2), abs=1e-6, rel=1e-6)
    assert figures(summary, "mean_measured") == pytest.approx(list(measured.mean((0, 1))), rel=1e-5)
    assert figures(summary, "mean_predicted") == pytest.approx(list(predicted.mean((0, 1))), rel=1e-5)


def test_averages_by_assay_and_files(options, tmp_path):
    summary = assess_expression(options)
    found = figures(summary, "pearson_bins")
    cage = summary["assays"]["CAGE"]
    assert list(summary["assays"]) == ["CAGE", "DNASE"]
    assert cage["tracks"] == 2
    assert cage["pearson_bins"]["mean"] == pytest.approx((found[0] + found[2]) / 2, abs=1e-6)
    assert summary["all"]["pearson_bins"] == {
        "mean": pytest.approx(np.mean(found), abs=1e-6),
        "median": pytest.approx(np.median(found), abs=1e-6),
        "tracks": 3,
    }
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    lines = [line.split("\t") for line in (tmp_path / "report.tsv").read_text().splitlines()]
    assert lines[0] == [
        "index", "identifier", "description", "assay", "mean_measured", "mean_predicted", "pearson_bins", "r2_bins",
        "pearson_bins_log1p", "r2_bins_log1p",
    ]  # fmt: skip
    assert lines[1][:4] == ["0", "x+", "CAGE:x", "CAGE"]
    assert [float(line[6]) for line in lines[1:]] == found


def test_both_strands(options):
    summary = assess_expression(replace(options, rc=True))
    predicted, measured = predictions(options)
    turned, _ = predictions(options, rc=True)
    mean = (predicted + turned[:, ::-1][..., [2, 1, 0]]) / 2
    assert figures(summary, "pearson_bins") == pytest.approx(pearson(mean, measured), abs=1e-6)
    assert figures(summary, "pearson_bins") != figures(assess_expression(options), "pearson_bins")


def test_the_same_bytes_again_whatever_the_batch(options, tmp_path):
    assess_expression(options)
    first = [(tmp_path / f"report{suffix}").read_bytes() for suffix in (".tsv", ".json")]
    assess_expression(replace(options, batch_size=3))
    assert [(tmp_path / f"report{suffix}").read_bytes() for suffix in (".tsv", ".json")] == first


def with_genes(options, text):
    path = options.data.parent / "genes.gtf"
    path.write_text(text)
    return replace(options, genes=path)


def test_figures_across_genes(options):
    """Bins of window w are the 8 of 8 bp from base 1000 w + 8 on. A starts at base 1031, in bin 2 of window 1; B ends
    at base 2041, in bin 4 of window 2; C at base 3017, in bin 1 of window 3."""
    options = with_genes(options, GENES.format(1032, 1100, 2000, 2042, 3000, 3018))
    summary = assess_expression(options)
    assert summary["genes"] == 3
    both = predictions(options)
    sums = [[values[1, 1:4].sum(0), values[2, 3:6].sum(0), values[3, 0:3].sum(0)] for values in both]
    sense = [np.log1p([[a[0], a[1], a[0]], [b[2], b[1], b[2]], [c[2], c[1], c[2]]]) for a, b, c in sums]
    assert figures(summary, "pearson_genes_log1p") == pytest.approx(pearson(*sense), abs=1e-6)
    assert summary["all"]["pearson_genes_log1p"]["tracks"] == 3
    assert assess_expression(replace(options, gene_types=("lncRNA", "protein_coding")))["genes"] == 3
    coding = assess_expression(replace(options, gene_types=("protein_coding",)))
    assert coding["genes"] == 2
    assert set(np.round(np.abs(figures(coding, "pearson_genes_log1p")), 5)) == {1.0}  # of two points


@pytest.mark.parametrize(
    ("text", "types", "message"),
    [
        ("", (), "genes.gtf: has no genes; expected lines of genes"),
        (GENES.format(1, 2, 1, 2, 1, 2), (), r"genes.gtf: none of its 4 genes on the contigs of the windows starts in"),
        (
            GENES.format(1032, 1100, 1, 2, 1, 2),
            ("tRNA",),
            "no gene of type 'tRNA' on the .*; it has lncRNA, miRNA, pro",
        ),
        (GENES.replace("c\t.", "chrZ\t.").format(*range(1, 7)), (), r"no gene on the contigs that are asked for \(c"),
    ],
)
def test_genes_that_do_not_fit(options, text, types, message):
    with pytest.raises(DataError, match=message):
        assess_expression(replace(with_genes(options, text), gene_types=types))
    assert not list(options.data.parent.glob("report*"))


def test_a_track_that_never_varies_is_left_out(options, tmp_path):
    def silenced(targets):
        targets[1] = 0.25
        return targets

    for path in options.data.glob("test-*"):
        path.unlink()
    write_shard(options.data / "test-00001-of-00001.h5", range(NUM_WINDOWS), change=silenced)
    summary = assess_expression(options)
    assert figures(summary, "pearson_bins")[1] is None
    assert summary["assays"]["DNASE"]["pearson_bins"] == {"mean": None, "median": None, "tracks": 0}
    assert summary["all"]["pearson_bins"]["tracks"] == 2
    line = (tmp_path / "report.tsv").read_text().splitlines()[2].split("\t")
    assert (line[4], line[6:]) == ("0.250000", ["", "", "", ""])


def test_tracks_in_another_order_and_a_part_of_them(options, tmp_path):
    whole = assess_expression(options)
    extra = replace(TRACKS[1], identifier="other", strand_pair=1)
    reordered = (replace(TRACKS[2], strand_pair=2), extra, replace(TRACKS[0], strand_pair=0))

    def shuffled(model):
        with torch.no_grad():
            for tensor in (model.heads["human"].weight, model.heads["human"].bias):
                tensor.copy_(tensor[[2, 1, 0]].clone())
        return model

    save_model(tmp_path, tracks={**MODEL_TRACKS, "human": reordered}, change=shuffled)
    for path in options.data.glob("test-*"):
        path.unlink()
    pair = [replace(TRACKS[0], strand_pair=1), replace(TRACKS[2], strand_pair=0)]
    write_shard(
        options.data / "test-00001-of-00001.h5", range(NUM_WINDOWS), pair, change=lambda targets: targets[[0, 1]]
    )
    part = assess_expression(options)
    assert [row["identifier"] for row in part["tracks"]] == ["x+", "x-"]
    assert part["tracks"][0] == whole["tracks"][0]
    assert part["tracks"][1]["mean_predicted"] == whole["tracks"][2]["mean_predicted"]


def test_predictions_that_are_no_numbers(options, tmp_path):
    def broken(model):
        model.heads["human"].bias.data[1] = math.nan
        return model

    save_model(tmp_path, change=broken)
    with pytest.raises(DataError, match=r"model.safetensors: predicts values that are no numbers at c:9-72; its wei"):
        assess_expression(options)


def test_a_model_whose_bins_are_not_in_the_middle(options, tmp_path):
    save_model(tmp_path, config=TINY)
    with pytest.raises(DataError, match=r"model.safetensors: predicts bins that are not in the middle of its window"):
        assess_expression(options)


def test_windows_that_are_too_small_for_the_model(options, tmp_path):
    large = CONFIG.model_copy(update={"window_bp": 192, "target_bins": 16})
    save_model(tmp_path, config=large)
    with pytest.raises(DataError, match=r"has examples of 120 bp with 20 bins of 4 bp; the model reads 192 bp with 16"):
        assess_expression(options)


def test_shards_that_are_not_there(options, tmp_path, caplog):
    assert [path.name for path in find_shards(options.data, "train")] == ["train-00001-of-00002.h5"]
    assert "has 1 of the 2 shards of split train" in caplog.text
    with pytest.raises(DataError, match=r"data: has no shards valid-\*.h5; it has test, train"):
        assess_expression(replace(options, split="valid"))
    with pytest.raises(DataError, match=r"data: the shards of split 'train' have no windows"):
        assess_expression(replace(options, split="train"))
    with pytest.raises(DataError, match="none: no such folder; expected what 'genoformer expression examples' wrote"):
        assess_expression(replace(options, data=tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: has no shards test-\*.h5; it has no split at all"):
        assess_expression(replace(options, data=tmp_path / "empty"))


def test_models_that_are_none(options, tmp_path):
    with pytest.raises(CheckpointError, match=r"other.safetensors: cannot be read"):
        assess_expression(replace(options, model=str(tmp_path / "other.safetensors")))
    with pytest.raises(UsageError, match=r"model is 'enformer'; expected a \.safetensors file, or the name"):
        assess_expression(replace(options, model="enformer"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ()}, "no output; name a file with -o"),
        ({"outputs": ("a.txt",)}, "output 'a.txt': expected a name ending in .html, .tsv, .json"),
        ({"outputs": ("a.tsv", "./a.tsv")}, "model, genes and outputs must be different files"),
        ({"precision": "fp8"}, "--precision is 'fp8'; expected one of fp32, bf16"),
        ({"batch_size": 0}, "--batch-size is 0; expected at least 1"),
        ({"gene_types": ("lncRNA",)}, "--gene-type is of genes; name their file with --genes"),
        ({"species": "mouse"}, "--species is 'mouse'; .*model.safetensors has fly, human"),
    ],
)
def test_options_that_cannot_work(options, changes, message):
    with pytest.raises(UsageError, match=message):
        assess_expression(replace(options, **changes))


def test_an_html_report(options, tmp_path):
    pytest.importorskip("matplotlib")
    options = with_genes(options, GENES.format(1032, 1100, 2000, 2042, 3000, 3018))
    assess_expression(replace(options, outputs=(str(tmp_path / "report.html"),)))
    page = (tmp_path / "report.html").read_text()
    assert "split test, head human: 5 windows, 40 bins of 8 bp, 3 tracks" in page
    assert "3 genes start in these windows" in page
    assert page.count("<figure>") == 4
