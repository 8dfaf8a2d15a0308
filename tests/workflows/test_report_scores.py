"""The report of variants, as a page and, where there is a browser, as it is drawn."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from genoformer.errors import DataError, UsageError
from genoformer.genome.track import Track
from genoformer.genome.variant import Variant
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead
from genoformer.workflows import report_scores as module
from genoformer.workflows.report_scores import IGV_SHA256, ReportOptions, report_scores

CHECKOUT = Path(__file__).resolve().parents[2]
IGV = CHECKOUT / "build" / "igv.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

NUM_BINS, BIN_BP, WINDOW_BP = 8, 128, 2048
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
TRACKS = {
    i: Track(f"ENC{i}", label, "", "sum", 1.0, None, None, i) for i, label in enumerate(["CAGE:liver", HOSTILE, "ATAC"])
}
# The largest of the first score: 0.5, 7, 3, not a number, 2 (at tracks 0, 1, 2, -, 0).
SAD = [[0.5, 0.1, 0], [1, -7, 2], [0, 0, 3], [np.nan] * 3, [2, 1, -1]]
VARIANTS = [
    Variant("chr1", 999, "A", "C", "rs1"),
    Variant("chr1", 5000, "G", "T", HOSTILE),
    Variant("2", 1500, "A" * 30, "A", ""),
    Variant("chr1", 6000, "G", "T", "nan"),
    Variant("chr1", 7000, "G", "T", "rs5"),
]


@dataclasses.dataclass
class Rows:
    """What the writer of scores reads."""

    table: ScoreTable

    def rows(self):
        rng = np.random.default_rng(0)
        for number, (variant, sad) in enumerate(zip(VARIANTS, SAD, strict=True), 1):
            pair = rng.random((2, self.table.num_bins, 3), np.float32) if self.table.num_bins else None
            values = np.array([sad, np.negative(sad)], np.float32)
            yield ScoredVariant(VariantHead(number, variant, "flipped" if number == 1 else ""), values, pair)

    def heads(self):
        return (row.head for row in self.rows())


def write_scores(path, *, num_bins=NUM_BINS, grid_bp=0):
    attributes = {
        "version": "0", "model": "m.safetensors", "genome": "genome.fa", "scores": json.dumps(["sad_sum", "max"]),
        "identity": "{}", "window_bp": WINDOW_BP, "bin_bp": BIN_BP, "centre": "left", "grid_bp": grid_bp,
    }  # fmt: skip
    table = ScoreTable(("sad_sum", "max"), TRACKS, num_bins, (), "", {"chr1": 9000, "chr2": 5000}, attributes)
    write_score_hdf5(path, Rows(table))
    return path


@pytest.fixture
def options(tmp_path):
    return ReportOptions(write_scores(tmp_path / "scores.h5"), tmp_path / "report.html")


def rows_of(page):
    """The cells of each row, as a reader sees them."""
    body = re.search(r"<tbody>(.*)</tbody>", page, re.DOTALL)[1]
    return [
        [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body)
    ]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_largest_come_first(options):
    summary = report_scores(dataclasses.replace(options, top=4))
    page = options.output.read_text()
    assert [row[0:3] + row[5:] for row in rows_of(page)] == [
        ["1", HOSTILE, "chr1:5001", "", HOSTILE[:77] + "...", "-7", "7"],
        ["2", "2:1501:AAAAAAAAAAAAAAAAA...>A", "2:1501", "", "ATAC", "3", "-3"],
        ["3", "rs5", "chr1:7001", "", "CAGE:liver", "2", "-2"],
        ["4", "rs1", "chr1:1000", "flipped", "CAGE:liver", "0.5", "-0.5"],
    ]
    assert summary == {"variants": 4, "of": 5, "tracks": True, "browser": False}


def test_another_score_and_other_tracks_rank(options):
    report_scores(dataclasses.replace(options, rank_by="max", tracks=("ATAC", "0"), top=2))
    assert [row[1] for row in rows_of(options.output.read_text())] == ["2:1501:AAAAAAAAAAAAAAAAA...>A", HOSTILE]


def test_tracks_and_where_they_lie(options):
    """Of 16 bins of 128 bp around base 5000, which stands at index 1023, the middle 8 begin with the fifth."""
    report_scores(dataclasses.replace(options, num_plots=2))
    data = data_of(options.output.read_text())
    first, second = data["variants"][:2]
    assert (first["chrom"], first["position"], first["start"]) == ("chr1", 5001, 5000 - 1023 + 4 * 128)
    assert second["chrom"] == "chr2"  # as the genome calls it
    assert [track["index"] for track in first["tracks"]] == [1, 2]
    ref, alt = [list(Rows.rows(make_rows()))[1].predictions[place][:, 1] for place in (0, 1)]
    np.testing.assert_allclose(first["tracks"][0]["ref"], ref, rtol=1e-4)
    np.testing.assert_allclose(first["tracks"][0]["alt"], alt, rtol=1e-4)


def make_rows():
    return Rows(ScoreTable(("sad_sum", "max"), TRACKS, NUM_BINS, (), "", {}, {}))


def test_windows_of_a_grid(options, tmp_path):
    """Base 5000 is in the cell of 1000 bp that begins there: its window is centred at 5500."""
    path = write_scores(tmp_path / "grid.h5", grid_bp=1000)
    report_scores(dataclasses.replace(options, scores=path))
    assert data_of(options.output.read_text())["variants"][0]["start"] == 5500 - 1024 + 4 * 128


def test_without_predictions_there_is_a_table_and_a_reason(options, tmp_path, caplog):
    path = write_scores(tmp_path / "bare.h5", num_bins=0)
    with caplog.at_level("INFO"):
        assert not report_scores(dataclasses.replace(options, scores=path))["tracks"]
    assert "score with --predictions" in caplog.text
    page = options.output.read_text()
    assert len(rows_of(page)) == 5
    assert "score with --predictions" in data_of(page)["no_tracks"]


def test_text_of_files_stays_text(options):
    report_scores(options)
    page = options.output.read_text()
    assert "<img" not in page
    assert page.count("<script") == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy


def test_equal_files_give_equal_bytes(options, tmp_path):
    report_scores(options)
    report_scores(dataclasses.replace(options, output=tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == options.output.read_bytes()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"output": Path("a.pdf")}, UsageError, "--output is 'a.pdf'; expected a .html file"),
        ({"top": 0}, UsageError, "--top is 0; expected 1 to 10,000"),
        ({"rank_by": "d1"}, UsageError, "--rank-by is 'd1'; .* has sad_sum, max$"),
        ({"rank_by": "sad_sun"}, UsageError, r"--rank-by is 'sad_sun'; .* has sad_sum, max; did you mean 'sad_sum'\?$"),
        ({"tracks": ("x",)}, UsageError, "tracks 'x': none has such"),
        ({"igv": Path("missing.js")}, DataError, "missing.js: cannot be read: No such file"),
        ({"scores": Path(__file__)}, DataError, "is no whole file of variant scores"),
    ],
)
def test_what_cannot_be_done_is_said(options, changes, error, text):
    with pytest.raises(error, match=text):
        report_scores(dataclasses.replace(options, **changes))


def test_another_igv_is_said_and_cannot_end_its_script(options, tmp_path, caplog):
    (tmp_path / "igv.js").write_text("var igv = '</script>'")
    assert report_scores(dataclasses.replace(options, igv=tmp_path / "igv.js"))["browser"]
    assert "is not that of igv 3.8.10" in caplog.text
    assert r"<script>var igv = '<\/script>'</script>" in options.output.read_text()
    (tmp_path / "other.js").write_text("alert(1)")
    with pytest.raises(DataError, match=r"is not igv\.js"):
        report_scores(dataclasses.replace(options, igv=tmp_path / "other.js"))


def test_make_fetches_the_igv_that_is_tested():
    makefile = (CHECKOUT / "Makefile").read_text()
    assert f"igv@{module.IGV_VERSION}" in makefile
    assert IGV_SHA256 in makefile


@pytest.fixture
def chromium(options):
    """Opens the report in Chromium and returns what that prints."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    command = [
        CHROMIUM, "--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--window-size=1200,1500",
        "--virtual-time-budget=20000", f"--user-data-dir={options.output.parent}/profile",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]  # fmt: skip

    def run(*flags):
        result = subprocess.run(
            [*command, *flags, options.output.as_uri()], capture_output=True, timeout=300, check=True
        )
        return result.stdout.decode()

    return run


