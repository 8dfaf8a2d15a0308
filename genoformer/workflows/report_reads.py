"""The report of corrected reads: figures and plots in one HTML file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from genoformer.genome.read_errors import ERROR_KINDS, MAX_RUN, NO_RUN
from genoformer.workflows.report import add_legend, as_text, figure, headline, page, plots, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAFT_COLOUR, CORRECTED_COLOUR, COPIED_COLOUR, CALIBRATED_COLOUR = "#7f7f7f", "#0b62a4", "#d1495b", "#2a9d5c"

_SIDES = (("draft", DRAFT_COLOUR), ("corrected", CORRECTED_COLOUR))
_BAR_WIDTH = 0.38
_UNITS = (("Gb", 1e9), ("Mb", 1e6), ("kb", 1e3), ("bp", 1.0))
_MIN_POINT_BASES = 100  # a point of fewer bases says little and is not drawn


def assessment_html(summary: dict[str, Any]) -> bytes:
    """The report of `assess`, UTF-8.

    Args:
        summary: what `assess` returns.
    """
    inputs = ", ".join(f"{name} {file}" for name, file in summary["inputs"].items())
    truth, version = summary["truth"]["description"], summary["version"]
    parts = [
        f"<p>{as_text(inputs)}<br>Truth: {as_text(truth)}<br>genoformer {version}</p>",
        _headline(summary),
        plots(
            "Errors and yield",
            figure(lambda axes: _draw_kinds(axes, summary), "Errors by kind, per 10,000 columns of the alignments."),
            figure(
                lambda axes: _draw_homopolymers(axes, summary),
                f"Errors per 1,000 truth bases by the length of the homopolymer they stand in; {MAX_RUN}: that long or "
                "longer.",
            ),
            figure(lambda axes: _draw_yield(axes, summary), f"{_yield_title(summary)}."),
        ),
        plots(
            "What qualities say and what they are worth",
            figure(
                lambda axes: _draw_base_qualities(axes, summary),
                f"Bases; points of at least {_MIN_POINT_BASES}. A base is wrong where it differs from the truth, is "
                "one too many, or bases are missing before it.",
            ),
            figure(
                lambda axes: _draw_read_qualities(axes, summary),
                "Whole reads, by the Phred of their mean error probability; all errors of a bin pooled.",
            ),
        ),
        _figures_table(summary),
        _yield_table(summary),
        _deviation_table(summary),
    ]
    return page("Assessment of corrected reads", parts)


def _headline(summary: dict[str, Any]) -> str:
    draft, corrected, compared = summary["draft"], summary["corrected"], summary["compared"]
    found = [(f"{draft['identity']:.5f} → {corrected['identity']:.5f}", "identity, draft and corrected")]
    if compared["error_reduction"] is not None:
        found.insert(0, (_change(compared["error_reduction"]), f"in the {compared['reads']:,} reads aligned in both"))
    for name, of_name in summary["yield"].items():
        if (percent := _percent(of_name["bases_over_draft"])) is not None:
            found.append((percent, f"of the draft's yield at Q{name[1:]}, in bases"))
    return headline(found)


def _change(reduction: float) -> str:
    return f"{100 * abs(reduction):.1f} % {'fewer' if reduction >= 0 else 'more'} errors"


def _figures_table(summary: dict[str, Any]) -> str:
    draft, corrected, compared = summary["draft"], summary["corrected"], summary["compared"]
    names = (
        ("reads", "reads"), ("bases", "bases"), ("aligned", "reads aligned to the truth"),
        ("unaligned", "reads that do not align"), ("no_truth", "reads without truth"),
        ("clipped_reads", "aligned reads that are clipped"), ("clipped_bases", "clipped bases"),
        ("identity", "identity"), ("empirical_phred", "empirical Phred"), ("errors", "errors"),
        ("mismatches", "mismatches"), ("insertions", "extra bases"), ("deletions", "missing bases"),
    )  # fmt: skip
    rows: list[list[object]] = [[name, draft[key], corrected[key]] for key, name in names]
    rows.append(["reads of this file alone", compared["only_in_draft"], compared["only_in_corrected"]])
    rows.append(["errors of reads aligned in both", compared["draft_errors"], compared["corrected_errors"]])
    reduction = compared["error_reduction"]
    change = "" if reduction is None else f"; {_change(reduction)} in reads aligned in both"
    better = f"{compared['reads_better']:,} reads better, {compared['reads_worse']:,} worse"
    return table(f"Reads against their truth: {better}{change}", ("", "draft", "corrected"), rows)


def _yield_table(summary: dict[str, Any]) -> str:
    rows = [
        [f"Q{name[1:]}", *(found[f"{side}_{unit}"] for unit in ("reads", "bases") for side, _ in _SIDES),
         _percent(found["bases_over_draft"])]
        for name, found in summary["yield"].items()
    ]  # fmt: skip
    header = ("empirical", "reads, draft", "reads, corrected", "bases, draft", "bases, corrected", "bases over draft")
    return table(_yield_title(summary), header, rows)


def _yield_title(summary: dict[str, Any]) -> str:
    return f"Yield: reads of a predicted Phred of at least {summary['min_quality']:g}, by their identity"


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{100 * part:.1f} %"


def _deviation_table(summary: dict[str, Any]) -> str:
    rows = [[name, *found["largest_deviation"].values()] for name, found in summary["calibration"].items()]
    title = "Phreds between predicted and empirical in the worst bin from Q10 up with at least 100 errors expected"
    return table(f"{title}; -: no such bin", ("bases", "predicted", "copied"), rows)


def _draw_bars(axes: Axes, labels: list[str], heights: dict[str, list[float]], unit: str) -> None:
    """Two bars a label, of the draft and of the corrected reads."""
    for shift, (side, colour) in zip((-0.5, 0.5), _SIDES, strict=True):
        places = [place + shift * _BAR_WIDTH for place in range(len(labels))]
        axes.bar(places, heights[side], _BAR_WIDTH, color=colour, label=side)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(unit)
    add_legend(axes)


def _draw_kinds(axes: Axes, summary: dict[str, Any]) -> None:
    heights = {}
    for side, _ in _SIDES:
        counts = summary[side]
        num_columns = counts["matches"] + counts["errors"]
        heights[side] = [1e4 * counts[kind] / num_columns for kind in ERROR_KINDS]
    _draw_bars(axes, ["mismatch", "extra base", "missing base"], heights, "errors / 10,000 columns")


def _draw_yield(axes: Axes, summary: dict[str, Any]) -> None:
    found = summary["yield"]
    most = max(of_name[f"{side}_bases"] for of_name in found.values() for side, _ in _SIDES)
    unit, unit_bp = next((unit for unit in _UNITS if most >= unit[1]), _UNITS[-1])
    heights = {side: [found[name][f"{side}_bases"] / unit_bp for name in found] for side, _ in _SIDES}
    _draw_bars(axes, [f"Q{name[1:]}" for name in found], heights, unit)


def _draw_homopolymers(axes: Axes, summary: dict[str, Any]) -> None:
    """Rates on a logarithmic scale; a length without errors, or that the truth lacks, has no point."""
    from matplotlib.ticker import LogFormatter

    for side, colour in _SIDES:
        rows = [row for row in summary[side]["homopolymers"] if row["run"] != NO_RUN]
        errors = [sum(row[kind] for kind in ERROR_KINDS) for row in rows]
        points = [(row["run"], 1000 * num / row["truth_bases"]) for row, num in zip(rows, errors, strict=True) if num]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=side, markersize=4)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set_xticks(range(1, MAX_RUN + 1))
    axes.set_xlabel("homopolymer length")
    axes.set_ylabel("errors / 1,000 truth bases")
    add_legend(axes)


def _draw_base_qualities(axes: Axes, summary: dict[str, Any]) -> None:
    found = summary["calibration"]
    series = [
        ("draft", "predicted", DRAFT_COLOUR, "draft", "s"),
        ("corrected", "predicted", CORRECTED_COLOUR, "predicted", "o"),
        ("corrected", "copied", COPIED_COLOUR, "copied from the draft", "^"),
    ]
    if "calibrated" in found:
        series += [
            ("calibrated", "predicted", CALIBRATED_COLOUR, "predicted, calibrated", "o"),
            ("calibrated", "copied", CALIBRATED_COLOUR, "copied, calibrated", "^"),
        ]
    for name, source, colour, label, marker in series:
        rows = [row for row in found[name]["bases"] if row["source"] == source and row["bases"] >= _MIN_POINT_BASES]
        _draw_qualities(axes, rows, colour, label, marker)
    _finish_qualities(axes, "base")


def _draw_read_qualities(axes: Axes, summary: dict[str, Any]) -> None:
    colours = {"draft": DRAFT_COLOUR, "corrected": CORRECTED_COLOUR, "calibrated": CALIBRATED_COLOUR}
    for name, found in summary["calibration"].items():
        _draw_qualities(axes, found["reads"], colours[name], name, "o")
    _finish_qualities(axes, "read")


def _draw_qualities(axes: Axes, rows: list[dict[str, Any]], colour: str, label: str, marker: str) -> None:
    """Points where there are errors to tell a quality by; a line joins bins that follow each other."""
    points = [(row["quality"], row["empirical"]) for row in rows if row["empirical"] is not None]
    for _, run in groupby(enumerate(points), lambda entry: entry[1][0] - entry[0]):
        quality, empirical = zip(*(point for _, point in run), strict=True)
        axes.plot(quality, empirical, "-", color=colour, linewidth=1)
    if points:
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=4, label=label)


def _finish_qualities(axes: Axes, what: str) -> None:
    axes.axline((0, 0), slope=1, color="#bbbbbb", linewidth=1, zorder=0)
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.set_xlabel(f"predicted {what} quality")
    axes.set_ylabel("empirical")
    add_legend(axes)
