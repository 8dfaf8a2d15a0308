"""The report of predicted tracks: figures and plots in one HTML file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from genoformer.workflows.report import add_legend, as_text, figure, page, plots, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_SHOWN = 10  # tracks at either end of the ranking
_NUM_CLASSES = 40  # of a histogram from -1 to 1
_POINT_SIZE = 9


def expression_html(summary: dict[str, Any]) -> bytes:
    """The report of `assess_expression`, UTF-8.

    Args:
        summary: what `assess_expression` returns.
    """
    metrics = summary["definitions"]
    drawn = [name for name in metrics if name.startswith("pearson")]
    parts = [
        _origin(summary),
        "<ul>"
        + "".join(f"<li><b>{as_text(name)}</b>: {as_text(text)}</li>" for name, text in metrics.items())
        + "</ul>",
        _assay_table(summary, "mean"),
        _assay_table(summary, "median"),
        plots(
            "Tracks",
            *(figure(partial(_draw_histogram, summary=summary, name=name), f"Tracks by {name}.") for name in drawn),
            figure(
                lambda axes: _draw_against_mean(axes, summary),
                "pearson_bins by the mean of a track's bins, a point a track.",
            ),
        ),
        *_ranking(summary),
    ]
    return page("Assessment of predicted tracks", parts)


def _origin(summary: dict[str, Any]) -> str:
    lines = [
        ", ".join(f"{name} {file}" for name, file in summary["inputs"].items()),
        f"split {summary['split']}, head {summary['species']}: {summary['windows']:,} windows, {summary['bins']:,} "
        f"bins of {summary['bin_bp']} bp, {len(summary['tracks']):,} tracks",
        f"predicted from {'both strands' if summary['rc'] else 'one strand'} in {summary['precision']}",
        f"genoformer {summary['version']}",
    ]
    if summary["genes"] is not None:
        lines.insert(2, f"{summary['genes']:,} genes start in these windows")
    return f"<p>{'<br>'.join(map(as_text, lines))}</p>"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _assay_table(summary: dict[str, Any], average: str) -> str:
    metrics = list(summary["definitions"])
    groups = {**summary["assays"], "all": summary["all"]}
    rows = [
        [assay, found["tracks"], *(_number(found[name][average]) for name in metrics),
         found["tracks"] - found[metrics[0]]["tracks"]]
        for assay, found in groups.items()
    ]  # fmt: skip
    caption = f"{average.capitalize()} over tracks; those that never vary are left out"
    return table(caption, ("assay", "tracks", *metrics, "never vary"), rows)


def _ranking(summary: dict[str, Any]) -> list[str]:
    """Tables of the tracks that are predicted best and worst."""
    name = "pearson_bins"
    rows = sorted((row for row in summary["tracks"] if row[name] is not None), key=lambda row: -row[name])
    header = ("track", "description", "mean measured", name)
    cells = [[row["identifier"], row["description"], _number(row["mean_measured"]), _number(row[name])] for row in rows]
    tables = [table(f"Tracks with the highest {name}", header, cells[:_NUM_SHOWN])]
    if len(cells) > _NUM_SHOWN:
        tables.append(table(f"Tracks with the lowest {name}", header, cells[_NUM_SHOWN:][-_NUM_SHOWN:]))
    return tables


def _draw_histogram(axes: Axes, summary: dict[str, Any], name: str) -> None:
    groups: dict[str, list[float]] = {assay: [] for assay in summary["assays"]}
    for row in summary["tracks"]:
        if row[name] is not None:
            groups[row["assay"]].append(row[name])
    axes.hist(list(groups.values()), bins=_NUM_CLASSES, range=(-1, 1), stacked=True, label=list(groups))
    axes.set_xlim(min([0, *(min(values) for values in groups.values() if values)]), 1)
    axes.set_xlabel(name)
    axes.set_ylabel("tracks")
    add_legend(axes)


def _draw_against_mean(axes: Axes, summary: dict[str, Any]) -> None:
    """A track without signal has no place on the logarithmic axis."""
    for assay in summary["assays"]:
        points = [
            (row["mean_measured"], row["pearson_bins"])
            for row in summary["tracks"]
            if row["assay"] == assay and row["pearson_bins"] is not None and row["mean_measured"] > 0
        ]
        if points:
            means, found = zip(*points, strict=True)
            axes.scatter(means, found, s=_POINT_SIZE, alpha=0.7, label=assay)
            axes.set_xscale("log")
    axes.set_xlabel("mean measured")
    axes.set_ylabel("pearson_bins")
    add_legend(axes)
