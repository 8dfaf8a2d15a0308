"""The report of predicted tracks, from figures made up."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest

from genoformer.workflows.report_expression import expression_html

pytest.importorskip("matplotlib")

METRICS = ("pearson_bins", "r2_bins", "pearson_genes_log1p")


def track(index, assay, value, mean=1.0):
    name = f"t{index}"
    row = {"index": index, "identifier": name, "description": f"{assay}:<{name}>", "assay": assay}
    return row | {"mean_measured": mean, "mean_predicted": mean} | dict.fromkeys(METRICS, value)


def averages(tracks, value):
    return {"tracks": tracks} | {name: {"mean": value, "median": value, "tracks": tracks - 1} for name in METRICS}


@pytest.fixture
def summary():
    return {
        "version": "1.2.3", "inputs": {"model": "<m>.safetensors", "data": "windows"}, "split": "test",
        "species": "human", "windows": 1234, "bins": 12340, "bin_bp": 128, "rc": True, "precision": "bf16", "genes": 77,
        "definitions": dict.fromkeys(METRICS, "over < all bins"),
        "all": averages(24, 0.123456), "assays": {"CAGE": averages(23, 0.25), "DNASE": averages(1, None)},
        "tracks": [*(track(index, "CAGE", index / 100) for index in range(23)), track(23, "DNASE", None, mean=0.0)],
    }  # fmt: skip


def plots(page):
    return [base64.b64decode(data) for data in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)]


def test_one_file_with_figures_and_plots(summary):
    page = expression_html(summary).decode()
    assert "1,234 windows, 12,340 bins of 128 bp, 24 tracks" in page
    assert "77 genes start in these windows<br>predicted from both strands in bf16" in page
    assert "<b>pearson_bins</b>: over &lt; all bins" in page
    assert "<td>CAGE</td><td>23</td><td>0.250</td><td>0.250</td><td>0.250</td><td>1</td>" in page
    assert "<td>DNASE</td><td>1</td><td>-</td>" in page
    assert "<td>t22</td><td>CAGE:&lt;t22&gt;</td><td>1.000</td><td>0.220</td>" in page
    assert "&lt;m&gt;.safetensors" in page
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    words = [" ".join(ET.fromstring(drawing).itertext()) for drawing in plots(page)]
    assert len(words) == page.count("<figure>") == 3
    assert "pearson_genes_log1p" in words[1]
    assert "mean measured" in words[2]


def test_few_tracks_and_none_with_figures(summary):
    summary["tracks"] = summary["tracks"][-1:]
    page = expression_html(summary).decode()
    assert "lowest" not in page
    assert len(plots(page)) == 3


def test_equal_figures_give_equal_bytes(summary):
    assert expression_html(summary) == expression_html(summary)
