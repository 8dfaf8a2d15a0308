"""The report of corrected reads, from figures made up."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest

from genoformer.genome.read_errors import MAX_RUN
from genoformer.workflows.report_reads import assessment_html

pytest.importorskip("matplotlib")


def side(**changes):
    homopolymers = [
        {"run": run, "truth_bases": 1000 if run else 0, "mismatches": 1, "insertions": run, "deletions": 0}
        for run in range(MAX_RUN + 1)
    ]
    counts = dict.fromkeys(
        ("reads", "bases", "aligned", "unaligned", "no_truth", "clipped_reads", "clipped_bases", "matches", "errors",
         "mismatches", "insertions", "deletions"), 1234,
    )  # fmt: skip
    return {**counts, "identity": 0.5, "empirical_phred": 3.01, "homopolymers": homopolymers, **changes}


def qualities(*rows):
    bases = [
        {"source": source, "quality": quality, "bases": bases, "errors": 1, "empirical": empirical}
        for source, quality, bases, empirical in rows
    ]
    reads = [{"quality": 20, "reads": 3, "columns": 1000, "errors": 10, "empirical": 20.0}] if rows else []
    return {"bases": bases, "reads": reads, "largest_deviation": {"predicted": 1.5, "copied": None}}


@pytest.fixture
def summary():
    found = {"draft_reads": 1, "corrected_reads": 2, "reads_over_draft": 2.0, "draft_bases": 10, "corrected_bases": 15}
    return {
        "version": "1.2.3",
        "inputs": {"corrected": "<b>&.bam", "draft": "ccs.bam", "truth": "truth.fa"},
        "truth": {"kind": "read", "description": "one truth a molecule"},
        "min_quality": 20,
        "draft": side(),
        "corrected": side(reads=98_765, unaligned=None),
        "compared": {
            "reads": 5, "draft_errors": 100, "corrected_errors": 25, "error_reduction": 0.75, "reads_better": 4,
            "reads_worse": 1, "only_in_draft": 3, "only_in_corrected": 0,
        },
        "yield": {
            "q20": {**found, "bases_over_draft": 1.5},
            "q30": {**found, "bases_over_draft": None},
            "q40": {**found, "bases_over_draft": None},
        },
        "calibration": {
            "draft": qualities(("predicted", 20, 1000, 20.0), ("predicted", 21, 1000, None)),
            "corrected": qualities(("predicted", 30, 1000, 30.0), ("copied", 93, 1000, 32.0), ("copied", 10, 99, 9.0)),
        },
    }  # fmt: skip


def plots(page):
    return [base64.b64decode(data) for data in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)]


def drawn_words(summary):
    return [" ".join(ET.fromstring(drawing).itertext()) for drawing in plots(assessment_html(summary).decode())]


def test_one_file_with_figures_and_plots(summary):
    page = assessment_html(summary).decode()
    assert re.findall(r"<td>98,765</td>|<td>150\.0 %</td>", page) == ["<td>98,765</td>", "<td>150.0 %</td>"]
    assert "4 reads better, 1 worse; 75.0 % fewer errors in reads aligned in both" in page
    assert "<td>corrected</td><td>1.5</td><td>-</td>" in page
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    drawings = plots(page)
    assert len(drawings) == page.count("<figure>") == 5
    words = [" ".join(ET.fromstring(drawing).itertext()) for drawing in drawings]
    assert "missing base" in words[0]
    assert "homopolymer length" in words[1]
    assert "copied from the draft" in words[3]
    assert "calibrated" not in words[3]


def test_the_headline_says_whether_it_is_better(summary):
    shown = "<strong>{}</strong>in the 5 reads aligned in both"
    assert shown.format("75.0 % fewer errors") in assessment_html(summary).decode()
    summary["compared"]["error_reduction"] = -0.125
    page = assessment_html(summary).decode()
    assert shown.format("12.5 % more errors") in page
    assert "<strong>150.0 %</strong>of the draft&#x27;s yield at Q20, in bases" in page
    summary["compared"]["error_reduction"] = None
    assert "reads aligned in both</div>" not in assessment_html(summary).decode()


def test_yield_is_drawn_in_a_unit_of_its_size(summary):
    assert "bp" in drawn_words(summary)[2].split()
    summary["yield"]["q20"]["corrected_bases"] = 2_500_000
    assert "Mb" in drawn_words(summary)[2].split()


def test_file_names_are_text(summary):
    page = assessment_html(summary).decode()
    assert "&lt;b&gt;&amp;.bam" in page
    assert "<b>" not in page


def test_a_calibration_is_drawn(summary):
    summary["calibration"]["calibrated"] = qualities(("predicted", 30, 1000, 30.0))
    words = [" ".join(ET.fromstring(drawing).itertext()) for drawing in plots(assessment_html(summary).decode())]
    assert "predicted, calibrated" in words[3]
    assert "calibrated" in words[4]


def test_reads_without_errors_or_qualities(summary):
    summary["calibration"] = {name: qualities() for name in ("draft", "corrected")}
    for rows in (summary["draft"]["homopolymers"], summary["corrected"]["homopolymers"]):
        for row in rows:
            row.update(mismatches=0, insertions=0, truth_bases=0)
    assert len(plots(assessment_html(summary).decode())) == 5


def test_equal_figures_give_equal_bytes(summary):
    assert assessment_html(summary) == assessment_html(summary)