def test_chromium_draws_the_tracks(options, chromium):
    report_scores(options)
    page = chromium("--dump-dom")
    assert page.count('<svg viewBox="0 0 1000 110" class="track"') == 6
    assert len(re.findall(r'<path d="M70.0,[^"]*H1000.0" class="(?:ref|alt|difference)"', page)) == 9
    assert '<span id="shown">5 of 5</span>' in page
    assert "broken" not in re.search("<title>(.*?)</title>", page)[1]
    assert "<img src" not in page


def test_chromium_draws_the_genome_browser(options, chromium):
    """In its canvas the difference is an area; in the other pictures it is a thin line."""
    if not IGV.exists():
        pytest.skip(f"{IGV.name} is not there: make igv")
    report_scores(dataclasses.replace(options, igv=IGV, num_plots=1))
    page = chromium("--dump-dom")
    browser = page[page.index('id="browser"') :]
    assert 'data-error="' not in browser
    assert 'data-drawn="' in browser
    with_igv = coloured(chromium, options.output.with_suffix(".png"))
    report_scores(dataclasses.replace(options, num_plots=1))
    without = coloured(chromium, options.output.with_suffix(".png"))
    assert with_igv > 10_000 > 4_000 > without > 0


def coloured(chromium, path):
    """Points of a picture of the page that have the colour of the difference."""
    image = pytest.importorskip("matplotlib.image")
    chromium(f"--screenshot={path}")
    levels = np.round(255 * image.imread(path)[..., :3])
    return (levels == [0xD1, 0x49, 0x5B]).all(-1).sum()
